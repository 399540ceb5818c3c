"""Formulas of custom layers: read from text by a white list, computed by NumPy, written out in Swift and Metal.

A formula is a Python expression of numbers, names and calls of :data:`FUNCTIONS`; nothing in it is ever executed as
Python. What a name means is said by a :class:`Scope`. Every node has a kind, ``bool``, ``int`` or ``real``; an int
counts as a real where one is wanted, the other way takes ``floor``, ``ceil``, ``round`` or ``int``.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from coregraft.rewriter.errors import UsageError
from coregraft.rewriter.types import Array

_MAX_TEXT = 400  # ast's own parser has a stack, and a formula longer than this has better places to be
_MAX_DEPTH = 50
_LARGEST = 1 << 31


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

_BINARY: Mapping[type[ast.operator], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%", ast.Pow: "**",
}  # fmt: skip
_COMPARE: Mapping[type[ast.cmpop], str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip
_NAMED = {"pi": math.pi, "e": math.e}


@dataclass(frozen=True)
class Scope:
    """What names in a formula mean.

    Attributes:
        inputs: names of the operands it may read the shape of.
        elements: whether a bare operand's name is its element (by broadcasting).
        fetches: whether ``x[i, j]`` is an element at a computed position.
        coordinates: whether ``i0``, ``i1``, … are the place of the output's element.
        parameters: parameter name -> ``bool``, ``int``, ``real``; ``ints``, ``reals`` for lists of them.
        locals: further names of reals.
    """

    inputs: tuple[str, ...] = ()
    elements: bool = False
    fetches: bool = False
    coordinates: bool = False
    parameters: Mapping[str, str] = field(default_factory=dict)
    locals: tuple[str, ...] = ()


def parse(text: str, scope: Scope, where: str, *, kind: str = "real") -> Node:
    """Read a formula.

    Args:
        where: what it is the formula of, for messages.
        kind: what it has to give: ``real``, or ``int`` for dims and positions.

    Raises:
        UsageError: ``custom-layer-expression``.
    """
    return read(tree_of(text, where), scope, where, kind=kind)


def tree_of(text: str, where: str) -> ast.expr:
    """The syntax of a formula, nothing about it checked yet.

    Raises:
        UsageError: ``custom-layer-expression``.
    """
    if len(text) > _MAX_TEXT:
        raise bad(where, f"it is longer than {_MAX_TEXT} characters")
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:  # a null character; nested too deep
        raise bad(where, f"{text!r} is not an expression") from error


def read(tree: ast.expr, scope: Scope, where: str, *, kind: str = "real", depth: int = 0) -> Node:
    """The checked formula of a syntax tree, ``depth`` levels inside another. See :func:`parse`."""
    node = _Reader(scope, where, depth).read(tree)
    found = kind_of(node)
    if found == kind or (found, kind) == ("int", "real"):
        return node
    hint = ": say how to round it, as in floor(…)" if (found, kind) == ("real", "int") else ""
    raise bad(where, f"{ast.unparse(tree)} gives a {found} where a {kind} is wanted{hint}")


def bad(where: str, problem: str) -> UsageError:
    """The error of a formula."""
    return UsageError("custom-layer-expression", f"{where}: {problem}")


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


class _Reader:
    def __init__(self, scope: Scope, where: str, depth: int) -> None:
        self.scope, self.where, self.depth = scope, where, depth

    def read(self, tree: ast.expr) -> Node:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise bad(self.where, f"it is nested more than {_MAX_DEPTH} deep")
        node = self.node(tree)
        self.depth -= 1
        return node

    def node(self, tree: ast.expr) -> Node:
        match tree:
            case ast.Constant(value=bool()):
                raise self.bad(tree, "is not a number")
            case ast.Constant(value=int() | float() as value):
                if not math.isfinite(value) or (isinstance(value, int) and abs(value) >= _LARGEST):
                    raise self.bad(tree, "is too large")
                return Number(value)
            case ast.Name(id=name):
                return self.name(tree, name)
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return self.read(operand)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self.call(tree, "neg", [operand])
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return self.call(tree, "not", [operand])
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
                return self.call(tree, _BINARY[type(op)], [left, right])
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARE:
                return self.call(tree, _COMPARE[type(op)], [left, right])
            case ast.BoolOp(op=ast.And() | ast.Or() as op, values=values):
                sign = "and" if isinstance(op, ast.And) else "or"
                node = self.read(values[0])
                for other in values[1:]:
                    node = self.checked(tree, sign, (node, self.read(other)))
                return node
            case ast.IfExp(test=test, body=body, orelse=other):
                return self.call(tree, "where", [test, body, other])
            case ast.Call(func=ast.Name(id="len"), args=[ast.Attribute(attr="shape", value=ast.Name(id=name))]):
                return Rank(self.input(tree, name))
            case ast.Call(func=ast.Name(id="len"), args=[ast.Name(id=name)]) if self.list_kind(name):
                return Length(name)
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name.isidentifier() and name in FUNCTIONS:
                return self.call(tree, name, args)
            case ast.Subscript(value=ast.Attribute(attr="shape", value=ast.Name(id=name)), slice=index):
                return Size(self.input(tree, name), self.index(index))
            case ast.Subscript(value=ast.Name(id=name), slice=index) if self.list_kind(name):
                return ParameterItem(name, self.list_kind(name), self.index(index))
            case ast.Subscript(value=ast.Name(id=name), slice=index) if self.scope.fetches:
                places = index.elts if isinstance(index, ast.Tuple) else [index]
                return Fetch(self.input(tree, name), tuple(self.index(place) for place in places))
        raise self.bad(tree, "is not something a formula can say")

    def name(self, tree: ast.expr, name: str) -> Node:
        scope = self.scope
        if name in scope.locals:
            return Local(name)
        if name in scope.inputs and scope.elements:
            return Element(name)
        if scope.parameters.get(name) in ("bool", "int", "real"):
            return Parameter(name, scope.parameters[name])
        if scope.coordinates and name[:1] == "i" and name[1:].isdecimal() and int(name[1:]) < 8:
            return Coordinate(int(name[1:]))
        if name in _NAMED:
            return Number(_NAMED[name])
        known = [*scope.locals, *(scope.inputs if scope.elements else ()), *sorted(scope.parameters)]
        raise self.bad(tree, f"is unknown; known are {', '.join(known) or 'no names'}")

    def call(self, tree: ast.expr, function: str, args: list[ast.expr]) -> Node:
        return self.checked(tree, function, tuple(self.read(a) for a in args))

    def checked(self, tree: ast.expr, function: str, args: tuple[Node, ...]) -> Node:
        known = FUNCTIONS[function]
        if len(args) != known.args and not (known.args < 0 and len(args) >= 2):
            raise self.bad(tree, f"does not give {function} the arguments it takes")
        truths = {"bool": len(args), "select": 1}.get(known.takes, 0)
        for n, arg in enumerate(args):
            if (kind_of(arg) == "bool") != (n < truths):
                raise self.bad(tree, "mixes truth values and numbers")
        return Call(function, args)

    def index(self, tree: ast.expr) -> Node:
        return read(tree, self.scope, self.where, kind="int", depth=self.depth)

    def input(self, tree: ast.expr, name: str) -> str:
        if name not in self.scope.inputs:
            raise self.bad(tree, f"names no operand: {', '.join(self.scope.inputs) or 'there are none'}")
        return name

    def list_kind(self, name: str) -> str:
        return {"ints": "int", "reals": "real"}.get(self.scope.parameters.get(name, ""), "")

    def bad(self, tree: ast.expr, problem: str) -> UsageError:
        return bad(self.where, f"{ast.unparse(tree)} {problem}")


@dataclass(frozen=True)
class Values:
    """What the names of a formula are, for one computation.

    Attributes:
        parameters: parameter values.
        shapes: dims by operand.
        elements: operands, ready to broadcast with each other.
        arrays: operands to fetch from.
        coordinates: place of the output's elements, one integer array an axis.
        outside: what a fetch outside of its operand gives; None makes it an IndexError.
        locals: further values.
    """

    parameters: Mapping[str, Any] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    elements: Mapping[str, Array] = field(default_factory=dict)
    arrays: Mapping[str, Array] = field(default_factory=dict)
    coordinates: tuple[Array, ...] = ()
    outside: float | None = None
    locals: Mapping[str, Any] = field(default_factory=dict)


def compute(node: Node, values: Values, want: str | None = None) -> Any:
    """A formula's value, in float64 where it is a real, by NumPy.

    Raises:
        IndexError: a position outside of an operand, a list or a shape.
    """
    want = want or kind_of(node)
    match node:
        case Number(value=value):
            return float(value) if want == "real" else value
        case Parameter(name=name):
            return _cast(values.parameters[name], want)
        case ParameterItem(name=name, index=index):
            return _cast(values.parameters[name][int(compute(index, values, "int"))], want)
        case Length(name=name):
            return _cast(len(values.parameters[name]), want)
        case Size(input=name, axis=axis):
            return _cast(values.shapes[name][int(compute(axis, values, "int"))], want)
        case Rank(input=name):
            return _cast(len(values.shapes[name]), want)
        case Element(input=name):
            return values.elements[name].astype(np.float64)
        case Local(name=name):
            return values.locals[name]
        case Coordinate(axis=axis):
            if axis >= len(values.coordinates):
                raise IndexError(f"the output has no axis {axis}")
            return values.coordinates[axis].astype(np.float64 if want == "real" else np.int64)
        case Fetch(input=name, index=index):
            return _fetched(values.arrays[name], [compute(i, values, "int") for i in index], values.outside)
        case Call(function=name, args=args):
            return _called(name, args, values, want)


def _called(name: str, args: tuple[Node, ...], values: Values, want: str) -> Any:
    function = FUNCTIONS[name]
    if function.takes == "bool":
        wants = ["bool"] * len(args)
    elif function.takes == "select":
        wants = ["bool", want, want]
    elif function.takes == "real":
        wants = ["real"] * len(args)
    elif function.gives == "bool":
        wants = ["int" if all(kind_of(a) == "int" for a in args) else "real"] * len(args)
    else:
        wants = [want if want == "real" else "int"] * len(args)
    with np.errstate(all="ignore"):
        found = function.numpy(*(compute(a, values, w) for a, w in zip(args, wants, strict=True)))
    if function.gives == "int" and want == "int":
        return np.asarray(found).astype(np.int64) if isinstance(found, np.ndarray) else int(found)
    return found


def _cast(value: Any, want: str) -> Any:
    return float(value) if want == "real" else value


def _fetched(array: Array, index: list[Any], outside: float | None) -> Array:
    if len(index) != array.ndim:
        raise IndexError(f"{len(index)} positions for an operand of rank {array.ndim}")
    places = np.broadcast_arrays(*(np.asarray(i, np.int64) for i in index)) if index else []
    inside = np.ones(places[0].shape if places else (), bool)
    for place, size in zip(places, array.shape, strict=True):
        inside &= (place >= 0) & (place < size)
    if outside is None and not inside.all():
        raise IndexError("a position is outside of its operand")
    found = np.zeros(inside.shape) if array.size == 0 else array[tuple(np.where(inside, p, 0) for p in places)]
    return np.where(inside, found.astype(np.float64), 0.0 if outside is None else outside)
