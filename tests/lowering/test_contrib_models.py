"""Ops of onnxruntime's own all the way: converted, saved, lifted, run, and compared with onnxruntime's kernels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coregraft.lowering.convert import convert
from coregraft.lowering.lift import lift
from coregraft.passes.pipelines import CONTRIB
from coregraft.rewriter.execute import run
from coregraft.rewriter.graph import Floats, Graph
from coregraft.rewriter.manager import PassManager
from coregraft.rewriter.types import Array, Const
from tests.passes.decompose.conftest import Harness

MS = "com.microsoft"
HARNESS = Harness()


def f(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def q(*shape: int, dtype: Any = np.uint8, seed: int = 0) -> Array:
    limits = np.iinfo(dtype)
    return np.random.default_rng([seed, *shape]).integers(limits.min, limits.max + 1, shape).astype(dtype)


def c(value: Any, dtype: Any = None) -> Const:
    return Const.of(np.asarray(value, dtype))


def i32(values: Any) -> Array:
    return np.array(values, np.int32)


CASES: dict[str, tuple[str, list[Any], dict[str, Any]]] = {
    "FusedConv": (
        "FusedConv",
        [f(1, 4, 9, 8), c(f(6, 4, 3, 3)), c(f(6)), f(1, 6, 7, 6)],
        {"activation": "LeakyRelu", "activation_params": Floats([0.2])},
    ),
    "FusedMatMul": ("FusedMatMul", [f(2, 3, 4), f(2, 5, 4)], {"transB": 1, "alpha": 0.5}),
    "FusedGemm": ("FusedGemm", [f(4, 3), c(f(5, 3)), c(f(5))], {"transB": 1, "activation": "Tanh"}),
    "BiasGelu": ("BiasGelu", [f(3, 8), c(f(8))], {}),
    "FastGelu": ("FastGelu", [f(3, 8), c(f(8))], {}),
    "QuickGelu": ("QuickGelu", [f(3, 8)], {"alpha": 1.5}),
    "SkipLayerNormalization": (
        "SkipLayerNormalization",
        [f(2, 3, 8), f(2, 3, 8, seed=1), c(f(8)), c(f(8)), c(f(8))],
        {"epsilon": 1e-3},
    ),
    "SkipSimplifiedLayerNormalization": (
        "SkipSimplifiedLayerNormalization",
        [f(2, 3, 8), f(2, 3, 8, seed=1), c(f(8))],
        {"epsilon": 1e-3},
    ),
    "EmbedLayerNormalization": (
        "EmbedLayerNormalization",
        [i32([[1, 4, 2]]), i32([[0, 1, 1]]), c(f(7, 8)), c(f(5, 8)), c(f(2, 8)), c(f(8)), c(f(8))],
        {"outputs": 2},
    ),
    "Attention": (
        "Attention",
        [f(2, 3, 5), c(f(5, 24)), c(f(24)), i32([[1, 0, 1], [1, 1, 1]])],
        {"num_heads": 2, "unidirectional": 1},
    ),
    "QAttention": (
        "QAttention",
        [q(2, 3, 5), c(q(5, 24, dtype=np.int8)), c(f(24)), c(0.02, np.float32), c(0.01, np.float32), i32([2, 3]),
         c(120, np.uint8), c(3, np.int8)],
        {"num_heads": 2},
    ),
    "MultiHeadAttention": (
        "MultiHeadAttention",
        [f(2, 3, 8), f(2, 4, 8, seed=1), f(2, 4, 8, seed=2), c(f(24)), i32([[1, 0, 1, 1], [1, 1, 1, 0]])],
        {"num_heads": 2},
    ),
    "GroupQueryAttention": (
        "GroupQueryAttention",
        [f(2, 1, 64), f(2, 1, 32), f(2, 1, 32, seed=2), f(2, 2, 5, 16), f(2, 2, 5, 16, seed=3), i32([3, 5]),
         c(6, np.int32), c(np.cos(f(20, 8))), c(np.sin(f(20, 8)))],
        {"num_heads": 4, "kv_num_heads": 2, "do_rotary": 1, "outputs": 3},
    ),
    "RotaryEmbedding": (
        "RotaryEmbedding",
        [f(2, 3, 8), np.array([[0, 3, 1], [5, 6, 7]]), c(np.cos(f(9, 2))), c(np.sin(f(9, 2)))],
        {"interleaved": 1},
    ),
    "MatMulNBits": (
        "MatMulNBits",
        [f(2, 3, 64), c(q(6, 4, 8)), c(np.abs(f(24)))],
        {"K": 64, "N": 6, "bits": 4, "block_size": 16},
    ),
    "MatMulBnb4": (
        "MatMulBnb4",
        [f(2, 32), c(q(96)), c(np.abs(f(12)))],
        {"K": 32, "N": 6, "block_size": 16, "quant_type": 1},
    ),
    "GatherBlockQuantized": (
        "GatherBlockQuantized",
        [c(q(7, 16)), np.array([[0, 6], [-1, 3]]), c(np.abs(f(7, 2)))],
        {"block_size": 16},
    ),
    "Inverse": ("Inverse", [f(2, 3, 3) + 3 * np.eye(3, dtype=np.float32)], {}),
    "CropAndResize": (
        "CropAndResize",
        [f(2, 3, 6, 7), np.array([[0.1, 0.2, 0.7, 1.2], [0, 0, 1, 1]], np.float32), i32([1, 0]), c([3, 4], np.int32)],
        {"extrapolation_value": 0.5},
    ),
    "MatMulIntegerToFloat": (
        "MatMulIntegerToFloat",
        [q(2, 3, 4), c(q(4, 5)), c([0.03], np.float32), c(0.02, np.float32), c([9], np.uint8), c(7, np.uint8), c(f(5))],
        {},
    ),
    "DynamicQuantizeMatMul": (
        "DynamicQuantizeMatMul",
        [f(2, 3, 4), c(q(4, 5)), c(0.02, np.float32), c(7, np.uint8)],
        {},
    ),
    "ExpandDims": ("ExpandDims", [f(2, 3), c(1, np.int32)], {}),
    "Trilu": ("Trilu", [f(4, 5)], {"upper": 0}),
    "ConvTransposeWithDynamicPads": (
        "ConvTransposeWithDynamicPads",
        [f(1, 4, 5, 6), c(f(4, 3, 3, 3)), c([1, 0, 1, 0]), c(f(3))],
        {"strides": (2, 1)},
    ),
}  # fmt: skip
#: Quantised results: the level may differ by one where a value lies half-way.
LEVELS: dict[str, tuple[str, list[Any], dict[str, Any]]] = {
    "QLinearAdd": (
        "QLinearAdd",
        [q(3, 4), c(0.02, np.float32), c(7, np.uint8), q(4, seed=1), c(0.03, np.float32), c(3, np.uint8),
         c(0.05, np.float32), c(9, np.uint8)],
        {},
    ),
    "QLinearGlobalAveragePool": (
        "QLinearGlobalAveragePool",
        [q(1, 7, 5, 3), c(0.02, np.float32), c(5, np.uint8), c(0.0137, np.float32), c(9, np.uint8)],
        {"channels_last": 1},
    ),
    "QGemm": (
        "QGemm",
        [q(3, 4), c(0.02, np.float32), c(5, np.uint8), c(q(4, 5)), c(0.03, np.float32), c(9, np.uint8),
         c(np.arange(5), np.int32), c(0.2, np.float32), c(2, np.uint8)],
        {},
    ),
    "NhwcMaxPool": ("NhwcMaxPool", [q(1, 6, 6, 3)], {"kernel_shape": (2, 2), "strides": (2, 2)}),
}  # fmt: skip


def lifted(g: Graph, feeds: dict[str, Array], path: Path) -> list[Array]:
    """What the saved package computes, in the order of the model's outputs."""
    done = convert(g, precision="fp32", target="iOS18", fallback="error")
    done.save(path / "m.mlpackage")
    package = lift(path / "m.mlpackage")
    fed = {}
    for feature in done.report.inputs:
        kind = package.tensor_type(feature.feature)
        assert kind is not None and kind.static_shape is not None
        fed[feature.feature] = feeds[feature.name].astype(kind.dtype.numpy).reshape(kind.static_shape)
    found = run(package, fed)
    return [found[package.outputs[feature.feature]] for feature in done.report.outputs]


@pytest.mark.parametrize("name", [*CASES, *LEVELS])
def test_converts_and_agrees(name: str, tmp_path: Path) -> None:
    op_type, operands, attrs = {**CASES, **LEVELS}[name]
    g, feeds = HARNESS.graph(op_type, operands, domain=MS, **attrs)
    for want, got in zip(HARNESS.run(g, feeds), lifted(g, feeds, tmp_path), strict=True):
        atol = 1.0 if name in LEVELS else 2e-5 * max(1.0, float(np.abs(want).max()))
        np.testing.assert_allclose(got.reshape(want.shape), want.astype(np.float64), rtol=1e-5, atol=atol)


#: What onnxruntime's schemas have for fp32 only.
_SINGLE = {"QAttention", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "CropAndResize", "MatMulBnb4"}


@pytest.mark.parametrize("name", sorted(CASES.keys() - _SINGLE))
def test_models_of_half_precision(name: str) -> None:
    """No CPU kernel has them: their ops in ONNX must give in fp16 what the kernel gives in fp32."""
    op_type, operands, attrs = CASES[name]
    g, feeds = HARNESS.graph(op_type, operands, domain=MS, **attrs)
    half, fed = HARNESS.graph(op_type, [halved(v) for v in operands], domain=MS, **attrs)
    plain = PassManager(list(CONTRIB)).run(half).graph
    assert {op.domain for _, op in plain.ops()} == {""}
    for want, got in zip(HARNESS.run(g, feeds), HARNESS.run(plain, fed), strict=True):
        if want.dtype == np.float32:
            assert got.dtype == np.float16
        np.testing.assert_allclose(got, want, rtol=5e-3, atol=5e-3 * max(1.0, float(np.abs(want).max())))


def halved(value: Any) -> Any:
    array = value.numpy() if isinstance(value, Const) else value
    if array.dtype != np.float32:
        return value
    return Const.of(array.astype(np.float16)) if isinstance(value, Const) else array.astype(np.float16)


def block(opset: int) -> str:
    """A transformer's block as exporters write it: attention by a scale, a residual, a norm, and the tanh GELU."""
    norm = "r = Add(a, x)\nn = LayerNormalization(r, g, b, axis=-1)" if opset >= 17 else f"r = Mul(a, x){NORM}"
    return f"""
opset {opset}
input x: float[2,4,8]
const w: float[8,8] = normal(seed=1, scale=0.3)
const g: float[8] = normal(seed=2)
const b: float[8] = normal(seed=3)
const u: float[8,8] = normal(seed=4, scale=0.3)
k = MatMul(x, w)
t = Transpose(k, perm=[0, 2, 1])
s = MatMul(x, t)
const scale = 0.25
scaled = Mul(s, scale)
p = Softmax(scaled, axis=2)
a = MatMul(p, k)
{norm}
h = MatMul(n, u)
hb = Add(h, b)
const root = 1.4142135
div = Div(hb, root)
erf = Erf(div)
const one = 1.0
plus = Add(erf, one)
mul = Mul(hb, plus)
const half = 0.5
y = Mul(mul, half)
output y
"""


NORM = """
mean = ReduceMean(r, axes=[-1])
centred = Sub(r, mean)
const two = 2.0
square = Pow(centred, two)
var = ReduceMean(square, axes=[-1])
const eps = 0.00001
shifted = Add(var, eps)
dev = Sqrt(shifted)
unit = Div(centred, dev)
gained = Mul(unit, g)
n = Add(gained, b)
"""


@pytest.mark.parametrize("opset", [13, 17])
def test_a_model_saved_by_the_optimizer(opset: int, tmp_path: Path) -> None:
    """At opset 13 the optimizer writes a LayerNormalization into ai.onnx, which has none before 17."""
    import onnx
    import onnxruntime as ort

    from coregraft.rewriter.onnx_io.load import load
    from coregraft.rewriter.onnx_io.save import to_model
    from coregraft.rewriter.onnx_io.text import parse

    g = parse(block(opset))
    g.graph["ir_version"] = 8
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = ort.InferenceSession(to_model(g).SerializeToString(), options, providers=["CPUExecutionProvider"])
    saved = onnx.load(tmp_path / "optimised.onnx", load_external_data=False)
    kinds = {n.op_type for n in saved.graph.node}
    assert {"FusedMatMul", "Gelu", "SkipLayerNormalization" if opset == 17 else "LayerNormalization"} <= kinds
    feeds = {"x": f(2, 4, 8)}
    (got,) = lifted(load(tmp_path / "optimised.onnx"), feeds, tmp_path)
    np.testing.assert_allclose(got, session.run(None, feeds)[0], rtol=1e-4, atol=1e-5)
