"""Elementwise arithmetic, comparison and logic."""

from __future__ import annotations

from coregraft.lowering.lift.lifter import Lifter
from coregraft.lowering.lift.registry import lifts
from coregraft.lowering.lift.spec import MilOp

#: MIL's own defaults of epsilon, where a package leaves it out.
EPSILON = {"log": 1e-45, "inverse": 1e-4, "rsqrt": 1e-12}

_UNARY = {
    "acos": "Acos", "asin": "Asin", "atan": "Atan", "atanh": "Atanh", "cos": "Cos", "cosh": "Cosh", "erf": "Erf",
    "exp": "Exp", "sin": "Sin", "sinh": "Sinh", "sqrt": "Sqrt", "tan": "Tan",
}  # fmt: skip
_UNARY_EXACT = {"abs": "Abs", "ceil": "Ceil", "floor": "Floor", "round": "Round", "sign": "Sign", "logical_not": "Not"}
_COMPARE = {"equal": "Equal", "greater": "Greater", "greater_equal": "GreaterOrEqual", "less": "Less",
            "less_equal": "LessOrEqual"}  # fmt: skip
_LOGIC = {"logical_and": "And", "logical_or": "Or", "logical_xor": "Xor"}


@lifts(*_UNARY)
def unary(l: Lifter, op: MilOp) -> None:
    l.emit(_UNARY[op.type], [l.operand(op, "x")], None, [l.out(op)])


@lifts(*_UNARY_EXACT, moves=True)
def unary_exact(l: Lifter, op: MilOp) -> None:
    l.emit(_UNARY_EXACT[op.type], [l.operand(op, "x")], None, [l.out(op)])
