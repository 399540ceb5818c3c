"""Sums of integers and coordinates stay in fp32: half precision would lose their last digits, or all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort

from coregraft.rewriter.graph import Graph
from coregraft.rewriter.manager import PassManager
from coregraft.rewriter.onnx_io.save import to_model
from coregraft.rewriter.onnx_io.text import parse
from coregraft.rewriter.target import Target

BARE = Target("iOS17", "mlprogram", ops={})

PRODUCT = """
input a: uint8[2,200]
input s: float[]
const w: int8[200,3] = full(100)
y = MatMulInteger(a, w)
f: float[2,3] = Cast(y, to=1)
z: float[2,3] = Mul(f, s)
output z
"""

SAMPLES = """
input x: float[1,1,1,3000]
input g: float[1,1,4,2]
y = GridSample(x, g, mode="nearest")
output y
"""


def run(g: Graph, feeds: dict[str, Any]) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(to_model(g).SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)[0]


def halved(text: str, rule: str) -> tuple[Graph, Graph]:
    before = PassManager("upgrade-opset,infer-shapes").run(parse(text)).graph
    return before, PassManager(f"{rule},form-linear,assign-precision", target=BARE).run(before).graph


def test_an_integer_product_does_not_overflow() -> None:
    before, after = halved(PRODUCT, "decompose-matmul-integer")
    feeds = {"a": np.full((2, 200), 251, np.uint8), "s": np.array(1e-4, np.float32)}
    np.testing.assert_allclose(run(after, feeds), run(before, feeds), rtol=1e-3)


def test_coordinates_keep_their_pixel() -> None:
    before, after = halved(SAMPLES, "decompose-grid-sample")
    x = np.arange(3000, dtype=np.float32).reshape(1, 1, 1, 3000) / 3000
    grid = np.stack([np.linspace(0.5, 0.5006, 4), np.zeros(4)], -1).astype(np.float32).reshape(1, 1, 4, 2)
    feeds = {"x": x, "g": grid}
    np.testing.assert_array_equal(run(after, feeds), run(before, feeds).astype(np.float16).astype(np.float32))


ANGLES = """
input p: int64[1,6]
const f: float[2] = [1.0, 0.01]
a = Cast(p, to=1)
b = Unsqueeze(a, [2])
c = Mul(b, f)
s = Sin(c)
k = Cos(c)
y = Concat(s, k, axis=-1)
output y
"""


def test_far_positions_keep_their_angle() -> None:
    before = PassManager("upgrade-opset,infer-shapes").run(parse(ANGLES)).graph
    after = PassManager("assign-precision", target=BARE).run(before).graph
    feeds = {"p": np.array([[0, 1, 1023, 2049, 65521, 100003]], np.int64)}
    np.testing.assert_allclose(run(after, feeds), run(before, feeds), atol=5e-4)
