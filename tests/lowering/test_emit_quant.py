"""QuantizeLinear and DequantizeLinear: compressed and folded constants, and exact arithmetic at run time."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from coregraft.lowering import targets
from coregraft.lowering.program import lower_graph
from coregraft.rewriter.errors import UnsupportedError
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.opset import INTERNAL_OPSET
from coregraft.rewriter.types import Array, Const, DType, TensorType
from tests.lowering.agreement import agree
from tests.lowering.fold_harness import case, lowered
from tests.lowering.mil_numpy import find_ops, op_types, run_mil

_RNG = np.random.default_rng(17)


def floats(*shape: int, low: float = -3, high: float = 3) -> Any:
    return _RNG.uniform(low, high, shape).astype(np.float32)


def _weight_program(target: str, weight: Any, scale: Any, zero: Any = None, **attrs: Any) -> tuple[Array, list[str]]:
    """What ``x + DequantizeLinear(constants)`` adds to x = 0, and the ops of the program."""
    g = Graph()
    g.set_opsets({"": INTERNAL_OPSET})
    g.add_input("x", TensorType(DType.of(scale.dtype), weight.shape))
    names = []
    for name, values in (("w", weight), ("s", scale), ("z", zero)):
        if values is not None:
            names.append(g.add_value(name, const=Const.of(values)))
    kind = TensorType(DType.of(scale.dtype), weight.shape)
    g.add_value("dq", kind)
    g.add_value("y", kind)
    g.add_op(Op("DequantizeLinear", tuple(names), ("dq",), attrs, name="dequantize"))
    g.add_op(Op("Add", ("x", "dq"), ("y",), name="add"))
    g.set_outputs(["y"])
    program = lower_graph(g, targets.get(target)).program
    return run_mil(program, {"x": np.zeros(weight.shape, scale.dtype)})["y"], op_types(program)


WEIGHT = _RNG.integers(-128, 128, (4, 3, 2)).astype(np.int8)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("target", ["iOS15", "iOS16", "iOS18"])
@pytest.mark.parametrize("zeroed", [True, False])
def test_weights_stay_compressed_where_the_target_can(axis: int, target: str, zeroed: bool) -> None:
    n = WEIGHT.shape[axis]
    scale, zero = floats(n, low=0.01, high=0.1), _RNG.integers(-9, 9, n).astype(np.int8)
    y, ops = _weight_program(target, WEIGHT, scale, zero if zeroed else None, axis=axis)
    along = [-1 if i == axis % 3 else 1 for i in range(3)]
    shifted = WEIGHT.astype(np.float32) - (zero.astype(np.float32).reshape(along) if zeroed else 0)
    np.testing.assert_allclose(y, shifted * scale.reshape(along), rtol=1e-6)
    assert ("constexpr_affine_dequantize" in ops) == (target != "iOS15")


@pytest.mark.parametrize("scalar", [(), (1,)])
def test_weights_with_one_scale(scalar: tuple[int, ...]) -> None:
    scale, zero = np.full(scalar, 0.05, np.float32), np.full(scalar, 3, np.uint8)
    y, ops = _weight_program("iOS16", WEIGHT.view(np.uint8), scale, zero)
    np.testing.assert_allclose(y, (WEIGHT.view(np.uint8).astype(np.float32) - 3) * np.float32(0.05), rtol=1e-6)
    assert ops == ["constexpr_affine_dequantize", "add"]


@pytest.mark.parametrize("target", ["iOS16", "iOS18"])
@pytest.mark.parametrize("dtype", [np.int8, ml_dtypes.int4, ml_dtypes.uint4])
@pytest.mark.parametrize("zeroed", [True, False])
def test_blocks(target: str, dtype: Any, zeroed: bool) -> None:
    low, high = (0, 16) if dtype is ml_dtypes.uint4 else (-8, 8)
    weight = _RNG.integers(low, high, (4, 6)).astype(dtype)
    scale, zero = floats(4, 3, low=0.01, high=0.1), _RNG.integers(0, 4, (4, 3)).astype(dtype)
    y, ops = _weight_program(target, weight, scale, zero if zeroed else None, axis=1, block_size=2)
    wide = weight.astype(np.float32) - (zero.astype(np.float32).repeat(2, axis=1) if zeroed else 0)
    np.testing.assert_allclose(y, wide * scale.repeat(2, axis=1), rtol=1e-6)
    assert ("constexpr_blockwise_shift_scale" in ops) == (target == "iOS18")


def test_int32_constants_are_folded() -> None:
    weight, scale = np.array([[70000, -3]], np.int32), np.array(0.5, np.float32)
    y, ops = _weight_program("iOS18", weight, scale)
    np.testing.assert_array_equal(y, [[35000, -1.5]])
    assert ops == ["add"]


def test_scales_that_half_precision_cannot_hold_are_folded() -> None:
    weight = np.array([[100, -100]], np.int8)
    small, plain = (np.array(v, np.float16) for v in (3e-5, 3e-3))
    y, ops = _weight_program("iOS17", weight, small)
    np.testing.assert_allclose(y, weight * np.float32(small), rtol=1e-3)
    assert ops == ["add"]
    assert _weight_program("iOS17", weight, plain)[1] == ["constexpr_affine_dequantize", "add"]


TIES = np.array([[0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 300, -300]], np.float32)


@pytest.mark.parametrize("target", ["iOS15", "iOS17"])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_quantize_rounds_half_to_even_and_saturates(target: str, dtype: Any) -> None:
    operands = TIES, np.array(1.0, np.float32), np.array(3, dtype)
    ops = agree(case("QuantizeLinear", *operands, constant=(1, 2)), target)
    assert ("quantize" in ops) == (target == "iOS17")


@pytest.mark.parametrize("target", ["iOS15", "iOS17"])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16])
@pytest.mark.parametrize("axis", [1, -1])
def test_quantize_along_an_axis(target: str, dtype: Any, axis: int) -> None:
    x = floats(2, 3, 4) * 50
    n = x.shape[axis]
    operands = x, floats(n, low=0.3, high=0.9), _RNG.integers(0, 9, n).astype(dtype)
    ops = agree(case("QuantizeLinear", *operands, constant=(1, 2), axis=axis), target)
    assert ("quantize" in ops) == (target == "iOS17" and dtype in (np.int8, np.uint8))


# MIL's own quantize on fp16 divides in a precision that it does not state, hence no such case for iOS17.
@pytest.mark.parametrize(
    ("target", "scale_dtype", "precision"),
    [
        ("iOS15", np.float32, 0),
        ("iOS15", np.float16, 1),
        ("iOS15", np.float16, 0),
        ("iOS17", np.float32, 0),
        ("iOS17", np.float16, 1),
    ],
)
def test_the_division_has_the_precision_that_onnx_gives_it(target: str, scale_dtype: Any, precision: int) -> None:
    x = (floats(400) * 30).astype(np.float16)
    scale, zero = np.array(0.37, scale_dtype), np.array(3, np.int8)
    inner = np.float32 if precision == 1 else scale_dtype
    want = np.clip(np.round(x.astype(inner) / scale.astype(inner)) + 3, -128, 127).astype(np.int8)
    c = case("QuantizeLinear", x, scale, zero, constant=(1, 2), precision=precision, want=(want,))
    agree(c, target)


@pytest.mark.parametrize("target", ["iOS15", "iOS17"])
def test_wide_levels_of_half_precision_are_counted_in_singles(target: str) -> None:
    x, scale, zero = np.array([3.0, 5.5], np.float16), np.array(1.0, np.float16), np.array(30001, np.uint16)
    want = np.array([30004, 30007], np.uint16)
    agree(case("QuantizeLinear", x, scale, zero, constant=(1, 2), want=(want,)), target)


@pytest.mark.parametrize("scale_at_run_time", [True, False])
def test_scales_computed_at_run_time(scale_at_run_time: bool) -> None:
    x, zero = floats(2, 6) * 20, np.array(5, np.uint8)
    constant = (2,) if scale_at_run_time else (1, 2)
    agree(case("QuantizeLinear", x, np.array(0.37, np.float32), zero, constant=constant))
    q = _RNG.integers(0, 255, (2, 6)).astype(np.uint8)
    agree(case("DequantizeLinear", q, np.array(0.37, np.float32), zero, constant=constant))
    agree(case("DequantizeLinear", q, floats(6, low=0.1, high=1), _RNG.integers(0, 9, 6).astype(np.uint8), axis=1))


@pytest.mark.parametrize(
    ("shape", "axis", "block"),
    [((2, 6), 1, 2), ((5, 3), 0, 2), ((2, 2, 3, 1, 5), -1, 3), ((7,), 0, 4), ((2, 4), -2, 1)],
)
@pytest.mark.parametrize("constant", [(1, 2), (1,), ()])
def test_blocks_at_run_time(shape: tuple[int, ...], axis: int, block: int, constant: tuple[int, ...]) -> None:
    """Blocks that end beyond the axis, and ranks that leave no room for another axis, included."""
    blocks = [-(-n // block) if i == axis % len(shape) else n for i, n in enumerate(shape)]
    scale, zero = floats(*blocks, low=0.2, high=0.5), _RNG.integers(-4, 4, blocks).astype(np.int8)
    attrs = {"axis": axis, "block_size": block}
    agree(case("QuantizeLinear", floats(*shape) * 9, scale, zero, constant=constant, **attrs))
    x = _RNG.integers(-128, 128, shape).astype(np.int8)
    agree(case("DequantizeLinear", x, scale, zero, constant=constant, **attrs))


@pytest.mark.parametrize(("target", "native"), [("iOS16", False), ("iOS17", True)])
def test_a_quantised_pair_meets_in_eight_bits_on_newer_targets(target: str, native: bool) -> None:
    g = Graph()
    g.set_opsets({"": INTERNAL_OPSET})
    x = floats(2, 3) * 40
    g.add_input("x", TensorType(DType.FLOAT, (2, 3)))
    g.add_value("s", const=Const.of(np.array(0.3, np.float32)))
    g.add_value("z", const=Const.of(np.array(-7, np.int8)))
    g.add_value("q", TensorType(DType.INT8, (2, 3)))
    g.add_value("y", TensorType(DType.FLOAT, (2, 3)))
    g.add_op(Op("QuantizeLinear", ("x", "s", "z"), ("q",), name="quantize"))
    g.add_op(Op("DequantizeLinear", ("q", "s", "z"), ("y",), name="dequantize"))
    g.set_outputs(["y"])
    program = lower_graph(g, targets.get(target)).program
    want = (np.clip(np.round(x / np.float32(0.3)) - 7, -128, 127) + 7) * np.float32(0.3)
    np.testing.assert_allclose(run_mil(program, {"x": x})["y"], want, rtol=1e-6)
    dequantizes = [op for op in program.functions["main"].operations if op.op_type == "dequantize"]
    assert [op.input.op.op_type for op in dequantizes] == (["quantize"] if native else [])


@pytest.mark.parametrize("target", ["iOS15", "iOS17"])
def test_integers_are_quantised_as_the_floats_that_they_are(target: str) -> None:
    """onnxruntime has no kernel for them: against the formula."""
    x, scale, zero = np.array([7, -300, 10, 90_001], np.int32), np.array(0.7, np.float32), np.array(3, np.int8)
    want = np.clip(np.rint(x.astype(np.float32) / scale) + 3, -128, 127).astype(np.int8)
    agree(case("QuantizeLinear", x, scale, zero, constant=(1, 2), want=(want,)), target)


def test_what_has_no_exact_form_is_refused() -> None:
    x, scale = floats(3), np.array(0.1, np.float32)
    for message, dtype, values in (
        ("fp32 cannot hold", np.int32, x),
        ("float8", ml_dtypes.float8_e4m3fn, x),
    ):
        with pytest.raises(UnsupportedError, match=message):
            lowered(case("QuantizeLinear", values, scale, np.array(0, dtype), want=(np.zeros(3, dtype),)))


@pytest.mark.parametrize("kind", ["Conv", "Gemm"])
def test_a_layer_takes_a_compressed_weight_as_it_is(kind: str) -> None:
    w = _RNG.integers(-128, 128, (3, 2, 1, 1) if kind == "Conv" else (3, 2)).astype(np.int8)
    x = floats(1, 2, 4, 4) if kind == "Conv" else floats(5, 2)
    scale = floats(3, low=0.01, high=0.1)
    g = Graph()
    g.set_opsets({"": INTERNAL_OPSET})
    g.add_input("x", TensorType(DType.FLOAT, x.shape))
    g.add_value("w", const=Const.of(w))
    g.add_value("s", const=Const.of(scale))
    g.add_value("dq", TensorType(DType.FLOAT, w.shape))
    g.add_value("y", TensorType(DType.FLOAT, (1, 3, 4, 4) if kind == "Conv" else (5, 3)))
    g.add_op(Op("DequantizeLinear", ("w", "s"), ("dq",), {"axis": 0}, name="dequantize"))
    g.add_op(Op(kind, ("x", "dq"), ("y",), {"transB": 1} if kind == "Gemm" else {}, name="layer"))
    g.set_outputs(["y"])
    program = lower_graph(g, targets.get("iOS16")).program
    assert op_types(program) == ["constexpr_affine_dequantize", "conv" if kind == "Conv" else "linear"]
    wide = w.reshape(3, 2).astype(np.float32) * scale[:, None]
    want = np.einsum("nchw,oc->nohw", x, wide) if kind == "Conv" else x @ wide.T
    np.testing.assert_allclose(run_mil(program, {"x": x})["y"], want, rtol=1e-4, atol=1e-4)


def test_a_compressed_weight_that_is_cast_becomes_a_plain_constant() -> None:
    w, scale = _RNG.integers(-128, 128, (4, 2, 3, 3)).astype(np.int8), np.array(0.01, np.float32)
    x = floats(1, 4, 7, 7).astype(np.float16)
    g = Graph()
    g.set_opsets({"": INTERNAL_OPSET})
    g.add_input("x", TensorType(DType.FLOAT16, x.shape))
    g.add_value("w", const=Const.of(w))
    g.add_value("s", const=Const.of(scale))
    g.add_value("dq", TensorType(DType.FLOAT, w.shape))
    g.add_value("half", TensorType(DType.FLOAT16, w.shape))
    g.add_value("y", TensorType(DType.FLOAT16, (1, 4, 3, 3)))
    g.add_op(Op("DequantizeLinear", ("w", "s"), ("dq",), name="dequantize"))
    g.add_op(Op("Cast", ("dq",), ("half",), {"to": int(DType.FLOAT16)}, name="cast"))
    g.add_op(Op("Conv", ("x", "half"), ("y",), {"group": 2, "dilations": (2, 2)}, name="conv"))
    g.set_outputs(["y"])
    program = lower_graph(g, targets.get("iOS17")).program
    weight = find_ops(program, "conv")[0].weight
    assert weight.op.op_type == "const"
    np.testing.assert_allclose(weight.val, (w * scale).astype(np.float16))
