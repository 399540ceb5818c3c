"""The norms against onnxruntime (or ONNX's reference where it has none), and the shapes MIL does not take."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.lowering import targets
from coregraft.lowering.program import lower_graph
from coregraft.rewriter.errors import UnsupportedError
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.opset import INTERNAL_OPSET
from coregraft.rewriter.types import Const, DType, TensorType
from tests.lowering.agreement import agree, by_runtime, mil_op
from tests.lowering.fold_harness import Case, case, lowered, reference
from tests.lowering.mil_numpy import run_mil

_RNG = np.random.default_rng(13)


def floats(*shape: int, dtype: Any = np.float32) -> Any:
    return _RNG.standard_normal(shape).astype(dtype)


def batch_norm(*shape: int, constant: Any = (1, 2, 3, 4), dtype: Any = np.float32, **attrs: Any) -> Case:
    c = shape[1] if len(shape) > 1 else 1
    variance = (_RNG.random(c) + 0.01).astype(dtype)
    vectors = floats(c, dtype=dtype), floats(c, dtype=dtype), floats(c, dtype=dtype), variance
    return case("BatchNormalization", floats(*shape, dtype=dtype), *vectors, constant=constant, **attrs)


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 5), (1, 2, 3, 2, 2)])
def test_batch_norm(shape: tuple[int, ...]) -> None:
    assert agree(batch_norm(*shape, epsilon=0.01)) == ["batch_norm"]


@pytest.mark.parametrize("shape", [(4,), (4, 3)])
def test_batch_norm_of_a_rank_that_mil_lacks_is_reshaped(shape: tuple[int, ...]) -> None:
    assert agree(batch_norm(*shape)) == ["reshape", "batch_norm", "reshape"]


def test_batch_norm_has_no_epsilon_left_at_run_time() -> None:
    c = by_runtime(batch_norm(1, 3, 4))
    op = mil_op(c, "batch_norm")
    assert op.epsilon.val == 0
    assert op.variance.val.tolist() == [1, 1, 1]


def test_batch_norm_in_half_precision_survives_a_variance_that_fp16_cannot_hold() -> None:
    x = np.full((1, 2, 3), 300, np.float16)
    params = [np.array(v, np.float32) for v in ([1, 2], [0, 1], [100, 200], [1e6, 1e-9])]
    scale, bias, mean, variance = (p.astype(np.float64)[:, None] for p in params)
    want = (scale * (x - mean) / np.sqrt(variance + 1e-2) + bias).astype(np.float16)
    c = case("BatchNormalization", x, *params, constant=(1, 2, 3, 4), epsilon=1e-2, want=(want,))
    agree(c, "iOS15")


def test_batch_norm_with_statistics_computed_at_run_time() -> None:
    assert "batch_norm" not in agree(batch_norm(2, 3, 4, 4, constant=()))


def test_batch_norm_in_training_mode_moves_its_statistics() -> None:
    c = batch_norm(2, 3, 4, 4, constant=(), training_mode=1, momentum=0.7, epsilon=1e-3)
    want = reference(case(c.type, *c.operands, outputs=3, **c.attrs))
    ops = agree(case(c.type, *c.operands, outputs=3, want=want, **c.attrs))
    assert "batch_norm" not in ops


@pytest.mark.parametrize("shape", [(2, 3, 7), (2, 3, 4, 5)])
@pytest.mark.parametrize("constant", [(1, 2), ()])
def test_instance_norm(shape: tuple[int, ...], constant: tuple[int, ...]) -> None:
    ops = agree(case("InstanceNormalization", floats(*shape), floats(3), floats(3), constant=constant, epsilon=0.02))
    assert ops == ["instance_norm"] if constant else "add" in ops


def test_instance_norm_of_three_spatial_axes_is_reshaped() -> None:
    c = case("InstanceNormalization", floats(2, 3, 2, 3, 4), floats(3), floats(3), constant=(1, 2))
    assert agree(c) == ["reshape", "instance_norm", "reshape"]


def layer_norm(shape: tuple[int, ...], scale: Any, bias: Any = None, constant: Any = (1, 2), **attrs: Any) -> Case:
    vectors = [scale] if bias is None else [scale, bias]
    return case("LayerNormalization", floats(*shape), *vectors, constant=constant, **attrs)


@pytest.mark.parametrize("axis", [-1, 1, 2, -3])
@pytest.mark.parametrize("biased", [False, True])
def test_layer_norm(axis: int, biased: bool) -> None:
    shape = (2, 3, 4)
    tail = shape[axis % 3 :]
    c = layer_norm(shape, floats(*tail), floats(*tail) if biased else None, axis=axis, epsilon=0.03)
    assert agree(c) == ["layer_norm"]


@pytest.mark.parametrize("scale", [(4,), (1, 4), (3, 1), (1,), (1, 3, 4)], ids=str)
def test_layer_norm_gets_scale_and_bias_of_the_exact_shape(scale: tuple[int, ...]) -> None:
    x, values = floats(2, 3, 4), floats(*scale)
    y = reference(case("LayerNormalization", x, np.ones((3, 4), np.float32), axis=1))[0]
    c = case("LayerNormalization", x, values, values, constant=(1, 2), axis=1, want=(y * values + values,))
    assert agree(c) == ["layer_norm"]
    assert mil_op(c, "layer_norm").gamma.shape == (3, 4)


def test_layer_norm_with_a_scale_that_varies_outside_of_its_axes() -> None:
    x, scale = floats(2, 3, 4), floats(3, 1)
    y = reference(case("LayerNormalization", x, np.ones(4, np.float32)))[0]
    c = case("LayerNormalization", x, scale, floats(4), constant=(1, 2))
    want = (y * scale + c.operands[2],)
    assert agree(case(c.type, *c.operands, constant=(1, 2), want=want)) == ["layer_norm", "mul", "add"]


def test_layer_norm_with_run_time_scale() -> None:
    assert agree(layer_norm((2, 3, 4), floats(4), floats(4), constant=())) == ["layer_norm", "mul", "add"]


def test_layer_norm_puts_out_its_statistics() -> None:
    c = case("LayerNormalization", floats(2, 3, 4), floats(4), floats(4), constant=(1, 2), outputs=3, epsilon=1e-3)
    ops = agree(c)
    assert ops[0] == "layer_norm"
    assert "rsqrt" in ops


@pytest.mark.parametrize("axis", [-1, 1])
def test_rms_norm(axis: int) -> None:
    x = floats(2, 3, 4)
    scale = floats(*x.shape[axis % 3 :])
    c = case("RMSNormalization", x, scale, constant=(1,), axis=axis, epsilon=0.02)
    c = case(c.type, x, scale, constant=(1,), want=reference(c), **c.attrs)
    assert agree(c) == ["mul", "reduce_mean", "rsqrt", "mul", "mul"]


@pytest.mark.parametrize(("stash", "casts"), [(1, 2), (10, 0)])
def test_rms_norm_squares_in_its_stash_type(stash: int, casts: int) -> None:
    x, scale = floats(2, 4, dtype=np.float16) * np.float16(3), floats(4, dtype=np.float16)
    want = reference(case("RMSNormalization", x, scale))
    c = case("RMSNormalization", x, scale, constant=(1,), stash_type=stash, want=want)
    assert agree(c).count("cast") == casts


def test_rms_norm_of_values_whose_squares_fp16_cannot_hold() -> None:
    x = np.array([[1000, -2000, 3000, 10]], np.float16)
    wide = x.astype(np.float64)
    want = (wide / np.sqrt((wide**2).mean(axis=-1, keepdims=True) + 1e-5)).astype(np.float16)
    agree(case("RMSNormalization", x, np.ones(4, np.float16), constant=(1,), want=(want,)))


@pytest.mark.parametrize("shape", [(2, 6, 5), (2, 6, 3, 4), (1, 4, 2, 3, 2), (2, 6)])
@pytest.mark.parametrize("constant", [(1, 2), ()])
def test_group_norm(shape: tuple[int, ...], constant: tuple[int, ...]) -> None:
    x, scale, bias = floats(*shape), floats(shape[1]), floats(shape[1])
    grouped = x.astype(np.float64).reshape(shape[0], 2, -1)
    y = (grouped - grouped.mean(-1, keepdims=True)) / np.sqrt(grouped.var(-1, keepdims=True) + 1e-3)
    column = (slice(None), *[None] * (len(shape) - 2))
    want = (y.reshape(shape) * scale[column] + bias[column]).astype(np.float32)
    ops = agree(case("GroupNormalization", x, scale, bias, constant=constant, num_groups=2, epsilon=1e-3, want=(want,)))
    assert "instance_norm" in ops


def test_a_shape_that_only_mil_knows_will_do() -> None:
    g = Graph()
    g.set_opsets({"": INTERNAL_OPSET})
    shape = (2, 4, 3, 5)
    x, scale, bias = floats(*shape), floats(4), floats(4)
    g.add_input("x", TensorType(DType.FLOAT, shape))
    for name, values in (("s", scale), ("b", bias)):
        g.add_value(name, const=Const.of(values))
    g.add_value("t", TensorType(DType.FLOAT, (None, 4, None, None)))
    g.add_value("y", TensorType(DType.FLOAT, shape))
    g.add_op(Op("InstanceNormalization", ("x", "s", "b"), ("t",), name="first"))
    g.add_op(Op("GroupNormalization", ("t", "s", "b"), ("y",), {"num_groups": 2}, name="second"))
    g.set_outputs(["y"])
    y = run_mil(lower_graph(g, targets.get("iOS15")).program, {"x": x})["y"]
    first = by_runtime(case("InstanceNormalization", x, scale, bias)).want
    assert first is not None
    second = by_runtime(case("GroupNormalization", first[0], scale, bias, num_groups=2)).want
    assert second is not None
    np.testing.assert_allclose(y, second[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [3, 4, 5])
@pytest.mark.parametrize("shape", [(2, 7, 5), (2, 7, 3, 4)])
def test_lrn(size: int, shape: tuple[int, ...]) -> None:
    x = floats(*shape) * 5
    # ONNX: the window runs from floor((size - 1) / 2) channels before to ceil((size - 1) / 2) behind.
    squares = np.pad(x * x, [(0, 0), ((size - 1) // 2, size // 2), *[(0, 0)] * (len(shape) - 2)])
    sums = np.stack([squares[:, i : i + size].sum(axis=1) for i in range(shape[1])], axis=1)
    want = x / (1.5 + 0.3 / size * sums) ** 0.6
    ops = agree(case("LRN", x, size=size, alpha=0.3, beta=0.6, bias=1.5, want=(want.astype(np.float32),)))
    assert ("local_response_norm" in ops) == (size % 2 == 1 and len(shape) == 4)


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_lp_normalization_leaves_a_row_of_zeros_alone(p: int, axis: int) -> None:
    x = floats(2, 3, 4)
    x[:, 1] = 0
    x[0] = 0
    agree(case("LpNormalization", x, p=p, axis=axis))


@pytest.mark.parametrize("axes", [[0, 2, 3], [1, 2], [-1]])
def test_mean_variance_normalization(axes: list[int]) -> None:
    c = case("MeanVarianceNormalization", floats(2, 3, 4, 5) + 1, axes=axes)
    agree(case(c.type, *c.operands, want=reference(c), axes=axes))


def test_what_is_refused() -> None:
    x = floats(2, 3)
    with pytest.raises(UnsupportedError, match="none of them spatial"):
        lowered(case("InstanceNormalization", x, floats(3), floats(3), constant=(1, 2), want=(x,)))
    with pytest.raises(UnsupportedError, match="do not split into 4 groups"):
        wide = floats(2, 6, 2)
        lowered(case("GroupNormalization", wide, floats(6), floats(6), num_groups=4, want=(wide,)))
    with pytest.raises(UnsupportedError, match="stash_type"):
        lowered(case("LayerNormalization", x, floats(3), constant=(1,), stash_type=6, want=(x,)))
