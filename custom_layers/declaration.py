"""The declaration of a custom layer, read and checked piece by piece."""

from __future__ import annotations

import inspect
import keyword
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from coregraft.custom_layers.bodies import (
    Body,
    Reduction,
    compute_body,
    elements_of,
    implied_shape,
    parse_elementwise,
    parse_gather,
    parse_reduction,
)
from coregraft.custom_layers.expressions import Scope
from coregraft.custom_layers.layer import CustomLayer, Reference, ShapeFunction, mismatch, static_shapes
from coregraft.custom_layers.parameters import ParameterSpec
from coregraft.custom_layers.shape_rules import ShapeRule, parse_shape
from coregraft.rewriter.errors import UsageError
from coregraft.rewriter.types import Array, DType


def check_names(
    where: str, op_type: str, inputs: tuple[str, ...], specs: Mapping[str, ParameterSpec], outputs: int
) -> None:
    """Check what an op's parts are called, and that it has a type and a result.

    Raises:
        UsageError: ``custom-layer-schema``, as all functions here unless they say otherwise.
    """
    if not op_type:
        raise bad(where, "an op has a type")
    if outputs < 1:
        raise bad(where, "an op has at least one result")
    for name in inputs:
        if not name.isidentifier() or keyword.iskeyword(name):
            raise bad(where, f"{name!r} cannot be the name of an operand")
    names = [*inputs, *specs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise bad(where, f"{twice[0]} is the name of two things")


def class_name(name: str, where: str) -> str:
    """The name of a Swift class, checked."""
    if not (name.isidentifier() and name.isascii() and name[0].isupper()):
        raise bad(where, f"{name!r} cannot be the name of a Swift class: letters and digits, a capital first")
    return name


def weights(given: Sequence[int | str], inputs: tuple[str, ...], where: str) -> tuple[int, ...]:
    """Positions of the operands that are named, or numbered, as constants; sorted."""
    found = []
    for weight in given:
        at = inputs.index(weight) if isinstance(weight, str) and weight in inputs else weight
        if not isinstance(at, int) or isinstance(at, bool) or not 0 <= at < len(inputs):
            raise bad(where, f"weight {weight!r} is no operand: {', '.join(inputs)}")
        found.append(at)
    return tuple(sorted(set(found)))


def dtypes(given: Sequence[str] | str, outputs: int, inputs: tuple[str, ...], where: str) -> tuple[DType | str, ...]:
    """The element type of each result, or the operand that has the same; that is the first one when nothing is said."""
    listed = [given] * outputs if isinstance(given, str) else list(given)
    if not listed:
        if not inputs:
            raise bad(where, "without operands, the element types of the results have to be said")
        return (inputs[0],) * outputs
    if len(listed) != outputs:
        raise bad(where, f"{len(listed)} element types for {outputs} results")
    return tuple(_dtype(text, inputs, where) for text in listed)


def _dtype(text: str, inputs: tuple[str, ...], where: str) -> DType | str:
    if text.startswith("same as "):
        name = text.removeprefix("same as ").removeprefix("input ").strip()
        if name.isdecimal() and int(name) < len(inputs):
            return inputs[int(name)]
        if name in inputs:
            return name
    elif text.upper() in DType.__members__ and text.upper() not in ("UNDEFINED", "STRING"):
        return DType[text.upper()]
    raise bad(where, f"{text!r} is no element type of a result")


def _listed(given: Any) -> list[Any]:
    return [given] if isinstance(given, str | Mapping) else list(given)


def bodies(
    elementwise: str | Sequence[str] | None,
    gather: str | Sequence[str] | None,
    outside: float | None,
    reduction: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None,
    outputs: int,
    scope: Scope,
    where: str,
) -> tuple[Body, ...]:
    """What each result is, where one of the three kinds of formula says it; else nothing.

    Raises:
        UsageError: ``custom-layer-schema``; ``custom-layer-expression``.
    """
    given: list[tuple[str, Any]] = [
        (kind, value)
        for kind, value in (("elementwise", elementwise), ("gather", gather), ("reduction", reduction))
        if value is not None
    ]
    if outside is not None and gather is None:
        raise bad(where, "outside goes with gather")
    if not given:
        return ()
    if len(given) > 1:
        raise bad(where, f"{' and '.join(kind for kind, _ in given)} exclude each other")
    kind, value = given[0]
    listed = _listed(value)
    if len(listed) != outputs:
        raise bad(where, f"{len(listed)} formulas for {outputs} results")
    if kind == "elementwise":
        return tuple(parse_elementwise(text, scope, where) for text in listed)
    if kind == "gather":
        return tuple(parse_gather(text, outside, scope, where) for text in listed)
    return tuple(parse_reduction(item, scope, where) for item in listed)


def shapes(
    shape: ShapeFunction | str | Sequence[Any] | None, bodies: tuple[Body, ...], outputs: int, scope: Scope, where: str
) -> tuple[tuple[ShapeRule, ...], ShapeFunction | None]:
    """The shape rule of each result, said or implied by its formula, or no rules and a Python function.

    Raises:
        UsageError: ``custom-layer-shape``; ``custom-layer-expression``.
    """
    if callable(shape):
        return (), shape
    if shape is None:
        implied = [implied_shape(body) for body in bodies]
        if not implied or None in implied:
            raise UsageError(
                "custom-layer-shape", f"{where} has no shape function",
                hint='shape="same as input 0", a list of dims such as ["x.shape[0]", 4], or a function',
            )  # fmt: skip
        return tuple(rule for rule in implied if rule is not None), None
    several = outputs > 1 and not isinstance(shape, str)
    listed: Sequence[Any] = shape if several else [shape] * outputs
    if len(listed) != outputs:
        raise UsageError("custom-layer-shape", f"{where} has {outputs} results and {len(listed)} shapes")
    return tuple(parse_shape(rule, scope, where) for rule in listed), None


def read_by(body: Body) -> tuple[str, ...]:
    """The operands whose elements a result is computed from, sorted."""
    return elements_of(body.of if isinstance(body, Reduction) else body.formula)


def bad(where: str, problem: str) -> UsageError:
    """The error of a declaration."""
    return UsageError("custom-layer-schema", f"{where}: {problem}")


def by_function(layer: CustomLayer, function: Callable[..., Array | Sequence[Array]]) -> Reference:
    """The reference of a layer by a Python function of its operands by position and its parameters by name."""
    _check_signature(layer, function)

    def run(operands: Sequence[Array | None], attributes: Mapping[str, Any]) -> Sequence[Array]:
        padded = [*operands, *[None] * (len(layer.inputs) - len(operands))]
        found = function(*padded, **layer.settings(attributes, layer.label))
        results = list(found) if isinstance(found, list | tuple) else [np.asarray(found)]
        return [np.asarray(result) for result in results]

    return run


def _check_signature(layer: CustomLayer, function: Callable[..., Any]) -> None:
    try:
        signature = inspect.signature(function)
    except ValueError:  # a function written in C has none
        return
    try:
        signature.bind(*layer.inputs, **dict.fromkeys(layer.parameters))
    except TypeError as error:
        raise bad(
            layer.label, f"its reference does not take its operands by position and its parameters by name: {error}"
        ) from error


def by_bodies(layer: CustomLayer) -> Reference:
    """The reference of a layer by its formulas."""

    def run(operands: Sequence[Array | None], attributes: Mapping[str, Any]) -> Sequence[Array]:
        settings = layer.settings(attributes, layer.label)
        named = layer.named(operands)
        shapes = static_shapes(layer, [None if x is None else x.shape for x in operands], settings)
        found = []
        for body, shape, dtype in zip(layer.bodies, shapes, layer.dtypes, strict=True):
            try:
                result = compute_body(body, named, settings, shape)
            except (IndexError, ValueError) as error:
                raise mismatch(layer.label, f"cannot be computed on these operands: {error}") from error
            wanted = named[dtype].dtype if isinstance(dtype, str) else dtype.numpy
            with np.errstate(all="ignore"):
                found.append(result.astype(wanted))
        return found

    return run
