"""What formulas of custom layers are made of: nodes, and the functions that they may call, in NumPy, Swift and Metal.

Every node has a kind, ``bool``, ``int`` or ``real``; an int counts as a real where one is wanted, the other way takes
``floor``, ``ceil``, ``round`` or ``int``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Number:
    value: int | float


@dataclass(frozen=True, slots=True)
class Parameter:
    """A scalar parameter of the layer."""

    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class ParameterItem:
    """An element of a list parameter."""

    name: str
    kind: str
    index: Node


@dataclass(frozen=True, slots=True)
class Length:
    """How many elements a list parameter has."""

    name: str


@dataclass(frozen=True, slots=True)
class Size:
    """A dim of an input; a negative axis counts from the end."""

    input: str
    axis: Node


@dataclass(frozen=True, slots=True)
class Rank:
    """How many dims an input has."""

    input: str


@dataclass(frozen=True, slots=True)
class Element:
    """The element of an input that belongs to the output's element, by broadcasting."""

    input: str


@dataclass(frozen=True, slots=True)
class Fetch:
    """An element of an input at a computed position."""

    input: str
    index: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Coordinate:
    """Where the output's element is along an axis."""

    axis: int


@dataclass(frozen=True, slots=True)
class Local:
    """A value that the surroundings of the formula define: the result of a reduction."""

    name: str


@dataclass(frozen=True, slots=True)
class Call:
    """An operator or a function, by its key in :data:`FUNCTIONS`."""

    function: str
    args: tuple[Node, ...]


Node = (
    Number | Parameter | ParameterItem | Length | Size | Rank | Element | Fetch | Coordinate | Local | Call
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Function:
    """One function of formulas.

    Attributes:
        args: how many arguments; -1 for two or more.
        takes: kind of the arguments: ``same`` for ints or reals, ``real``, ``bool``, ``select``.
        gives: ``same`` for the kind of the arguments, or a kind.
        numpy: the computation, on NumPy arrays and Python numbers.
        swift: the Swift text, ``{0}``, ``{1}`` its arguments; ``{args}`` all of them. Reals are ``Double``.
        swift_int: the Swift text for ints, where it differs.
        metal: the Metal text on ``float4``, where it differs from ``swift``; empty where there is none.
    """

    args: int
    takes: str
    gives: str
    numpy: Callable[..., Any]
    swift: str
    swift_int: str | None = None
    metal: str | None = None


def _sigmoid(x: Any) -> Any:
    return np.where(np.asarray(x) >= 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))))


def _folded(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def fold(first: Any, *others: Any) -> Any:
        for other in others:
            first = function(first, other)
        return first

    return fold


def _floor_divide(a: Any, b: Any) -> Any:
    # np.floor_divide takes 1.0 // 0.1 for 9; the other languages divide first
    integral = all(np.issubdtype(np.asarray(x).dtype, np.integer) for x in (a, b))
    return np.floor_divide(a, b) if integral else np.floor(np.true_divide(a, b))


_erf = np.frompyfunc(math.erf, 1, 1)


def _unary(numpy: Callable[..., Any], swift: str, metal: str | None = None) -> Function:
    return Function(1, "real", "real", numpy, swift, metal=metal)


def _compare(numpy: Callable[..., Any], sign: str) -> Function:
    return Function(2, "same", "bool", numpy, f"({{0}} {sign} {{1}})")


#: Operators are keyed by their sign. NaN and the signs of zero are those of IEEE 754, in all three languages.
FUNCTIONS: Mapping[str, Function] = {
    "+": Function(2, "same", "same", np.add, "({0} + {1})"),
    "-": Function(2, "same", "same", np.subtract, "({0} - {1})"),
    "*": Function(2, "same", "same", np.multiply, "({0} * {1})"),
    "/": Function(2, "real", "real", np.true_divide, "({0} / {1})"),
    "//": Function(2, "same", "same", _floor_divide, "floor({0} / {1})", "floorDivide({0}, {1})"),
    "%": Function(
        2, "same", "same", np.mod, "floorModulo({0}, {1})", "floorModulo({0}, {1})", "({0} - {1} * floor({0} / {1}))"
    ),
    "**": Function(2, "real", "real", np.power, "pow({0}, {1})"),
    "neg": Function(1, "same", "same", np.negative, "(-{0})"),
    "<": _compare(np.less, "<"),
    "<=": _compare(np.less_equal, "<="),
    ">": _compare(np.greater, ">"),
    ">=": _compare(np.greater_equal, ">="),
    "==": _compare(np.equal, "=="),
    "!=": _compare(np.not_equal, "!="),
    "and": Function(2, "bool", "bool", np.logical_and, "({0} && {1})"),
    "or": Function(2, "bool", "bool", np.logical_or, "({0} || {1})"),
    "not": Function(1, "bool", "bool", np.logical_not, "(!{0})"),
    "where": Function(3, "select", "same", np.where, "({0} ? {1} : {2})", metal=""),
    "min": Function(-1, "same", "same", _folded(np.minimum), "least({args})", "min({args})", ""),
    "max": Function(-1, "same", "same", _folded(np.maximum), "greatest({args})", "max({args})", ""),
    "abs": Function(1, "same", "same", np.abs, "abs({0})"),
    "floor": Function(1, "real", "int", np.floor, "floor({0})"),
    "ceil": Function(1, "real", "int", np.ceil, "ceil({0})"),
    "round": Function(1, "real", "int", np.rint, "({0}).rounded(.toNearestOrEven)", metal="rint({0})"),
    "int": Function(1, "real", "int", np.trunc, "trunc({0})"),
    "sqrt": _unary(np.sqrt, "sqrt({0})"),
    "exp": _unary(np.exp, "exp({0})"),
    "log": _unary(np.log, "log({0})"),
    "pow": Function(2, "real", "real", np.power, "pow({0}, {1})"),
    "sin": _unary(np.sin, "sin({0})"),
    "cos": _unary(np.cos, "cos({0})"),
    "tan": _unary(np.tan, "tan({0})"),
    "asin": _unary(np.arcsin, "asin({0})"),
    "acos": _unary(np.arccos, "acos({0})"),
    "atan": _unary(np.arctan, "atan({0})"),
    "sinh": _unary(np.sinh, "sinh({0})"),
    "cosh": _unary(np.cosh, "cosh({0})"),
    "tanh": _unary(np.tanh, "tanh({0})"),
    "erf": _unary(lambda x: np.asarray(_erf(x), np.float64), "erf({0})", metal=""),
    "sigmoid": _unary(_sigmoid, "sigmoid({0})", metal="(1.0f / (1.0f + exp(-({0}))))"),
    "sign": _unary(np.sign, "signOf({0})", "sign({0})"),
}


def kind_of(node: Node) -> str:
    """``bool``, ``int`` or ``real``."""
    match node:
        case Number(value=value):
            return "int" if isinstance(value, int) else "real"
        case Parameter(kind=kind) | ParameterItem(kind=kind):
            return kind
        case Length() | Size() | Rank() | Coordinate():
            return "int"
        case Element() | Fetch() | Local():
            return "real"
        case Call(function=name, args=args):
            given = FUNCTIONS[name]
            if given.gives != "same":
                return given.gives
            values = args[1:] if given.takes == "select" else args
            return "int" if all(kind_of(a) == "int" for a in values) else "real"


def walk(node: Node) -> Iterator[Node]:
    """A node and all below it."""
    yield node
    match node:
        case Call(args=below) | Fetch(index=below):
            for child in below:
                yield from walk(child)
        case Size(axis=child) | ParameterItem(index=child):
            yield from walk(child)


def argument_kinds(call: Call, want: str) -> list[str]:
    """The kind that each argument is wanted in, where the result is wanted as ``want``."""
    known, count = FUNCTIONS[call.function], len(call.args)
    if known.takes in ("bool", "real"):
        return [known.takes] * count
    if known.takes == "select":
        return ["bool", want, want]
    if known.gives == "bool":
        return ["int" if all(kind_of(a) == "int" for a in call.args) else "real"] * count
    return [want] * count
