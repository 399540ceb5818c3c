"""Shape functions in words: ``same as input 0``, ``broadcast(x, y)``, ``[x.shape[0], 2 * x.shape[1], *x.shape[2:]]``.

A rule is computed on symbolic dims by shape inference, and translated to Swift for ``outputShapes``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from coregraft.custom_layers.computation import Values, compute
from coregraft.custom_layers.expressions import Scope, bad, read, tree_of
from coregraft.custom_layers.formulas import Call, Node, Number, ParameterItem, Rank, Size, walk
from coregraft.custom_layers.spelling import Spell, swift
from coregraft.rewriter.shapes import dim_expr
from coregraft.rewriter.shapes.dim_expr import Poly
from coregraft.rewriter.shapes.site import Known, broadcast

#: Dims of the operands by name; None for an operand that is left out, or of unknown rank.
Shapes = Mapping[str, Sequence[Known] | None]


@dataclass(frozen=True, slots=True)
class SameAs:
    """The shape of an operand."""

    input: str


@dataclass(frozen=True, slots=True)
class Broadcast:
    """The shape that operands broadcast to."""

    inputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Splat:
    """Several dims of an operand: ``*x.shape[start:stop]``."""

    input: str
    start: int | None
    stop: int | None


@dataclass(frozen=True, slots=True)
class Dims:
    """Dim by dim."""

    items: tuple[Node | Splat, ...]


@dataclass(frozen=True, slots=True)
class Reduced:
    """A shape without some axes, or with ones in their place.

    Attributes:
        of: the shape that is reduced.
        axes: numbers, or the name of a parameter that lists them; none at all means every axis.
        keepdims: whether ones stay, or the name of a parameter that says so.
    """

    of: ShapeRule
    axes: tuple[int, ...] | str
    keepdims: bool | str


ShapeRule = SameAs | Broadcast | Dims | Reduced


def parse_shape(rule: str | Sequence[int | str], scope: Scope, where: str) -> ShapeRule:
    """Read a shape rule.

    Args:
        rule: a text as in the module's docstring, or a list of numbers and formulas.
        scope: the operands and parameters it may name.

    Raises:
        UsageError: ``custom-layer-expression``.
    """
    if not isinstance(rule, str):
        if not all(isinstance(item, int | str) and not isinstance(item, bool) for item in rule):
            raise bad(where, "a shape is a text, or a list of numbers and texts")
        return Dims(tuple(_items(f"[{', '.join(map(str, rule))}]", scope, where)))
    if same := re.fullmatch(r"\s*same as (?:input )?(\w+)\s*", rule):
        return SameAs(_input(same[1], scope, where))
    if rule.lstrip().startswith("["):
        return Dims(tuple(_items(rule, scope, where)))
    match tree_of(rule, where):
        case ast.Call(func=ast.Name(id="broadcast"), args=args, keywords=[]) if len(args) > 1:
            return Broadcast(tuple(_input(ast.unparse(a), scope, where) for a in args))
    raise bad(where, f'{rule!r} is no shape: write "same as input 0", "broadcast(x, y)" or a list of dims')


def _items(text: str, scope: Scope, where: str) -> list[Node | Splat]:
    tree = tree_of(text, where)
    if not isinstance(tree, ast.List):
        raise bad(where, f"{text} is no list of dims")
    found: list[Node | Splat] = []
    for item in tree.elts:
        match item:
            case ast.Starred(value=ast.Attribute(attr="shape", value=ast.Name(id=name))):
                found.append(Splat(_input(name, scope, where), None, None))
            case ast.Starred(
                value=ast.Subscript(
                    value=ast.Attribute(attr="shape", value=ast.Name(id=name)), slice=ast.Slice(step=None) as part
                )
            ):
                found.append(Splat(_input(name, scope, where), _bound(part.lower, where), _bound(part.upper, where)))
            case ast.Starred():
                raise bad(where, f"{ast.unparse(item)} is no part of an operand's shape")
            case _:
                found.append(read(item, scope, where, kind="int"))
    return found


def _bound(tree: ast.expr | None, where: str) -> int | None:
    match tree:
        case None:
            return None
        case ast.Constant(value=int(value)) | ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int(value))):
            return -value if isinstance(tree, ast.UnaryOp) else value
    raise bad(where, f"{ast.unparse(tree)} is not a plain number")


def _input(name: str, scope: Scope, where: str) -> str:
    if name.isdecimal() and int(name) < len(scope.inputs):
        return scope.inputs[int(name)]
    if name not in scope.inputs:
        raise bad(where, f"{name} names no operand: {', '.join(scope.inputs) or 'there are none'}")
    return name


def inputs_of(rule: ShapeRule) -> set[str]:
    """The operands whose shapes a rule reads."""
    match rule:
        case SameAs(input=name):
            return {name}
        case Broadcast(inputs=names):
            return set(names)
        case Reduced(of=of):
            return inputs_of(of)
        case Dims(items=items):
            nodes = [part for item in items if not isinstance(item, Splat) for part in walk(item)]
            sizes = {part.input for part in nodes if isinstance(part, Size | Rank)}
            return sizes | {item.input for item in items if isinstance(item, Splat)}


def shape_of(rule: ShapeRule, shapes: Shapes, parameters: Mapping[str, Any]) -> list[Known] | None:
    """The shape that a rule gives, as far as the operands' shapes are known.

    Raises:
        IndexError: an axis that an operand does not have, or an element that a list parameter does not have.
    """
    match rule:
        case SameAs(input=name):
            shape = shapes.get(name)
            return None if shape is None else list(shape)
        case Broadcast(inputs=names):
            return broadcast([None if (s := shapes.get(n)) is None else list(s) for n in names])
        case Reduced(of=of, axes=axes, keepdims=keepdims):
            full = shape_of(of, shapes, parameters)
            return None if full is None else _reduced(full, axes, keepdims, parameters)
        case Dims(items=items):
            found: list[Known] = []
            for item in items:
                if not isinstance(item, Splat):
                    found.append(_dim(item, shapes, parameters))
                    continue
                shape = shapes.get(item.input)
                if shape is None:
                    return None
                found.extend(shape[item.start : item.stop])
            return found


def reduced_axes(axes: tuple[int, ...] | str, rank: int, parameters: Mapping[str, Any]) -> tuple[int, ...]:
    """The axes of a reduction, each from 0, sorted.

    Raises:
        IndexError: an axis that is not there.
    """
    given = parameters[axes] if isinstance(axes, str) else axes
    listed = (given,) if isinstance(given, int) else tuple(given)
    if any(not -rank <= axis < rank for axis in listed):
        raise IndexError(f"axes {list(listed)} of an operand of rank {rank}")
    return tuple(sorted({axis % rank for axis in listed})) or tuple(range(rank))


def _reduced(
    full: list[Known], axes: tuple[int, ...] | str, keepdims: bool | str, parameters: Mapping[str, Any]
) -> list[Known]:
    gone = reduced_axes(axes, len(full), parameters)
    keeps = bool(parameters[keepdims]) if isinstance(keepdims, str) else keepdims
    return [1 if n in gone else d for n, d in enumerate(full) if keeps or n not in gone]


def _dim(node: Node, shapes: Shapes, parameters: Mapping[str, Any]) -> Known:
    node = _with_sizes(node, shapes, parameters)
    match node:
        case Size(input=name, axis=axis):
            shape, at = shapes.get(name), _dim(axis, shapes, parameters)
            return None if shape is None or not isinstance(at, int) else shape[at]
        case Rank():
            return None
        case _ if not any(isinstance(part, Size | Rank) for part in walk(node)):
            return int(compute(node, Values(parameters), "int"))
        case Call(function=name, args=args) if name in _SYMBOLIC:
            dims = [_dim(a, shapes, parameters) for a in args]
            return _symbolic(name, [d for d in dims if d is not None]) if None not in dims else None
    return None


def _with_sizes(node: Node, shapes: Shapes, parameters: Mapping[str, Any]) -> Node:
    """A formula with the sizes that are numbers put in."""
    match node:
        case Rank(input=name):
            shape = shapes.get(name)
            return node if shape is None else Number(len(shape))
        case Size(input=name, axis=axis):
            shape, at = shapes.get(name), _dim(axis, shapes, parameters)
            dim = shape[at] if shape is not None and isinstance(at, int) else None
            return Number(dim) if isinstance(dim, int) else node
        case Call(function=name, args=args):
            return Call(name, tuple(_with_sizes(a, shapes, parameters) for a in args))
        case ParameterItem(name=name, kind=kind, index=index):
            return ParameterItem(name, kind, _with_sizes(index, shapes, parameters))
    return node


_SYMBOLIC = frozenset(("+", "-", "*", "//", "%", "min", "max", "neg"))


def _symbolic(name: str, dims: list[int | Poly]) -> int | Poly:
    first, others = dims[0], dims[1:]
    if name == "neg":
        return -first
    for other in others:
        match name:
            case "+":
                first = first + other
            case "-":
                first = first - other
            case "*":
                first = first * other
            case "//":
                first = first // other
            case "%":
                first = first % other
            case "min":
                first = dim_expr.minimum(first, other)
            case "max":
                first = dim_expr.maximum(first, other)
    return first


def swift_shape(rule: ShapeRule, spell: Spell) -> str:
    """The rule as a Swift expression of type ``[Int]``, to stand after ``try``."""
    match rule:
        case SameAs(input=name):
            return spell("shape", name)
        case Broadcast(inputs=names):
            return f"broadcastShape([{', '.join(spell('shape', n) for n in names)}])"
        case Reduced(of=of, axes=axes, keepdims=keepdims):
            listed = swift_axes(axes, spell)
            keeps = spell("parameter", keepdims) if isinstance(keepdims, str) else str(keepdims).lower()
            return f"reducedShape({swift_shape(of, spell)}, axes: {listed}, keepDims: {keeps})"
        case Dims(items=items):
            runs: list[str] = []
            plain: list[str] = []
            for item in items:
                if not isinstance(item, Splat):
                    plain.append(swift(item, spell, "int"))
                    continue
                if plain:
                    runs.append(f"[{', '.join(plain)}]")
                    plain = []
                start, stop = ("nil" if bound is None else str(bound) for bound in (item.start, item.stop))
                runs.append(f"{spell('shape', item.input)}.part({start}, {stop})")
            if plain or not runs:
                runs.append(f"[{', '.join(plain)}]" if plain else "[Int]()")
            return " + ".join(runs)


def swift_axes(axes: tuple[int, ...] | str, spell: Spell) -> str:
    """The axes of a reduction as a Swift list."""
    return spell("parameter", axes) if isinstance(axes, str) else f"[{', '.join(map(str, axes))}]"
