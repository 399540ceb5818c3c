"""Formulas of custom layers, read from text by a white list.

A formula is a Python expression of numbers, names and calls of :data:`~coregraft.custom_layers.formulas.FUNCTIONS`;
nothing in it is ever executed as Python. What a name means is said by a :class:`Scope`.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from coregraft.custom_layers.formulas import (
    FUNCTIONS,
    Call,
    Coordinate,
    Element,
    Fetch,
    Length,
    Local,
    Node,
    Number,
    Parameter,
    ParameterItem,
    Rank,
    Size,
    kind_of,
)
from coregraft.rewriter.errors import UsageError

_MAX_TEXT = 400  # ast's own parser has a stack, and a formula longer than this has better places to be
_MAX_DEPTH = 50
_LARGEST = 1 << 31
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
