"""What a layer computes, where a formula can say it: element by element, by fetching, or by a reduction.

From one declaration come the NumPy reference, the whole CPU body in Swift, and for an elementwise layer of one operand
the Metal kernel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from coregraft.custom_layers.computation import Values, compute
from coregraft.custom_layers.expressions import Scope, bad, parse
from coregraft.custom_layers.formulas import Element, Fetch, Node, walk
from coregraft.custom_layers.shape_rules import (
    Broadcast,
    Reduced,
    SameAs,
    ShapeRule,
    reduced_axes,
    shape_of,
    swift_axes,
)
from coregraft.custom_layers.spelling import Spell, swift
from coregraft.rewriter.types import Array

#: Reductions: key -> (NumPy function, start value in Swift, Swift step of ``total`` and ``value``).
REDUCTIONS: Mapping[str, tuple[Any, str, str]] = {
    "sum": (np.sum, "0.0", "total + value"),
    "mean": (np.mean, "0.0", "total + value"),
    "prod": (np.prod, "1.0", "total * value"),
    "min": (np.min, "Double.infinity", "least(total, value)"),
    "max": (np.max, "-Double.infinity", "greatest(total, value)"),
}
RESULT = "r"


@dataclass(frozen=True, slots=True)
class Elementwise:
    """Each element of the output from the elements of the operands at its place, operands broadcast.

    Attributes:
        formula: of the element.
        text: as it was written.
    """

    formula: Node
    text: str

    @property
    def inputs(self) -> tuple[str, ...]:
        """The operands it reads elements of, sorted."""
        return elements_of(self.formula)


@dataclass(frozen=True, slots=True)
class Gather:
    """Each element of the output from elements of the operands at computed places.

    Attributes:
        formula: of the element; ``i0``, ``i1``, … say where it is.
        outside: what a place outside of an operand holds; None makes it an error.
        text: as it was written.
    """

    formula: Node
    outside: float | None
    text: str


@dataclass(frozen=True, slots=True)
class Reduction:
    """A reduction of a formula over axes, and a formula of its result.

    Attributes:
        kind: key of :data:`REDUCTIONS`.
        of: formula of the elements that are reduced, by broadcasting.
        axes: numbers, or a parameter that lists them; none at all means every axis.
        keepdims: whether the reduced axes stay as ones, or a parameter that says so.
        then: formula of the output's element; the result of the reduction is ``r`` in it.
        text: as it was written.
    """

    kind: str
    of: Node
    axes: tuple[int, ...] | str
    keepdims: bool | str
    then: Node
    text: str


Body = Elementwise | Gather | Reduction


def elements_of(formula: Node) -> tuple[str, ...]:
    """The operands that a formula reads elements of, sorted."""
    return tuple(sorted({part.input for part in walk(formula) if isinstance(part, Element | Fetch)}))


def parse_elementwise(text: str, scope: Scope, where: str) -> Elementwise:
    """Read ``x * sigmoid(a * x)``.

    Raises:
        UsageError: ``custom-layer-expression``.
    """
    return Elementwise(_of_elements(text, scope, where), text)


def parse_gather(text: str, outside: float | None, scope: Scope, where: str) -> Gather:
    """Read ``x[i0, x.shape[1] - 1 - i1]``.

    Raises:
        UsageError: ``custom-layer-expression``.
    """
    inner = Scope(scope.inputs, fetches=True, coordinates=True, parameters=scope.parameters)
    return Gather(parse(text, inner, where), outside, text)


def parse_reduction(given: Mapping[str, Any], scope: Scope, where: str) -> Reduction:
    """Read ``{"reduce": "sum", "of": "x * x", "axes": [-1], "keepdims": true, "then": "sqrt(r)"}``.

    ``axes`` defaults to every axis, ``keepdims`` to false, ``then`` to the result itself; the first two may name a
    parameter instead.

    Raises:
        UsageError: ``custom-layer-expression``.
    """
    known = {"reduce", "of", "axes", "keepdims", "then"}
    if unknown := sorted(set(given) - known):
        raise bad(where, f"a reduction has no {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    kind, of, then = given.get("reduce"), given.get("of"), given.get("then", RESULT)
    if not isinstance(kind, str) or kind not in REDUCTIONS or not isinstance(of, str) or not isinstance(then, str):
        raise bad(where, f'a reduction says "reduce" ({", ".join(REDUCTIONS)}), and "of" what')
    formula = _of_elements(of, scope, where)
    inner = Scope(scope.inputs, parameters=scope.parameters, locals=(RESULT,))
    text = f"{kind} of {of}" + (f", then {then}" if then != RESULT else "")
    axes = _axes(given.get("axes", ()), scope, where)
    keepdims = _keepdims(given.get("keepdims", False), scope, where)
    return Reduction(kind, formula, axes, keepdims, parse(then, inner, where), text)


def _of_elements(text: str, scope: Scope, where: str) -> Node:
    node = parse(text, Scope(scope.inputs, elements=True, parameters=scope.parameters), where)
    if not elements_of(node):
        raise bad(where, f"{text!r} reads no operand")
    return node


def _axes(given: Any, scope: Scope, where: str) -> tuple[int, ...] | str:
    if isinstance(given, str):
        if scope.parameters.get(given) != "ints":
            raise bad(where, f"{given} is not a parameter that lists axes (of type ints)")
        return given
    axes = (given,) if isinstance(given, int) else given
    if not isinstance(axes, Sequence) or not all(isinstance(a, int) and not isinstance(a, bool) for a in axes):
        raise bad(where, f"axes are numbers or a parameter's name, not {given!r}")
    return tuple(axes)


def _keepdims(given: Any, scope: Scope, where: str) -> bool | str:
    if isinstance(given, str) and scope.parameters.get(given) == "bool":
        return given
    if not isinstance(given, bool):
        raise bad(where, f"keepdims is true, false or a parameter of type bool, not {given!r}")
    return given


def implied_shape(body: Body) -> ShapeRule | None:
    """The shape rule that follows from a body; None where the output's shape has to be said."""
    match body:
        case Elementwise(formula=formula):
            return _joined(formula)
        case Reduction(of=of, axes=axes, keepdims=keepdims):
            return Reduced(_joined(of), axes, keepdims)
        case Gather():
            return None


def _joined(formula: Node) -> ShapeRule:
    names = elements_of(formula)
    return SameAs(names[0]) if len(names) == 1 else Broadcast(names)


def compute_body(
    body: Body, operands: Mapping[str, Array], parameters: Mapping[str, Any], shape: tuple[int, ...]
) -> Array:
    """An output by NumPy, in float64.

    Raises:
        IndexError: a place outside of an operand.
        ValueError: operands that do not broadcast.
    """
    shapes = {name: array.shape for name, array in operands.items()}
    match body:
        case Elementwise(formula=formula):
            return np.broadcast_to(np.asarray(compute(formula, Values(parameters, shapes, operands), "real")), shape)
        case Gather(formula=formula, outside=outside):
            places = tuple(np.indices(shape, np.int64))
            values = Values(parameters, shapes, arrays=operands, coordinates=places, outside=outside)
            return np.broadcast_to(np.asarray(compute(formula, values, "real")), shape)
        case Reduction(kind=kind, of=of, axes=axes, then=then):
            found = np.asarray(compute(of, Values(parameters, shapes, operands), "real"))
            full = shape_of(_joined(of), {n: list(s) for n, s in shapes.items()}, parameters) or []
            found = np.broadcast_to(found, tuple(d for d in full if isinstance(d, int)))
            function = REDUCTIONS[kind][0]
            with np.errstate(all="ignore"):
                result = function(found, axis=reduced_axes(axes, found.ndim, parameters), keepdims=True)
            values = Values(parameters, shapes, locals={RESULT: np.reshape(result, shape)})
            return np.broadcast_to(np.asarray(compute(then, values, "real")), shape)


def swift_body(body: Body, output: str, spell: Spell, *, whole: bool) -> list[str]:
    """The Swift statements that compute an output.

    Args:
        output: Swift expression of the output's array.
        spell: how names are written.
        whole: whether the output holds integers: a real is cut, as NumPy cuts it.
    """
    cut = ".rounded(.towardZero)" if whole else ""

    def result(node: Node, outside: float | None = None) -> str:
        text = swift(node, spell, "real", outside=outside)
        return f"({text}){cut}" if cut else text

    match body:
        case Elementwise(formula=formula):
            lines = [f"return try {result(formula)}"]
        case Gather(formula=formula, outside=outside):
            lines = [f"return try {result(formula, outside)}"]
        case Reduction(kind=kind, of=of, axes=axes, then=then):
            _, start, step = REDUCTIONS[kind]
            listed = swift_axes(axes, spell)
            shapes = ", ".join(spell("shape", name) for name in elements_of(of))
            mean = " / Double(reduced.count)" if kind == "mean" else ""
            lines = [
                f"let full = try broadcastShape([{shapes}])",
                "let reduced = try reduceElements(",
                f"    of: full, axes: {listed}, at: position, from: {start}",
                ") { total, position in",
                f"    let value = try {swift(of, spell, 'real')}",
                f"    return {step}",
                "}",
                f"let {RESULT} = reduced.total{mean}",
                f"return try {result(then)}",
            ]
    return [f"try Tensor({output}).fill {{ position in", *(f"    {line}" for line in lines), "}"]
