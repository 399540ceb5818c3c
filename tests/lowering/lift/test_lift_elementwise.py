"""Elementwise ops, activations and ``select`` of lifted packages against numpy, by their text in coremltools."""

from __future__ import annotations

from collections.abc import Callable
from math import erf
from typing import Any

import numpy as np
import pytest

from tests.lowering.lift.one_op import agree, floats, lifted, mb, refusal

REALS = floats([[-2.5, -1.5, -0.5, -0.0], [0.5, 1.5, 2.5, 7.0]])
UNIT = floats([-0.9, -0.5, 0.0, 0.5, 0.9])
INTS = np.array([-7, -2, -1, 0, 1, 2, 7], np.int32)
BOOLS = np.array([[True, False], [False, True]])

UNARY: dict[str, tuple[Callable[..., Any], Any]] = {
    "abs": (np.abs, REALS), "acos": (np.arccos, UNIT), "asin": (np.arcsin, UNIT), "atan": (np.arctan, REALS),
    "atanh": (np.arctanh, UNIT), "ceil": (np.ceil, REALS), "cos": (np.cos, REALS), "cosh": (np.cosh, REALS),
    "erf": (np.vectorize(erf), REALS), "exp": (np.exp, REALS), "exp2": (np.exp2, REALS), "floor": (np.floor, REALS),
    "logical_not": (np.logical_not, BOOLS), "round": (np.round, REALS), "sign": (np.sign, REALS),
    "sin": (np.sin, REALS), "sinh": (np.sinh, REALS), "sqrt": (np.sqrt, np.abs(REALS)), "square": (np.square, REALS),
    "tan": (np.tan, UNIT), "tanh": (np.tanh, REALS),
    "relu": (lambda x: np.maximum(x, 0), REALS), "relu6": (lambda x: np.clip(x, 0, 6), REALS),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), REALS), "silu": (lambda x: x / (1 + np.exp(-x)), REALS),
    "softplus": (lambda x: np.log1p(np.exp(x)), REALS), "softsign": (lambda x: x / (1 + np.abs(x)), REALS),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(UNARY))
def test_unary(name: str) -> None:
    function, x = UNARY[name]
    agree(lambda x: getattr(mb, name)(x=x), {"x": x}, want=function(x))


@pytest.mark.parametrize(("name", "function"), [("abs", np.abs), ("sign", np.sign), ("square", np.square)])
def test_unary_of_integers(name: str, function: Callable[..., Any]) -> None:
    agree(lambda x: getattr(mb, name)(x=x), {"x": INTS}, want=function(INTS))


def test_exp2_of_integers_is_said_to_be_open_below_0() -> None:
    x = np.array([0, 1, 5], np.int32)
    found = lifted(lambda x: mb.exp2(x=x), {"x": x})
    np.testing.assert_array_equal(next(iter(found.results.values())), 2**x)
    assert "negative integer power" in found.warnings[0]


@pytest.mark.parametrize("target", ["iOS15", "iOS17"])
@pytest.mark.parametrize("epsilon", [None, 0.5])
def test_hidden_epsilons(epsilon: float | None, target: str) -> None:
    x = floats([0.0, 0.25, 4.0])
    options = {} if epsilon is None else {"epsilon": epsilon}
    small = {"log": 1e-45, "inverse": 1e-4, "rsqrt": 1e-12}
    for name, function in (("log", np.log), ("inverse", np.reciprocal), ("rsqrt", lambda v: 1 / np.sqrt(v))):
        shifted = x.astype(np.float64) + np.float32(small[name] if epsilon is None else epsilon)
        agree(lambda x, name=name: getattr(mb, name)(x=x, **options), {"x": x}, target, want=function(shifted))


def test_default_epsilon_of_fp16_is_0() -> None:
    x = np.array([1e-4, 2.0], np.float16)
    found = agree(lambda x: mb.rsqrt(x=x), {"x": x}, want=1 / np.sqrt(x.astype(np.float64)))
    assert "Add" not in found.types


def _modulo(x: Any, y: Any) -> Any:
    return np.mod(x, y)


BINARY: dict[str, Callable[..., Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "maximum": np.maximum, "minimum": np.minimum,
    "mod": _modulo, "floor_div": np.floor_divide, "equal": np.equal, "not_equal": np.not_equal, "less": np.less,
    "less_equal": np.less_equal, "greater": np.greater, "greater_equal": np.greater_equal,
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(BINARY))
def test_binary(name: str) -> None:
    x, y = floats([[7.5, -7.5, 6.0, -6.0], [1.0, 2.0, -2.0, 0.0]]), floats([[3.0], [-2.0]])
    agree(lambda x, y: getattr(mb, name)(x=x, y=y), {"x": x, "y": y}, want=BINARY[name](x, y))
    i, j = np.array([[7, -7, 6, -6], [1, 3, -3, 0]], np.int32), np.array([[3], [-2]], np.int32)
    agree(lambda x, y: getattr(mb, name)(x=x, y=y), {"x": i, "y": j}, want=BINARY[name](i, j))


def test_powers_and_quotients() -> None:
    x, y = floats([1.0, 2.0, 3.0]), floats([2.0, 0.5, -1.0])
    agree(lambda x, y: mb.pow(x=x, y=y), {"x": x, "y": y}, want=x**y)
    agree(lambda x, y: mb.real_div(x=x, y=y), {"x": x, "y": y}, want=x / y)
    i, j = np.array([7, -7, 4], np.int32), np.array([2, 2, 2], np.int32)
    agree(lambda x, y: mb.pow(x=x, y=y), {"x": i, "y": j}, want=i**j)
    agree(lambda x, y: mb.real_div(x=x, y=y), {"x": i, "y": j}, want=np.trunc(i / j).astype(np.int32), doubts=1)


@pytest.mark.parametrize("name", ["logical_and", "logical_or", "logical_xor"])
def test_logic(name: str) -> None:
    y = np.array([True, False])
    feeds = {"x": BOOLS, "y": y}
    agree(lambda x, y: getattr(mb, name)(x=x, y=y), feeds, want=getattr(np, name)(BOOLS, y))


@pytest.mark.parametrize("dtype", ["int32", "fp16", "fp32", "bool"])
def test_cast(dtype: str) -> None:
    kinds = {"int32": np.int32, "fp16": np.float32, "fp32": np.float32, "bool": np.bool_}
    for x in (floats([-2.7, -0.4, 0.0, 2.7]), INTS, BOOLS):
        agree(lambda x: mb.cast(x=x, dtype=dtype), {"x": x}, want=x.astype(kinds[dtype]))


def test_cast_to_small_integers() -> None:
    for dtype in ("int8", "uint8", "int16", "uint16"):
        found = lifted(lambda x, d=dtype: mb.cast(x=mb.cast(x=x, dtype=d), dtype="int32"), {"x": INTS % 5}, "iOS17")
        np.testing.assert_array_equal(next(iter(found.results.values())), INTS % 5)


def test_clip_and_threshold() -> None:
    agree(lambda x: mb.clip(x=x, alpha=-1.0, beta=1.5), {"x": REALS}, want=np.clip(REALS, -1, 1.5))
    agree(lambda x: mb.clip(x=x, alpha=2.0, beta=1.0), {"x": REALS}, want=np.full_like(REALS, 1.0), doubts=1)
    agree(lambda x: mb.threshold(x=x, alpha=0.5), {"x": REALS}, want=np.maximum(REALS, 0.5))
    agree(lambda x: mb.threshold(x=x, alpha=np.int32(1)), {"x": INTS}, want=np.maximum(INTS, 1))


def _where(low: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x: np.where(x >= 0, x, low(x))


ACTIVATIONS: dict[str, tuple[str, dict[str, Any], Callable[..., Any]]] = {
    "clamped_relu": (
        "clamped_relu", {"alpha": 0.2, "beta": 2.0}, lambda x: np.minimum(np.where(x >= 0, x, 0.2 * x), 2)
    ),
    "elu": ("elu", {"alpha": 0.7}, _where(lambda x: 0.7 * (np.exp(x) - 1))),
    "leaky_relu": ("leaky_relu", {"alpha": 0.1}, _where(lambda x: 0.1 * x)),
    "linear_activation": ("linear_activation", {"alpha": 2.0, "beta": -1.0}, lambda x: 2 * x - 1),
    "scaled_tanh": ("scaled_tanh", {"alpha": 1.7, "beta": 0.6}, lambda x: 1.7 * np.tanh(0.6 * x)),
    "sigmoid_hard": ("sigmoid_hard", {"alpha": 0.3, "beta": 0.4}, lambda x: np.clip(0.3 * x + 0.4, 0, 1)),
    "thresholded_relu": ("thresholded_relu", {"alpha": 1.5}, lambda x: np.where(x >= 1.5, x, 0)),
    "gelu": ("gelu", {}, lambda x: 0.5 * x * (1 + np.vectorize(erf)(x / 2**0.5))),
    "gelu exact": ("gelu", {"mode": "EXACT"}, lambda x: 0.5 * x * (1 + np.vectorize(erf)(x / 2**0.5))),
    "gelu tanh": (
        "gelu", {"mode": "TANH_APPROXIMATION"},
        lambda x: 0.5 * x * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3))),
    ),
    "gelu sigmoid": ("gelu", {"mode": "SIGMOID_APPROXIMATION"}, lambda x: x / (1 + np.exp(-1.702 * x))),
    "softmax": ("softmax", {}, lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True)),
    "softmax 0": ("softmax", {"axis": 0}, lambda x: np.exp(x) / np.exp(x).sum(0, keepdims=True)),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(ACTIVATIONS))
def test_activation(case: str) -> None:
    name, options, function = ACTIVATIONS[case]
    agree(lambda x: getattr(mb, name)(x=x, **options), {"x": REALS}, want=function(REALS.astype(np.float64)))


def test_clamped_relu_with_a_negative_bound_is_open() -> None:
    want = np.minimum(np.where(REALS >= 0, REALS, 0.5 * REALS), -1)
    agree(lambda x: mb.clamped_relu(x=x, alpha=0.5, beta=-1.0), {"x": REALS}, want=want, doubts=1)


def test_activations_by_channel() -> None:
    x = np.linspace(-2, 2, 24, dtype=np.float32).reshape(2, 3, 2, 2)
    alpha, beta = floats([0.1, 0.2, 0.3]), floats([1.0, 2.0, 0.5])
    a, b = alpha.reshape(3, 1, 1), beta.reshape(3, 1, 1)
    agree(lambda x: mb.prelu(x=x, alpha=alpha), {"x": x}, want=np.where(x > 0, x, a * x))
    want = a * np.log1p(np.exp(b * x))
    agree(lambda x: mb.softplus_parametric(x=x, alpha=alpha, beta=beta), {"x": x}, want=want)
    line = x[:, :, :, 0]
    same = floats([0.2, 0.2, 0.2])
    agree(lambda x: mb.prelu(x=x, alpha=same), {"x": line}, want=np.where(line > 0, line, 0.2 * line))


def test_select_repeats_all_three_operands() -> None:
    a, b = floats([[1.0, 2.0]]), floats([[3.0], [4.0]])
    agree(lambda c, a, b: mb.select(cond=c, a=a, b=b), {"c": BOOLS, "a": a, "b": b}, want=np.where(BOOLS, a, b))
    i = np.array([1, 2], np.int32)
    agree(lambda c, a: mb.select(cond=c, a=a, b=np.array([5, 6], np.int32)), {"c": BOOLS[0], "a": i},
          want=np.where(BOOLS[0], i, [5, 6]).astype(np.int32))  # fmt: skip
    flags = np.array([True, True])
    agree(lambda c, a: mb.select(cond=c, a=a, b=np.array([False, True])), {"c": BOOLS[0], "a": flags},
          want=np.where(BOOLS[0], flags, [False, True]))  # fmt: skip
    cond = np.stack([BOOLS, ~BOOLS])
    agree(lambda c, a, b: mb.select(cond=c, a=a, b=b), {"c": cond, "a": a, "b": b}, want=np.where(cond, a, b), doubts=1)


@pytest.mark.parametrize(("mode", "large"), [("simulate", np.inf), ("exact", 90000.0)])
def test_fp16_is_rounded_once_after_the_op(mode: str, large: float) -> None:
    x = np.array([300.0, 1.0009765625, 60.0], np.float16)
    found = lifted(lambda x: mb.square(x=x), {"x": x}, fp16=mode)
    result = next(iter(found.results.values()))
    assert result.dtype == np.float32
    assert result[0] == large
    exact = x.astype(np.float32) ** 2
    with np.errstate(over="ignore"):
        want = exact.astype(np.float16).astype(np.float32) if mode == "simulate" else exact
    np.testing.assert_array_equal(result, want)


def test_ops_that_compute_nothing_are_not_rounded() -> None:
    x = np.array([[1.0, -2.0]], np.float16)
    found = lifted(lambda x: mb.transpose(x=mb.relu(x=x), perm=[1, 0]), {"x": x}, fp16="simulate")
    assert [t for t in found.types if t == "Cast"] == ["Cast", "Cast"]  # the input alone


def test_an_unknown_gelu_is_refused() -> None:
    from coregraft.lowering.lift.lifter import Lifter, Session
    from coregraft.lowering.lift.registry import table
    from coregraft.lowering.lift.spec import MilOp, Slot
    from coregraft.rewriter.errors import UnsupportedError
    from coregraft.rewriter.types import Const, DType, TensorType

    kind = TensorType(DType.FLOAT, (2,))
    lifter = Lifter(Session("CoreML5"))
    lifter.bind(Slot("x", kind), lifter.input("x", kind))
    op = MilOp("gelu", "g", {"x": ("x",), "mode": (Const.of(np.array("WRONG", object)),)}, (Slot("y", kind),))
    with pytest.raises(UnsupportedError, match="mode WRONG is unknown"):
        table()["gelu"].lift(lifter, op)


def test_what_cannot_be_lifted_is_refused() -> None:
    error = refusal(lambda x: mb.reduce_sum(x=x, axes=np.array([], np.int32)), {"x": REALS})
    assert "axes is an empty list" in error.message
