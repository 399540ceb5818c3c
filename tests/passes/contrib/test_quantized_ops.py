"""Quantised ops and products with packed weights, against onnxruntime's kernels.

Integers may be off by one level where a result lies half-way between two: onnxruntime multiplies by the inverse of
the scale, or works with tables.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.contrib.decompose_crop_and_resize import DecomposeCropAndResize
from coregraft.passes.contrib.unfuse_conv_transpose_pads import UnfuseConvTransposePads
from coregraft.passes.contrib.unfuse_dynamic_lstm import UnfuseDynamicLstm
from coregraft.passes.contrib.unfuse_gather_block_quantized import UnfuseGatherBlockQuantized
from coregraft.passes.contrib.unfuse_integer_mat_mul import UnfuseIntegerMatMul
from coregraft.passes.contrib.unfuse_mat_mul_bnb4 import UnfuseMatMulBnb4
from coregraft.passes.contrib.unfuse_mat_mul_n_bits import UnfuseMatMulNBits
from coregraft.passes.contrib.unfuse_nhwc_max_pool import UnfuseNhwcMaxPool
from coregraft.passes.contrib.unfuse_qgemm import UnfuseQgemm
from coregraft.passes.contrib.unfuse_qlinear import UnfuseQlinear
from coregraft.passes.contrib.unfuse_qlinear_conv import UnfuseQlinearConv
from coregraft.rewriter.types import Array, Const, DType

MS = "com.microsoft"


def f(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def q(*shape: int, dtype: Any = np.uint8, seed: int = 0) -> Array:
    limits = np.iinfo(dtype)
    return np.random.default_rng([seed, *shape]).integers(limits.min, limits.max + 1, shape).astype(dtype)


def k(value: Any, dtype: Any = np.float32) -> Const:
    return Const.of(np.array(value, dtype))


def near(harness: Any, rule: Any, g: Any, feeds: Any, levels: int = 1) -> Any:
    """The rule fires, and no element is further off than so many levels, of which few are off at all."""
    outcome = harness.rewrite(rule, g)
    assert outcome.fired, outcome.declined
    for a, b in zip(harness.run(outcome.before, feeds), harness.run(outcome.after, feeds), strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        error = np.abs(a.astype(int) - b.astype(int))
        assert error.max() <= levels and (error > 0).mean() < 0.1, error.max()
    declared = outcome.before.tensor_type("y0")
    assert declared.static_shape == harness.run(outcome.before, feeds)[0].shape
    return outcome


# ---------------------------------------------------------------- QLinear ops


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("kind", ["QLinearAdd", "QLinearMul"])
def test_binary(harness: Any, kind: str, dtype: Any) -> None:
    zero = [k(v, dtype) for v in (7, 3, 9)]
    operands = [q(3, 4, dtype=dtype), k(0.02), zero[0], q(4, dtype=dtype, seed=1), k(0.03), zero[1], k(0.05), zero[2]]
    g, feeds = harness.graph(kind, operands, domain=MS)
    near(harness, UnfuseQlinear(), g, feeds)


def test_zero_points_that_are_left_out_are_zero(harness: Any) -> None:
    """onnxruntime's schema has them optional, its type inference fails without them."""
    zero = k(0, np.uint8)
    operands: list[Any] = [q(3, 4), k(0.02), zero, q(4, seed=1), k(0.03), zero, k(0.05), zero]
    g, feeds = harness.graph("QLinearAdd", operands, domain=MS)
    (want,) = harness.run(g, feeds)
    operands = [None if i in (2, 5) else v for i, v in enumerate(operands[:7])]
    bare, feeds = harness.graph("QLinearAdd", operands, domain=MS)
    (got,) = harness.run(harness.rewrite(UnfuseQlinear(), bare).after, feeds)
    assert got.dtype == np.uint8 and np.abs(got.astype(int) - want).max() <= 1


@pytest.mark.parametrize(
    ("kind", "attrs", "scale"),
    [
        ("QLinearSigmoid", {}, 1 / 256),
        ("QLinearLeakyRelu", {}, 0.02),
        ("QLinearLeakyRelu", {"alpha": 0.3}, 0.02),
        ("QLinearSoftmax", {"axis": -1, "opset": 13}, 1 / 256),
        ("QLinearSoftmax", {"axis": 1, "opset": 13}, 1 / 256),
        ("QLinearSoftmax", {"axis": 1, "opset": 11}, 1 / 256),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_unary(harness: Any, kind: str, attrs: dict[str, Any], scale: float, dtype: Any) -> None:
    operands = [q(2, 3, 4, dtype=dtype), k(0.02), k(5, dtype), k(scale), k(np.iinfo(dtype).min, dtype)]
    g, feeds = harness.graph(kind, operands, domain=MS, **attrs)
    near(harness, UnfuseQlinear(), g, feeds)


COUNTED = {"count_include_pad": 1}


@pytest.mark.parametrize(
    ("kind", "attrs"),
    [
        ("QLinearGlobalAveragePool", {}),
        ("QLinearAveragePool", {"kernel_shape": (3, 2), "strides": (2, 1), "pads": (1, 0, 1, 1)}),
        ("QLinearAveragePool", {"kernel_shape": (2, 2), "strides": (2, 2), "pads": (1, 1, 0, 0), **COUNTED}),
        ("QLinearAveragePool", {"kernel_shape": (2, 2), "strides": (2, 2), "ceil_mode": 1}),
        ("QLinearAveragePool", {"kernel_shape": (3, 3), "auto_pad": "SAME_UPPER"}),
    ],
)
@pytest.mark.parametrize("last", [0, 1])
def test_pools(harness: Any, kind: str, attrs: dict[str, Any], last: int) -> None:
    x = q(1, 7, 5, 3) if last else q(1, 3, 7, 5)
    operands = [x, k(0.02), k(5, np.uint8), k(0.0137), k(9, np.uint8)]
    g, feeds = harness.graph(kind, operands, domain=MS, channels_last=last, **attrs)
    near(harness, UnfuseQlinear(), g, feeds)


def test_concat_and_where(harness: Any) -> None:
    parts = [(q(2, 3), k(0.02), k(5, np.uint8)), (q(2, 4, seed=1), k(0.01), k(1, np.uint8))]
    operands = [k(0.03), k(7, np.uint8), *(v for p in parts for v in p)]
    g, feeds = harness.graph("QLinearConcat", operands, domain=MS, axis=1)
    near(harness, UnfuseQlinear(), g, feeds)
    choice = np.array([[True], [False]])
    zeros = [k(z, np.uint8) for z in (5, 1, 7)]
    operands = [choice, q(2, 3), k(0.02), zeros[0], q(3, seed=1), k(0.01), zeros[1], k(0.03), zeros[2]]
    g, feeds = harness.graph("QLinearWhere", operands, domain=MS)
    near(harness, UnfuseQlinear(), g, feeds)


def test_reduce_mean(harness: Any) -> None:
    operands = [q(2, 3, 4), k(0.02), k(5, np.uint8), k(0.01), k(9, np.uint8)]
    for keep in (0, 1):
        g, feeds = harness.graph("QLinearReduceMean", operands, domain=MS, axes=(1, 2), keepdims=keep)
        (got,) = harness.run(harness.rewrite(UnfuseQlinear(), g).after, feeds)
        mean = ((feeds["x0"].astype(np.float64) - 5) * 0.02).mean((1, 2), keepdims=bool(keep))
        np.testing.assert_array_equal(got, np.clip(np.round(mean / 0.01) + 9, 0, 255))


def test_reduce_mean_of_everything(harness: Any) -> None:
    operands = [q(2, 3, 4), k(0.02), k(5, np.uint8), k(0.01), k(9, np.uint8)]
    g, feeds = harness.graph("QLinearReduceMean", operands, domain=MS)
    (got,) = harness.run(harness.rewrite(UnfuseQlinear(), g).after, feeds)
    mean = ((feeds["x0"].astype(np.float64) - 5) * 0.02).mean(keepdims=True)
    np.testing.assert_array_equal(got, np.clip(np.round(mean / 0.01) + 9, 0, 255))


@pytest.mark.parametrize("index", [0, 3, 6, 7])
def test_parts_with_a_scale_for_each_channel_are_refused(harness: Any, index: int) -> None:
    """Scales and zero points of the result and of each part; the parts themselves have more elements than one."""
    parts = [(q(2, 1), k(0.02), k(5, np.uint8)), (q(2, 1, seed=1), k(0.01), k(1, np.uint8))]
    operands: list[Any] = [k(0.03), k(7, np.uint8), *(v for p in parts for v in p)]
    operands[index] = Const.of(np.ones(3, operands[index].dtype.numpy))
    g, _ = harness.graph("QLinearConcat", operands, domain=MS, axis=1)
    harness.declines(UnfuseQlinear(), g, "not a single scale")


def test_what_is_wrong_with_the_float_op_is_told(harness: Any) -> None:
    operands = [np.array(3, np.uint8), k(0.02), k(5, np.uint8), k(0.01), k(9, np.uint8)]
    g, _ = harness.graph("QLinearSoftmax", operands, domain=MS, axis=0)
    harness.declines(UnfuseQlinear(), g, "it has no axes")


def test_a_scale_for_each_channel_is_refused(harness: Any) -> None:
    operands = [q(2, 3), Const.of(f(3)), k(5, np.uint8), q(2, 3), k(0.1), k(0, np.uint8), k(0.1), k(0, np.uint8)]
    g, _ = harness.graph("QLinearAdd", operands, domain=MS)
    harness.declines(UnfuseQlinear(), g, "not a single scale")


@pytest.mark.parametrize("last", [0, 1])
def test_qlinear_conv(harness: Any, last: int) -> None:
    x = q(1, 7, 5, 4) if last else q(1, 4, 7, 5)
    operands = [
        x, k(0.02), k(5, np.uint8), Const.of(q(6, 2, 3, 3, dtype=np.int8)), Const.of(np.abs(f(6)) * 0.01 + 0.01),
        Const.of(np.zeros(6, np.int8)), k(0.5), k(9, np.uint8), Const.of(q(6, dtype=np.int8).astype(np.int32)),
    ]  # fmt: skip
    g, feeds = harness.graph(
        "QLinearConv", operands, domain=MS, channels_last=last, group=2, pads=(1, 0, 1, 1), strides=(2, 1)
    )
    harness.same(UnfuseQlinearConv(), g, feeds)


@pytest.mark.parametrize("quantised", [True, False])
@pytest.mark.parametrize("per_column", [True, False])
@pytest.mark.parametrize("trans", [0, 1])
def test_qgemm(harness: Any, quantised: bool, per_column: bool, trans: int) -> None:
    scales = np.abs(f(5)) * 0.01 + 0.01 if per_column else np.float32(0.02)
    zeros = np.full(5, 3, np.int8) if per_column else np.int8(3)
    weights = q(5, 4, dtype=np.int8) if trans else q(4, 5, dtype=np.int8)
    operands = [
        q(3, 4, dtype=np.int8), k(0.02), k(5, np.int8), Const.of(weights),
        Const.of(scales), Const.of(zeros), Const.of(q(5, dtype=np.int8).astype(np.int32)),
        *([k(0.2), k(2, np.int8)] if quantised else []),
    ]  # fmt: skip
    g, feeds = harness.graph("QGemm", operands, domain=MS, transB=trans, alpha=0.5)
    if quantised:
        near(harness, UnfuseQgemm(), g, feeds)
    else:
        harness.same(UnfuseQgemm(), g, feeds, atol=1e-5)


# ---------------------------------------------------------------- integer products


@pytest.mark.parametrize("per_column", [True, False])
@pytest.mark.parametrize("zero", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dynamic", [True, False])
def test_integer_mat_mul(harness: Any, per_column: bool, zero: bool, bias: bool, dynamic: bool) -> None:
    b = Const.of(q(4, 5))
    scale = Const.of(np.abs(f(5)) * 0.01 + 0.01) if per_column else k(0.02)
    zeros = (Const.of(q(5, seed=3)) if per_column else k([7], np.uint8)) if zero else None
    more = Const.of(f(5)) if bias else None
    if dynamic:
        kind, operands = "DynamicQuantizeMatMul", [f(2, 3, 4), b, scale, zeros, more]
    else:
        kind = "MatMulIntegerToFloat"
        operands = [q(2, 3, 4), b, k([0.03]), scale, k([9], np.uint8) if zero else None, zeros, more]
    while operands[-1] is None:
        operands.pop()
    g, feeds = harness.graph(kind, operands, domain=MS)
    harness.same(UnfuseIntegerMatMul(), g, feeds, atol=1e-4)
    assert g.tensor_type("y0").shape == (2, 3, 5)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("per_column", [True, False])
def test_dynamic_lstm(harness: Any, direction: str, per_column: bool) -> None:
    d, hidden = (2 if direction == "bidirectional" else 1), 6
    shape = (d, 4 * hidden) if per_column else (d,)
    w, r = q(d, 5, 4 * hidden, dtype=np.int8), q(d, hidden, 4 * hidden, dtype=np.int8, seed=1)
    scales = [Const.of(np.full(shape, s, np.float32)) for s in (0.004, 0.003)]
    zero = Const.of(np.zeros(shape, np.int8))
    operands = [
        f(4, 2, 5), Const.of(w), Const.of(r), Const.of(f(d, 8 * hidden)), np.array([4, 2], np.int32),
        f(d, 2, hidden, seed=2), f(d, 2, hidden, seed=3), Const.of(f(d, 3 * hidden, seed=4) * 0.1),
        scales[0], zero, scales[1], zero,
    ]  # fmt: skip
    g, feeds = harness.graph(
        "DynamicQuantizeLSTM", operands, domain=MS, outputs=3, hidden_size=hidden, direction=direction
    )
    harness.same(UnfuseDynamicLstm(), g, feeds, rtol=0, atol=0.05)
    assert g.tensor_type("y0").shape == (4, d, 2, hidden)


# ---------------------------------------------------------------- packed weights


@pytest.mark.parametrize(
    ("bits", "zeros"), [*((b, z) for b in (2, 4, 8) for z in ("none", "packed")), (4, "floats")]
)
@pytest.mark.parametrize("features", [64, 40])
def test_mat_mul_n_bits(harness: Any, bits: int, zeros: str, features: int) -> None:
    n, block = 6, 16
    blocks = -(-features // block)
    packed = q(n, blocks, block * bits // 8)
    given = {
        "none": None,
        "packed": Const.of(q(n * -(-blocks * bits // 8), seed=2)),
        "floats": Const.of(np.abs(f(n, blocks)) * 3),
    }
    scales, bias = Const.of(np.abs(f(n * blocks))), Const.of(f(n))
    operands = [f(2, 3, features), Const.of(packed), scales, given[zeros], None, bias]
    g, feeds = harness.graph("MatMulNBits", operands, domain=MS, K=features, N=n, bits=bits, block_size=block)
    harness.same(UnfuseMatMulNBits(), g, feeds, rtol=1e-4, atol=2e-3)
    assert g.tensor_type("y0").shape == (2, 3, n)


@pytest.mark.parametrize("order", ["plain", "mixed"])
def test_mat_mul_n_bits_of_reordered_features(harness: Any, order: str) -> None:
    group = np.arange(32, dtype=np.int32) // 16
    group = group if order == "plain" else np.roll(group, 3)
    operands = [f(2, 32), Const.of(q(6, 2, 8)), Const.of(np.abs(f(12))), None, Const.of(group)]
    g, feeds = harness.graph("MatMulNBits", operands, domain=MS, K=32, N=6, bits=4, block_size=16)
    harness.same(UnfuseMatMulNBits(), g, feeds, rtol=1e-4, atol=2e-3)


@pytest.mark.parametrize(
    ("operand", "reason"),
    [
        *((name, "computed at run time") for name in ("weights", "scales", "zeros")),
        ("g_idx", "g_idx beside zero points"),
        ("bits", "3 bits in blocks of 16"),
    ],
)
def test_what_mat_mul_n_bits_may_not_have(harness: Any, operand: str, reason: str) -> None:
    weights = q(6, 2, 8)
    operands: list[Any] = [f(2, 32), weights if operand == "weights" else Const.of(weights)]
    operands.append(f(12) if operand == "scales" else Const.of(f(12)))
    if operand == "zeros":
        operands.append(q(6, 1))
    if operand == "g_idx":
        operands += [Const.of(q(6, 1)), Const.of(np.zeros(32, np.int32))]
    bits = 3 if operand == "bits" else 4
    g, _ = harness.graph("MatMulNBits", operands, domain=MS, K=32, N=6, bits=bits, block_size=16)
    harness.declines(UnfuseMatMulNBits(), g, reason)


@pytest.mark.parametrize("kind", [0, 1])
def test_mat_mul_bnb4(harness: Any, kind: int) -> None:
    operands = [f(2, 32), Const.of(q(32 * 6 // 2)), Const.of(np.abs(f(12)))]
    g, feeds = harness.graph("MatMulBnb4", operands, domain=MS, K=32, N=6, block_size=16, quant_type=kind)
    harness.same(UnfuseMatMulBnb4(), g, feeds, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("attrs", "computed", "reason"),
    [
        ({"transB": 0}, (), "weights are not transposed"),
        ({"training_mode": 1}, (), "for training"),
        ({"quant_type": 2}, (), "neither FP4 nor NF4"),
        ({}, (1,), "computed at run time"),
        ({}, (2,), "computed at run time"),
    ],
)
def test_what_mat_mul_bnb4_may_not_have(
    harness: Any, attrs: dict[str, Any], computed: tuple[int, ...], reason: str
) -> None:
    arrays = [f(2, 32), q(32 * 6 // 2), np.abs(f(12))]
    operands = [v if i in (0, *computed) else Const.of(v) for i, v in enumerate(arrays)]
    given = {"K": 32, "N": 6, "block_size": 16, "quant_type": 0, **attrs}
    g, _ = harness.graph("MatMulBnb4", operands, domain=MS, **given)
    harness.declines(UnfuseMatMulBnb4(), g, reason)


@pytest.mark.parametrize(("ids", "tested"), [([-7, 6], False), ([-8, 0], True), ([0, 7], True)])
def test_only_ids_outside_of_the_table_are_tested(harness: Any, ids: list[int], tested: bool) -> None:
    operands = [Const.of(q(7, 32)), Const.of(np.array(ids, np.int64)), Const.of(np.abs(f(7, 2)))]
    g, feeds = harness.graph("GatherBlockQuantized", operands, domain=MS, bits=8, block_size=16)
    assert ("Where" in harness.same(UnfuseGatherBlockQuantized(), g, feeds).types) is tested


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("zeros", [True, False])
def test_gather_block_quantized(harness: Any, bits: int, zeros: bool) -> None:
    data, scales = q(7, 32 * bits // 8), np.abs(f(7, 2))
    ids = np.array([[0, 6], [-1, 3]], np.int64)
    packed = [Const.of(q(7, -(-2 * bits // 8), seed=1))] if zeros else []
    g, feeds = harness.graph(
        "GatherBlockQuantized", [Const.of(data), ids, Const.of(scales), *packed], domain=MS, bits=bits, block_size=16
    )
    harness.same(UnfuseGatherBlockQuantized(), g, feeds)
    assert g.tensor_type("y0").shape == (2, 2, 32)
    harness.same(UnfuseGatherBlockQuantized(), g, {**feeds, "x1": np.array([[7, 1], [-8, 3]], np.int64)})


@pytest.mark.parametrize("dtype", [DType.INT4, DType.UINT4])
@pytest.mark.parametrize("axes", [(0, 1), (1, 0), (0, 2)])
def test_gather_from_four_bits(harness: Any, dtype: DType, axes: tuple[int, int]) -> None:
    gather, blocks = axes
    rng = np.random.default_rng(0)
    low = -8 if dtype is DType.INT4 else 0
    shape = [32, 32, 32][: max(axes) + 1]
    scales = [2 if i == blocks else d for i, d in enumerate(shape)]
    data = Const.of(rng.integers(low, low + 16, shape), dtype)
    zero = Const.of(rng.integers(low, low + 16, scales), dtype)
    for more in ([], [zero]):
        g, feeds = harness.graph(
            "GatherBlockQuantized", [data, np.array([3, 0], np.int32), Const.of(np.abs(f(*scales))), *more],
            domain=MS, gather_axis=gather, quantize_axis=blocks, block_size=16,
        )  # fmt: skip
        harness.same(UnfuseGatherBlockQuantized(), g, feeds)


# ---------------------------------------------------------------- the others


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("attrs", [{"strides": (2, 2), "ceil_mode": 1}, {"pads": (1, 0, 0, 1), "dilations": (2, 1)}])
def test_nhwc_max_pool(harness: Any, dtype: Any, attrs: dict[str, Any]) -> None:
    g, feeds = harness.graph("NhwcMaxPool", [q(1, 7, 6, 3, dtype=dtype)], domain=MS, kernel_shape=(2, 2), **attrs)
    harness.same(UnfuseNhwcMaxPool(), g, feeds)
    assert g.tensor_type("y0").shape == harness.run(g, feeds)[0].shape


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("size", [(3, 4), (1, 5), (4, 1)])
def test_crop_and_resize(harness: Any, mode: str, size: tuple[int, int]) -> None:
    boxes = np.array([[0, 0, 1, 1], [0.1, 0.2, 0.7, 0.9], [-0.3, 0.2, 0.6, 1.4], [0.8, 0.9, 0.2, 0.1]], np.float32)
    operands = [f(2, 3, 6, 7), boxes, np.array([0, 1, 1, 0], np.int32), Const.of(np.array(size, np.int32))]
    g, feeds = harness.graph("CropAndResize", operands, domain=MS, mode=mode, extrapolation_value=0.25)
    harness.same(DecomposeCropAndResize(), g, feeds, rtol=1e-4, atol=1e-5)
    assert g.tensor_type("y0").shape == (4, 3, *size)


def test_conv_transpose_with_pads(harness: Any) -> None:
    operands = [f(1, 4, 5, 6), Const.of(f(4, 3, 3, 3)), Const.of(np.array([1, 0, 1, 2])), Const.of(f(3))]
    g, feeds = harness.graph("ConvTransposeWithDynamicPads", operands, domain=MS, strides=(2, 1))
    harness.same(UnfuseConvTransposePads(), g, feeds)
    assert g.tensor_type("y0").shape == harness.run(g, feeds)[0].shape
    g, _ = harness.graph("ConvTransposeWithDynamicPads", [*operands[:2], np.array([1, 0, 1, 2])], domain=MS)
    harness.declines(UnfuseConvTransposePads(), g, "pads are computed at run time")
