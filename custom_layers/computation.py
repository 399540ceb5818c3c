"""Formulas of custom layers, computed by NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

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
    argument_kinds,
    kind_of,
)
from coregraft.rewriter.types import Array


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
        case Call():
            return _called(node, values, want)


def _called(call: Call, values: Values, want: str) -> Any:
    function = FUNCTIONS[call.function]
    wants = argument_kinds(call, want)
    with np.errstate(all="ignore"):
        found = function.numpy(*(compute(a, values, w) for a, w in zip(call.args, wants, strict=True)))
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
