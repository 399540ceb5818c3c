"""Elementwise arithmetic, comparison and logic, and ``select``."""

from __future__ import annotations

import numpy as np

from coregraft.lowering.lift.lifter import Lifter, Operand, carried_type
from coregraft.lowering.lift.operands import scalar
from coregraft.lowering.lift.registry import lifts
from coregraft.lowering.lift.spec import MilOp
from coregraft.rewriter.types import DType

#: What MIL adds to the operand where a package does not say.
_EPSILON = {"inverse": 1e-4, "log": 1e-45, "rsqrt": 1e-12}
_UNARY = {
    "acos": "Acos", "asin": "Asin", "atan": "Atan", "atanh": "Atanh", "cos": "Cos", "cosh": "Cosh", "erf": "Erf",
    "exp": "Exp", "sin": "Sin", "sinh": "Sinh", "sqrt": "Sqrt", "tan": "Tan", "tanh": "Tanh",
}  # fmt: skip
_UNARY_EXACT = {"abs": "Abs", "ceil": "Ceil", "floor": "Floor", "round": "Round", "sign": "Sign", "logical_not": "Not"}
_BINARY = {"add": "Add", "mul": "Mul", "pow": "Pow", "sub": "Sub"}
_BINARY_EXACT = {
    "equal": "Equal", "greater": "Greater", "greater_equal": "GreaterOrEqual", "less": "Less",
    "less_equal": "LessOrEqual", "logical_and": "And", "logical_or": "Or", "logical_xor": "Xor", "maximum": "Max",
    "minimum": "Min",
}  # fmt: skip


def is_float(l: Lifter, op: MilOp, key: str) -> bool:
    """Whether an operand is fp16 or fp32."""
    return l.type(op, key).dtype.is_float


def number(l: Lifter, op: MilOp, key: str, value: float) -> np.generic:
    """A number in the element type in which the graph holds an operand."""
    kind: np.generic = carried_type(l.type(op, key)).dtype.numpy.type(value)
    return kind


def pair(l: Lifter, op: MilOp, x: str = "x", y: str = "y") -> tuple[str, str]:
    """Two operands in one element type: a float where either is."""
    values = [l.operand(op, x), l.operand(op, y)]
    kinds = [carried_type(l.type(op, key)).dtype for key in (x, y)]
    if kinds[0] is not kinds[1]:
        common = next((k for k in kinds if k.is_float), DType.INT32)
        cast = {"to": int(common)}
        values = [v if k is common else l.emit("Cast", [v], cast) for v, k in zip(values, kinds, strict=True)]
    return values[0], values[1]


def chosen(l: Lifter, cond: str, a: Operand, b: Operand, kind: DType, output: str) -> None:
    """Define ``output``: elements of ``a`` where ``cond`` holds, else of ``b``. onnxruntime has no Where for BOOL."""
    if kind is DType.BOOL:
        sides = [l.emit("And", [cond, a]), l.emit("And", [l.emit("Not", [cond]), b])]
        l.emit("Or", sides, None, [output])
    else:
        l.emit("Where", [cond, a, b], None, [output])


@lifts(*_UNARY)
def unary(l: Lifter, op: MilOp) -> None:
    l.emit(_UNARY[op.type], [l.operand(op, "x")], None, [l.out(op)])


@lifts(*_UNARY_EXACT, moves=True)
def unary_exact(l: Lifter, op: MilOp) -> None:
    l.emit(_UNARY_EXACT[op.type], [l.operand(op, "x")], None, [l.out(op)])


@lifts("square")
def square(l: Lifter, op: MilOp) -> None:
    x = l.operand(op, "x")
    l.emit("Mul", [x, x], None, [l.out(op)])


@lifts("exp2")
def exp2(l: Lifter, op: MilOp) -> None:
    if not is_float(l, op, "x"):
        l.warn(op, "2 to a negative integer power is not defined; onnxruntime's result is given")
    l.emit("Pow", [number(l, op, "x", 2), l.operand(op, "x")], None, [l.out(op)])


@lifts("inverse", "log", "rsqrt")
def with_epsilon(l: Lifter, op: MilOp) -> None:
    """``f(x + epsilon)``. The default is smaller than fp16 can hold for all but ``inverse``."""
    epsilon = scalar(l, op, "epsilon")
    if epsilon is None:
        epsilon = _EPSILON[op.type]
        if l.type(op, "x").dtype is DType.FLOAT16 and op.type != "inverse":
            l.undefined(op, f"epsilon is absent, and its default {epsilon} is 0 in fp16; 0 is assumed")
            epsilon = 0.0
    x = l.operand(op, "x")
    shifted = l.emit("Add", [x, np.float32(epsilon)]) if np.float32(epsilon) else x
    if op.type == "rsqrt":
        shifted = l.emit("Sqrt", [shifted])
    l.emit("Log" if op.type == "log" else "Reciprocal", [shifted], None, [l.out(op)])


@lifts("cast")
def cast(l: Lifter, op: MilOp) -> None:
    """From float to integer the fraction is dropped, as coremltools' own evaluation does it."""
    to = carried_type(l.out_type(op)).dtype
    l.emit("Cast", [l.operand(op, "x")], {"to": int(to)}, [l.out(op)])


@lifts("clip", moves=True)
def clip(l: Lifter, op: MilOp) -> None:
    low, high = scalar(l, op, "alpha"), scalar(l, op, "beta")
    if low is None or high is None:
        l.refuse(op, "it needs alpha and beta")
    if low > high:
        l.undefined(op, f"alpha {low} is larger than beta {high}; beta is assumed for all elements")
    l.emit("Clip", [l.operand(op, "x"), np.float32(low), np.float32(high)], None, [l.out(op)])


@lifts("threshold", moves=True)
def threshold(l: Lifter, op: MilOp) -> None:
    l.emit("Max", pair(l, op, "x", "alpha"), None, [l.out(op)])


@lifts(*_BINARY)
def binary(l: Lifter, op: MilOp) -> None:
    l.emit(_BINARY[op.type], pair(l, op), None, [l.out(op)])


@lifts(*_BINARY_EXACT, moves=True)
def binary_exact(l: Lifter, op: MilOp) -> None:
    l.emit(_BINARY_EXACT[op.type], pair(l, op), None, [l.out(op)])


@lifts("not_equal", moves=True)
def not_equal(l: Lifter, op: MilOp) -> None:
    l.emit("Not", [l.emit("Equal", pair(l, op))], None, [l.out(op)])


@lifts("real_div")
def real_div(l: Lifter, op: MilOp) -> None:
    if not l.out_type(op).dtype.is_float:
        l.undefined(op, "a quotient of integers is typed as integer; the fraction is assumed to be dropped")
    l.emit("Div", pair(l, op), None, [l.out(op)])


@lifts("floor_div")
def floor_div(l: Lifter, op: MilOp) -> None:
    x, y = pair(l, op)
    if l.out_type(op).dtype.is_float:
        l.emit("Floor", [l.emit("Div", [x, y])], None, [l.out(op)])
    else:  # what is left after the (floored) remainder divides exactly
        l.emit("Div", [l.emit("Sub", [x, l.emit("Mod", [x, y])]), y], None, [l.out(op)])


@lifts("mod")
def mod(l: Lifter, op: MilOp) -> None:
    """The remainder has the sign of the divisor, as in Python."""
    x, y = pair(l, op)
    if not l.out_type(op).dtype.is_float:
        l.emit("Mod", [x, y], None, [l.out(op)])
        return
    rest = l.emit("Mod", [x, y], {"fmod": 1})  # has the sign of the dividend
    zero = np.float32(0)
    signs = l.emit("Xor", [l.emit("Less", [rest, zero]), l.emit("Less", [y, zero])])
    wrong = l.emit("And", [signs, l.emit("Not", [l.emit("Equal", [rest, zero])])])
    l.emit("Where", [wrong, l.emit("Add", [rest, y]), rest], None, [l.out(op)])


@lifts("select", moves=True)
def select(l: Lifter, op: MilOp) -> None:
    rank, declared = l.type(op, "cond").rank, l.out_type(op).rank
    if rank is not None and declared is not None and rank > declared:
        l.undefined(op, "cond has more dims than a and b; a and b are assumed to be repeated for it")
    a, b = pair(l, op, "a", "b")
    chosen(l, l.operand(op, "cond"), a, b, l.out_type(op).dtype, l.out(op))
