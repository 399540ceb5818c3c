"""Element-wise emitters against ONNX's reference implementation, and the traps they step around."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.rewriter.errors import UnsupportedError
from tests.lowering.fold_harness import Case, assert_right, case, find_op, folded, mil_ops, ran

_RNG = np.random.default_rng(3)


def _floats(*shape: int, low: float = -3, high: float = 3, dtype: Any = np.float32) -> Any:
    return _RNG.uniform(low, high, shape).astype(dtype)


def _ints(*shape: int, low: int = -9, high: int = 10, dtype: Any = np.int32) -> Any:
    return _RNG.integers(low, high, shape).astype(dtype)


_ANY = (
    "Atan", "Ceil", "Cos", "Erf", "Exp", "Floor", "Round", "Sign", "Sin", "Sinh", "Cosh", "Tanh", "Abs", "Neg", "Asinh",
    "IsNaN", "IsInf",
)  # fmt: skip
_UNIT = ["Acos", "Asin", "Atanh"]
_POSITIVE = ["Sqrt", "Log", "Reciprocal"]
_X, _Y = _floats(2, 3, 4), _floats(3, 1)
_UINT5 = np.arange(8, dtype=np.uint8).reshape(1, 2, 1, 2, 2)
_BOOL = _RNG.random((2, 3)) < 0.5

UNARY = [
    *[case(op, _floats(2, 3)) for op in _ANY],
    *[case(op, _floats(2, 3, dtype=np.float16)) for op in ("Tanh", "Abs", "Neg", "Floor", "Asinh")],
    *[case(op, _floats(2, 3, low=-0.99, high=0.99)) for op in _UNIT],
    *[case(op, _floats(2, 3, low=0.01, high=30)) for op in _POSITIVE],
    case("Tan", _floats(4, low=-1.4, high=1.4)),
    case("Exp", np.float32(0.5)),
    case("Round", np.array([0.5, 1.5, 2.5, -0.5, -1.5, 2.4, -2.6], np.float32)),
    case("Asinh", np.array([0, 1e-4, -1e-4, 0.9, -1, 1.5, 300, -1e20, 3e38], np.float32)),
    case("Acosh", np.array([1, 1.0001, 1.5, 2, 2.5, 300, 1e20, 3e38], np.float32)),
    case("Acosh", np.array([0.5, -3], np.float32)),
    case("Log", np.array([0, 1e-30, 1], np.float32)),
    case("Reciprocal", np.array([1e-6, -1e-4, 5], np.float32)),
    case("Abs", _ints(6)), case("Sign", _ints(6)), case("Neg", _ints(6, dtype=np.int64)),
    case("Abs", np.array([-128, 127, -5], np.int8)), case("Neg", np.array([-128, 127, 0], np.int8)),
    case("Not", _BOOL),
    case("IsNaN", np.array([np.nan, np.inf, 0, -np.inf], np.float32)),
    *[case("IsInf", np.array([np.nan, np.inf, 3, -np.inf], np.float32), detect_negative=n, detect_positive=p)
      for n in (0, 1) for p in (0, 1)],
]  # fmt: skip

BINARY = [
    *[case(op, _X, _Y) for op in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean")],
    *[case(op, _X, _Y) for op in ("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal")],
    *[case(op, _ints(5), _ints(5)) for op in ("Add", "Sub", "Mul", "Equal", "Less", "Max", "Min")],
    *[case(op, _BOOL, _BOOL[:1]) for op in ("And", "Or", "Xor", "Equal")],
    case("Equal", np.array([1, 2, 3]), np.array(2)),
    case("Max", _floats(3)), case("Sum", _X, _Y, _floats(4)), case("Mean", _X, _Y, _floats(4), _floats(1)),
    case("Max", _ints(3), _ints(3), _ints(3)),
    case("Div", np.array([7, -7, 7, -7, 0]), np.array([2, 2, -2, -2, 5])),
    case("Div", np.array([7, 250], np.uint8), np.array([2, 3], np.uint8)),
    case("Div", np.array([-128, -128], np.int8), np.array([-1, 2], np.int8), want=[np.array([-128, -64], np.int8)]),
    case("Add", np.array([200, 100], np.uint8), np.array([100, 55], np.uint8)),
    case("Add", np.array([100, -100], np.int8), np.array([100, -100], np.int8)),
    case("Sub", np.array([3, 200], np.uint8), np.array([5, 100], np.uint8)),
    case("Sub", np.array([-30000, 30000], np.int16), np.array([30000, -30000], np.int16)),
    case("Mul", np.array([200, 3], np.uint8), np.array([200, 5], np.uint8)),
    case("Mul", np.array([-128, 127], np.int8), np.array([-128, 127], np.int8)),
    case("Mul", np.array([65535, 40000], np.uint16), np.array([65535, 3], np.uint16)),
    *[case("Mod", np.array([7, -7, 7, -7, 6]), np.array([3, 3, -3, -3, 3]), fmod=f) for f in (0, 1)],
    case("Mod", np.array([2**30, -(2**30)]), np.array([2**31 - 1, -(2**31) + 1])),
    case("Mod", np.array([7, 250], np.uint8), np.array([3, 7], np.uint8)),
    case("Mod", np.array([5.5, -5.5, 5.5, -5.5], np.float32), np.array([2, 2, -2, -2], np.float32), fmod=1),
]  # fmt: skip

SELECT = [
    *[case("Clip", _X, *(None if v is None else np.float32(v) for v in bounds), constant=(1, 2)) for bounds in (
        (-1, 1), (0, None), (0, 6), (None, 1), (1, 1), (2, -1), (-np.inf, 1), (-1, np.inf), (None, None))],
    case("Clip", _X, np.float32(-1), np.float32(1)),
    case("Clip", _ints(8), np.int32(-2), np.int32(3), constant=(1, 2)),
    case("Where", _BOOL, _floats(2, 3), _floats(2, 3)),
    case("Where", _BOOL, np.float32(1), _floats(2, 3)),
    case("Where", _BOOL[:, :1], _floats(3), np.float32(-1e9)),
    case("Where", _RNG.random((4, 1, 3)) < 0.5, _floats(2, 1), _floats(1)),
    case("Where", _RNG.random((2, 2)) < 0.5, np.float32(1), np.float32(2)),
    case("Where", _BOOL, _BOOL, ~_BOOL), case("Where", _BOOL, _ints(2, 3), _ints(3)),
]  # fmt: skip

CAST = [
    case("Cast", np.array([1.9, -1.9, 0.2, -0.2], np.float32), to=6),
    case("Cast", np.array([0, 0.2, -3], np.float32), to=9), case("Cast", np.array([0, 2, -3]), to=9),
    case("Cast", _BOOL, to=1), case("Cast", _BOOL, to=7), case("Cast", np.array([1, -300]), to=1),
    case("Cast", np.array([1.5], np.float32), to=10), case("Cast", np.array([1.5], np.float16), to=1),
    case("Cast", np.array([300, -1, 255, 7]), to=2), case("Cast", np.array([300, -129, 128]), to=3),
    case("Cast", np.array([200, 5], np.uint8), to=3), case("Cast", np.array([-3, 5], np.int8), to=5),
    case("CastLike", np.array([1.9, -1.9], np.float32), np.array([0])),
    case("CastLike", np.array([1.9, 0], np.float32), np.array([True])),
]  # fmt: skip

POWERS = [
    *[case("Pow", _floats(2, 3, low=0.1), np.float32(e), constant=(1,))
      for e in (0, 1, 2, 3, 7, 0.5, -0.5, -1, -2, 1.5, 0.3)],
    case("Pow", _X, np.array([[2.0]], np.float32), constant=(1,)),
    case("Pow", _floats(3), np.full((2, 3), 3, np.float32), constant=(1,)),
    case("Pow", np.float32(2), _floats(2, 3), constant=(0,)),
    case("Pow", np.array([[10]], np.float32), _floats(3), constant=(0,)),
    case("Pow", np.array([0.5, 2], np.float32), np.array([3, -1.5], np.float32), constant=(0,)),
    case("Pow", np.array([-2, -2, -2, 2, 0], np.float32), np.array([2, 3, 0.5, 0.5, 2], np.float32)),
    case("Pow", np.array([-2, 3], np.float32), np.array([[2], [3]])),
    case("Pow", np.array([-1, -2, -0.5, 2], np.float32), np.array([np.inf, np.inf, np.inf, -np.inf], np.float32)),
    case("Pow", np.array([-2, 3], np.float32), np.array([3, 0.5], np.float32), constant=(1,)),
    case("Pow", np.array([2, -3, 4]), np.array([3, 3, 2])),
    case("Pow", np.array([2, -3, 4]), np.array(5), constant=(1,)),
    case("Pow", np.array([2, 3, 4]), np.array(0.5, np.float32), constant=(1,)),
    case("Pow", _floats(4, dtype=np.float16), np.float16(2), constant=(1,)),
    case("Pow", _floats(4, dtype=np.float16), np.float16(1.7), constant=(1,)),
    case("Pow", np.array([-2, -2, -2, -2], np.float32), np.array([65, 66, 0.3, -np.inf], np.float32), constant=(1,)),
]  # fmt: skip

BITS = [
    case("BitwiseXor", _ints(1, 2, 1, 1, 2), _ints(2, 1, 1)), case("BitwiseOr", _UINT5, _UINT5[:, :1]),
    *[case(op, np.array([0b1100, 255, 0, 7], np.uint8), np.array([0b1010, 15, 3, 8], np.uint8))
      for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor")],
    *[case(op, np.array([[-1, 12, -128]], np.int8), np.array([[5], [-7]], np.int8))
      for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor")],
    *[case(op, np.array([-1, 123456789, -2147483648, 77]), np.array([99, -5, 2147483647, -77]))
      for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor")],
    case("BitwiseNot", np.array([5, -5, 0])), case("BitwiseNot", np.array([5, 255], np.uint8)),
    *[case("BitShift", np.array([1, 200, 255], np.uint8), np.array([1, 3, 7], np.uint8), constant=k, direction=d)
      for d in ("LEFT", "RIGHT") for k in ((), (1,))],
    case("BitShift", np.array([16, 4], np.uint32), np.array([1, 2], np.uint32), direction="RIGHT"),
    case("BitShift", np.array([16, 4], np.uint64), np.array([1, 2], np.uint64), direction="LEFT"),
]  # fmt: skip


@pytest.mark.parametrize("target", ["iOS15", "iOS18"])
@pytest.mark.parametrize("c", [*UNARY, *BINARY, *SELECT, *CAST, *POWERS, *BITS], ids=str)
def test_matches_onnx(c: Case, target: str) -> None:
    assert_right(c, target)


@pytest.mark.parametrize(
    "c",
    [
        *[case(op, np.float32(-1.5), np.float32(2.25)) for op in ("Add", "Mul")],
        *[case(op, np.float32(-1.5)) for op in ("Tanh", "Neg")],
        case("Cast", np.float32(-1.5), to=6),
    ],
    ids=str,
)
def test_scalars(c: Case) -> None:
    assert_right(c)


def test_float_mod_against_infinity() -> None:
    # Stated, since the reference implementation of this opset does not take floats without fmod.
    x, y = np.array([-3, 3, -1, 1], np.float32), np.array([np.inf, np.inf, -np.inf, -np.inf], np.float32)
    want = np.array([np.inf, 3, -1, -np.inf], np.float32)
    c = case("Mod", x, y, want=[want])
    np.testing.assert_array_equal(ran(c)[0], want)


def test_square_is_no_pow() -> None:
    ops = mil_ops(case("Pow", _X, np.float32(2), constant=(1,)))
    assert ops == ["mul"]


def test_two_to_a_power_is_no_pow() -> None:
    assert mil_ops(case("Pow", np.float32(2), _X, constant=(0,))) == ["exp2"]


def test_pow_never_sees_a_negative_base() -> None:
    ops = mil_ops(case("Pow", _X, _X))
    assert ops.index("abs") < ops.index("pow")


@pytest.mark.parametrize(("op", "mil"), [("Log", "log"), ("Reciprocal", "inverse")])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_no_hidden_epsilon(op: str, mil: str, dtype: Any) -> None:
    assert find_op(case(op, _floats(3, low=1, dtype=dtype)), mil).epsilon.val == 0


def test_where_broadcasts_its_condition() -> None:
    c = case("Where", _BOOL[:, :1], _floats(2, 3), _floats(3))
    select = find_op(c, "select")
    assert tuple(select.cond.shape) == (2, 3)


def test_a_large_constant_condition_is_not_written_out() -> None:
    mask, x = np.tri(64, dtype=bool)[None], _floats(2, 16, 64, 64)
    c = case("Where", mask, x, np.float32(-1e4), constant=(0, 2))
    assert mil_ops(c) == ["reshape", "select"]
    assert find_op(c, "select").cond.val.size == mask.size
    assert_right(c)


def test_clip_of_equal_bounds_is_no_clip() -> None:
    assert mil_ops(case("Clip", _X, np.float32(1), np.float32(1), constant=(1, 2))) == ["maximum", "minimum"]


def test_unsigned_division_needs_no_signs() -> None:
    x = np.array([7, 9], np.uint8)
    assert mil_ops(case("Div", x, x)) == ["floor_div"]
    assert "sign" in mil_ops(case("Div", x.astype(np.int32), x.astype(np.int32)))


@pytest.mark.parametrize(
    "c",
    [
        case("Cast", _X, to=8, want=[_X]),
        case("Cast", _X, to=16, want=[_X]),
        case("BitwiseNot", np.array([1], np.uint32), want=[np.array([1], np.uint32)]),
    ],
    ids=str,
)
def test_refused(c: Case) -> None:
    with pytest.raises(UnsupportedError) as error:
        folded(c)
    assert error.value.code == "op-unsupported"
