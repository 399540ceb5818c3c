"""Constants joined with values: what coremltools takes for constants there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import parser

import coregraft
from coregraft.lowering.lift import lift
from coregraft.rewriter.execute import run

# fmt: off
MODEL = """<ir_version: 10, opset_import: ["" : 21]>
m (float[1,2] x) => (float[1,2] y, float[1,1,2] z)
<float[1,2] c = {0.5, 2.25}, int64[1] two = {2}, int64[1] four = {4}, int64[1] zero = {0}, int64[1] one = {1},
 int64[3] shape = {1,1,2}> {
  joined = Concat <axis = 1> (c, x)
  known = Slice (joined, zero, two, one)
  y = Sqrt (known)
  other = Slice (joined, one, four, one)
  part = Slice (other, zero, two, one)
  z = Reshape (part, shape)
}"""
# fmt: on


@pytest.mark.parametrize("format", ["mlprogram", "neuralnetwork"])
def test_a_slice_of_a_constant_joined_with_a_value_keeps_its_type(tmp_path: Path, format: str) -> None:
    path = tmp_path / ("m.mlpackage" if format == "mlprogram" else "m.mlmodel")
    coregraft.convert(parser.parse_model(MODEL), precision="fp32", format=format).save(path)
    graph = lift(path)
    values = run(graph, {"x": np.array([[7, 8]], np.float32)})
    np.testing.assert_allclose(values[graph.outputs["y"]], [[np.sqrt(0.5), 1.5]], rtol=1e-6)
    np.testing.assert_array_equal(values[graph.outputs["z"]], [[[2.25, 7]]])
