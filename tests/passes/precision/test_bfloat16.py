"""Models in bfloat16, which Core ML has not: what they compute is computed in more, and returned as fp32.

These are no fixtures: onnxruntime has no kernels for bfloat16 to check the numbers by.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import coregraft
from coregraft.lowering.lift import lift
from coregraft.rewriter.errors import CoregraftError
from coregraft.rewriter.execute import run
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.manager import PassManager
from coregraft.rewriter.onnx_io.text import parse
from coregraft.rewriter.types import DType

MODEL = """
input x: bfloat16[2,3]
const b: bfloat16[3] = [0.5, 0.25, 2.0]
y = Add(x, b) @add
e = Cast(y, to=1) @up
f = Exp(e) @exp
h = Cast(f, to=16) @down
z = Mul(h, y) @mul
output z
"""
ROUNDED = "input x: float[2,3]\nh = Cast(x, to=16) @cast\nz = Cast(h, to=1) @back\ny = Relu(z)\noutput y\n"


def assigned(text: str, precision: str) -> Graph:
    return PassManager(f"assign-precision{{precision={precision}}},eliminate-identities").run(parse(text)).graph


@pytest.mark.parametrize(("precision", "inner"), [("fp32", DType.FLOAT), ("fp16", DType.FLOAT16)])
def test_casts_between_arithmetic_take_its_type(precision: str, inner: DType) -> None:
    g = assigned(MODEL, precision)
    (mul,) = [op for _, op in g.ops() if op.type == "Mul"]
    kinds = [g.tensor_type(v) for v in (*mul.inputs, *mul.outputs)]
    assert [kind and kind.dtype for kind in kinds] == [inner] * 3
    result = g.tensor_type(g.outputs["z"])
    assert result is not None and result.dtype is DType.FLOAT


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_package_computes_in_more(tmp_path: Path, precision: str) -> None:
    path = tmp_path / "m.mlpackage"
    coregraft.convert(parse(MODEL), precision=precision, fallback="error").save(path)  # type: ignore[arg-type]
    x = np.array([[0.5, -1.0, 2.0], [0.25, 3.0, -0.125]], np.float32)
    (found,) = run(lift(path), {"x": x}).values()
    y = x + np.array([0.5, 0.25, 2.0], np.float32)
    np.testing.assert_allclose(found, np.exp(y) * y, rtol=1e-5 if precision == "fp32" else 5e-3)


def test_a_cast_for_the_sake_of_rounding_stays_and_is_refused() -> None:
    casts = [op.attrs["to"] for _, op in assigned(ROUNDED, "fp32").ops() if op.type == "Cast"]
    assert casts == [16, 1]
    with pytest.raises(CoregraftError) as caught:
        coregraft.convert(parse(ROUNDED), precision="fp32", fallback="error")
    assert caught.value.code == "op-unsupported"
