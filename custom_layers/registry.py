"""Custom layers by name: what an op without a lowering is, so that it can be typed, run, checked and handed to Swift.

A layer is registered from Python (:func:`custom_layer`, :func:`register_layer`), by a plugin (``Plugin.custom_layers``)
or from a TOML file (:mod:`coregraft.custom_layers.toml_file`). Everything wrong with it is an error then, not when a
model that has the op comes along.
"""

from __future__ import annotations

import inspect
import keyword
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from coregraft.custom_layers import parameters as params
from coregraft.custom_layers.bodies import (
    Body,
    compute_body,
    elements_of,
    implied_shape,
    parse_elementwise,
    parse_gather,
    parse_reduction,
)
from coregraft.custom_layers.expressions import Scope
from coregraft.custom_layers.parameters import ParameterSpec
from coregraft.custom_layers.shape_rules import ShapeRule, inputs_of, parse_shape, shape_of
from coregraft.rewriter.errors import UnsupportedError, UsageError
from coregraft.rewriter.graph import Op
from coregraft.rewriter.registry import load_custom_layers
from coregraft.rewriter.shapes import site
from coregraft.rewriter.shapes.site import Site, Types
from coregraft.rewriter.types import Array, DType, TensorType

#: Computes an op: its operands in order (None where one is left out) and its attributes, to its results in order.
Reference = Callable[[Sequence[Array | None], Mapping[str, Any]], Sequence[Array]]
#: The shapes of an op's results, from those of its operands (None where one is left out) and its parameters by name:
#: one shape, or a sequence of shapes. It is only called when all dims of the operands are numbers.
ShapeFunction = Callable[..., Sequence[int] | Sequence[Sequence[int]]]


@dataclass(frozen=True, slots=True)
class CustomLayer:
    """A registered layer.

    Attributes:
        domain: ONNX domain of the op.
        op_type: ONNX op type.
        swift_class: name of the class, in Swift and in Objective-C.
        inputs: names of the operands, in order.
        optional: those that may be left out.
        outputs: number of results.
        dtypes: element type of each result; an operand's name for "the same as that".
        parameters: by name.
        weights: positions of the operands that have to be constants.
        shapes: shape rule of each result; empty when ``shape_function`` says it.
        shape_function: shapes as a Python function; None when ``shapes`` say it.
        bodies: what each result is, where formulas say it; else empty.
        reference: NumPy implementation; None when there is none.
        owner: who registered it, for messages.
    """

    domain: str
    op_type: str
    swift_class: str
    inputs: tuple[str, ...]
    optional: frozenset[str]
    outputs: int
    dtypes: tuple[DType | str, ...]
    parameters: Mapping[str, ParameterSpec]
    weights: tuple[int, ...]
    shapes: tuple[ShapeRule, ...]
    shape_function: ShapeFunction | None
    bodies: tuple[Body, ...]
    reference: Reference | None
    owner: str

    @property
    def key(self) -> tuple[str, str]:
        return self.domain, self.op_type

    @property
    def label(self) -> str:
        return f"{self.domain or 'ai.onnx'}.{self.op_type}"

    def settings(self, attributes: Mapping[str, Any], where: str) -> dict[str, Any]:
        """The parameters of an op with these attributes, defaults included, in the order of their names.

        Raises:
            UnsupportedError: ``custom-layer-mismatch``: an attribute that is unknown, missing or of another type.
        """
        if unknown := sorted(set(attributes) - set(self.parameters)):
            raise mismatch(where, f"has the attribute {unknown[0]}, which the registered layer does not have")
        found = {}
        for name, spec in sorted(self.parameters.items()):
            value = attributes.get(name, spec.default)
            if value is None:
                raise mismatch(where, f"lacks the attribute {name}, which the registered layer has no default for")
            found[name] = params.value_of(spec, value, where)
        return found

    def named(self, operands: Sequence[Any]) -> dict[str, Any]:
        """Operands by name, those left out not included."""
        return {name: value for name, value in zip(self.inputs, operands, strict=False) if value is not None}

    def check(self, op: Op) -> None:
        """Check how many operands and results an op has, and which are left out.

        Raises:
            UnsupportedError: ``custom-layer-mismatch``.
        """
        if len(op.inputs) > len(self.inputs):
            raise mismatch(op.label, f"has {len(op.inputs)} operands; the registered layer has {len(self.inputs)}")
        for n, name in enumerate(self.inputs):
            if name not in self.optional and (n >= len(op.inputs) or not op.inputs[n]):
                raise mismatch(op.label, f"lacks operand {n} ({name}) of the registered layer")
        if len(op.outputs) != self.outputs:
            raise mismatch(op.label, f"has {len(op.outputs)} results; the registered layer has {self.outputs}")


def mismatch(where: str, problem: str) -> UnsupportedError:
    """The error of an op that is not as its layer was registered."""
    return UnsupportedError("custom-layer-mismatch", f"{where} {problem}", node=where)


_LAYERS: dict[tuple[str, str], CustomLayer] = {}


def custom_layer(
    domain: str, op_type: str, **options: Any
) -> Callable[[Callable[..., Array | Sequence[Array]]], Callable[..., Array | Sequence[Array]]]:
    """Register the decorated function as the NumPy reference of a custom layer.

    The function takes the operands by position, None where one is left out, and the parameters by name; it returns
    one array, or a sequence of them for several results. Takes the options of :func:`register_layer`.

    Raises:
        UsageError: as :func:`register_layer`.
    """

    def decorate(function: Callable[..., Array | Sequence[Array]]) -> Callable[..., Array | Sequence[Array]]:
        owner = f"{function.__module__}:{function.__qualname__}"
        register_layer(domain, op_type, **{"reference": function, "owner": owner, **options})
        return function

    return decorate


def register_layer(
    domain: str,
    op_type: str,
    *,
    inputs: Sequence[str] = ("x",),
    outputs: int = 1,
    swift_class: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    weights: Sequence[int | str] = (),
    dtypes: Sequence[str] | str = (),
    shape: ShapeFunction | str | Sequence[Any] | None = None,
    reference: Callable[..., Array | Sequence[Array]] | None = None,
    elementwise: str | Sequence[str] | None = None,
    gather: str | Sequence[str] | None = None,
    outside: float | None = None,
    reduction: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    owner: str = "",
) -> CustomLayer:
    """Register a custom layer.

    Args:
        domain: ONNX domain of the op.
        op_type: ONNX op type.
        inputs: names of the operands, in order; ``name?`` may be left out.
        outputs: number of results.
        swift_class: name of the Swift class; made of domain and type by default.
        parameters: name -> ``float``, ``int``, ``bool``, ``str``, ``list[float]``, ``list[int]``, ``list[str]``, or
            their names in TOML (:data:`coregraft.custom_layers.parameters.KINDS`); a mapping with ``type`` and
            ``default`` where the attribute may be absent.
        weights: names or positions of the operands that are constants.
        dtypes: element type of each result, ``float``, ``int64``, …, or ``same as input 0``, which is the default.
        shape: a rule as in :mod:`coregraft.custom_layers.shape_rules` (for several results a sequence of rules, each a
            text or a list), or a Python function. It can be left out where it follows from the formulas.
        reference: NumPy implementation, as in :func:`custom_layer`; it may be left out where formulas say it.
        elementwise: formula of the result's element, ``x * sigmoid(alpha * x)``; for several results a sequence.
        gather: the same with elements at computed places, ``x[i0, x.shape[1] - 1 - i1]``.
        outside: what a place outside of an operand gives in ``gather``; it is an error when None.
        reduction: ``{"reduce": "sum", "of": "x * x", "axes": [-1], "keepdims": True, "then": "sqrt(r)"}``.
        owner: who registers it.

    Raises:
        UsageError: ``custom-layer-duplicate`` (the op or the class is taken; both owners are named),
            ``custom-layer-shape`` (no shape function), ``custom-layer-parameter`` (a type that no layer can hold),
            ``custom-layer-schema`` (operands, results, weights, element types or the class name),
            ``custom-layer-expression`` (a formula).
    """
    where = f"{domain or 'ai.onnx'}.{op_type}"
    names = tuple(name.removesuffix("?") for name in inputs)
    optional = frozenset(name.removesuffix("?") for name in inputs if name.endswith("?"))
    specs = params.read_specs(parameters or {}, where)
    _check_names(where, op_type, names, specs, outputs)
    scope = Scope(names, parameters={name: spec.scope_kind for name, spec in specs.items() if spec.scope_kind})
    bodies = _bodies(elementwise, gather, outside, reduction, outputs, scope, where)
    rules, function = _shapes(shape, bodies, outputs, scope, where)
    layer = CustomLayer(
        domain=domain,
        op_type=op_type,
        swift_class=_class(swift_class or default_class(domain, op_type), where),
        inputs=names,
        optional=optional,
        outputs=outputs,
        dtypes=_dtypes(dtypes, outputs, names, where),
        parameters=specs,
        weights=_weights(weights, names, where),
        shapes=rules,
        shape_function=function,
        bodies=bodies,
        reference=None,
        owner=owner or "a caller",
    )
    used = {name for body in bodies for name in _read_by(body)} | {name for r in rules for name in inputs_of(r)}
    if left_out := sorted(used & optional):
        raise _schema(where, f"its formulas read {left_out[0]}, which may be left out")
    run = _by_function(layer, reference) if reference is not None else _by_bodies(layer) if bodies else None
    return add(_with_reference(layer, run))


def add(layer: CustomLayer) -> CustomLayer:
    """Put a layer into the registry.

    Raises:
        UsageError: ``custom-layer-duplicate``.
    """
    for known in _LAYERS.values():
        if known.key == layer.key:
            raise _duplicate(f"{layer.label} is registered by both {known.owner} and {layer.owner}")
        if known.swift_class == layer.swift_class:
            raise _duplicate(f"{known.label} ({known.owner}) and {layer.label} ({layer.owner}) have one Swift class")
    _LAYERS[layer.key] = layer
    return layer


def registered(domain: str, op_type: str) -> CustomLayer | None:
    """The layer of an op, those of plugins included; None when nobody registered it."""
    load_custom_layers()
    return _LAYERS.get((domain, op_type))


def layers() -> list[CustomLayer]:
    """All registered layers, sorted by domain and type."""
    load_custom_layers()
    return [_LAYERS[key] for key in sorted(_LAYERS)]


def reference_for(domain: str, op_type: str) -> Reference | None:
    """The NumPy reference of an op; None when it has none."""
    layer = registered(domain, op_type)
    return None if layer is None else layer.reference


@contextmanager
def temporarily() -> Iterator[None]:
    """Within the block, what is registered is forgotten at its end."""
    load_custom_layers()
    kept = dict(_LAYERS)
    try:
        yield
    finally:
        _LAYERS.clear()
        _LAYERS.update(kept)


def default_class(domain: str, op_type: str) -> str:
    """The Swift class of an op that nobody named one for: ``com.acme`` ``FancyOp`` is ``ComAcmeFancyOp``."""
    words = re.split(r"[^A-Za-z0-9]+", f"{domain or 'onnx'} {op_type}")
    name = "".join(word[0].upper() + word[1:] for word in words if word)
    return f"Op{name}" if name[0].isdigit() else name


# ---------------------------------------------------------------- reading a declaration


def _check_names(
    where: str, op_type: str, inputs: tuple[str, ...], specs: Mapping[str, ParameterSpec], outputs: int
) -> None:
    if not op_type:
        raise _schema(where, "an op has a type")
    if outputs < 1:
        raise _schema(where, "an op has at least one result")
    for name in inputs:
        if not name.isidentifier() or keyword.iskeyword(name):
            raise _schema(where, f"{name!r} cannot be the name of an operand")
    names = [*inputs, *specs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise _schema(where, f"{twice[0]} is the name of two things")


def _class(name: str, where: str) -> str:
    if not (name.isidentifier() and name.isascii() and name[0].isupper()):
        raise _schema(where, f"{name!r} cannot be the name of a Swift class: letters and digits, a capital first")
    return name


def _weights(given: Sequence[int | str], inputs: tuple[str, ...], where: str) -> tuple[int, ...]:
    found = []
    for weight in given:
        at = inputs.index(weight) if isinstance(weight, str) and weight in inputs else weight
        if not isinstance(at, int) or isinstance(at, bool) or not 0 <= at < len(inputs):
            raise _schema(where, f"weight {weight!r} is no operand: {', '.join(inputs)}")
        found.append(at)
    return tuple(sorted(set(found)))


def _dtypes(given: Sequence[str] | str, outputs: int, inputs: tuple[str, ...], where: str) -> tuple[DType | str, ...]:
    listed = [given] * outputs if isinstance(given, str) else list(given)
    if not listed:
        if not inputs:
            raise _schema(where, "without operands, the element types of the results have to be said")
        return (inputs[0],) * outputs
    if len(listed) != outputs:
        raise _schema(where, f"{len(listed)} element types for {outputs} results")
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
    raise _schema(where, f"{text!r} is no element type of a result")


def _listed(given: Any) -> list[Any]:
    return [given] if isinstance(given, str | Mapping) else list(given)


def _bodies(
    elementwise: str | Sequence[str] | None,
    gather: str | Sequence[str] | None,
    outside: float | None,
    reduction: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None,
    outputs: int,
    scope: Scope,
    where: str,
) -> tuple[Body, ...]:
    given: list[tuple[str, Any]] = [
        (kind, value)
        for kind, value in (("elementwise", elementwise), ("gather", gather), ("reduction", reduction))
        if value is not None
    ]
    if outside is not None and gather is None:
        raise _schema(where, "outside goes with gather")
    if not given:
        return ()
    if len(given) > 1:
        raise _schema(where, f"{' and '.join(kind for kind, _ in given)} exclude each other")
    kind, value = given[0]
    listed = _listed(value)
    if len(listed) != outputs:
        raise _schema(where, f"{len(listed)} formulas for {outputs} results")
    if kind == "elementwise":
        return tuple(parse_elementwise(text, scope, where) for text in listed)
    if kind == "gather":
        return tuple(parse_gather(text, outside, scope, where) for text in listed)
    return tuple(parse_reduction(item, scope, where) for item in listed)


def _shapes(
    shape: ShapeFunction | str | Sequence[Any] | None, bodies: tuple[Body, ...], outputs: int, scope: Scope, where: str
) -> tuple[tuple[ShapeRule, ...], ShapeFunction | None]:
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


def _read_by(body: Body) -> tuple[str, ...]:
    return elements_of(body.formula if not hasattr(body, "of") else body.of)


def _schema(where: str, problem: str) -> UsageError:
    return UsageError("custom-layer-schema", f"{where}: {problem}")


def _duplicate(text: str) -> UsageError:
    return UsageError("custom-layer-duplicate", text)


# ---------------------------------------------------------------- references


def _with_reference(layer: CustomLayer, reference: Reference | None) -> CustomLayer:
    return replace(layer, reference=reference)


def _by_function(layer: CustomLayer, function: Callable[..., Array | Sequence[Array]]) -> Reference:
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
        raise _schema(
            layer.label, f"its reference does not take its operands by position and its parameters by name: {error}"
        ) from error


def _by_bodies(layer: CustomLayer) -> Reference:
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


# ---------------------------------------------------------------- shapes


def static_shapes(
    layer: CustomLayer, operands: Sequence[tuple[int, ...] | None], settings: Mapping[str, Any]
) -> list[tuple[int, ...]]:
    """The shapes of the results, from those of the operands.

    Raises:
        UsageError: ``custom-layer-shape``: the function gives no shapes.
        UnsupportedError: ``custom-layer-mismatch``: the rule does not fit the operands.
    """
    if layer.shape_function is not None:
        padded = [*operands, *[None] * (len(layer.inputs) - len(operands))]
        return _checked_shapes(layer, layer.shape_function(*padded, **settings))
    named: dict[str, Any] = layer.named(operands)
    found = []
    for rule in layer.shapes:
        try:
            shape = shape_of(rule, named, settings)
        except IndexError as error:
            raise mismatch(layer.label, f"has operands that its shape rule does not fit: {error}") from error
        dims = tuple(d for d in shape or () if isinstance(d, int) and d >= 0)
        if shape is None or len(dims) != len(shape):
            raise mismatch(layer.label, f"would get the shape {shape} by its shape rule")
        found.append(dims)
    return found


def _checked_shapes(layer: CustomLayer, found: Any) -> list[tuple[int, ...]]:
    listed = list(found) if isinstance(found, list | tuple) else None
    if listed is not None and layer.outputs == 1 and all(isinstance(d, int | np.integer) for d in listed):
        listed = [listed]
    if listed is None or len(listed) != layer.outputs or not all(map(_is_shape, listed)):
        raise UsageError("custom-layer-shape", f"the shape function of {layer.label} gives {found!r}")
    return [tuple(int(d) for d in shape) for shape in listed]


def _is_shape(found: Any) -> bool:
    return isinstance(found, list | tuple) and all(isinstance(d, int | np.integer) and d >= 0 for d in found)


def _typed(site_: Site) -> Types | None:
    """The type rule of every registered layer: shape inference's door to this registry."""
    layer = registered(site_.op.domain, site_.op.type)
    if layer is None:
        return None
    try:
        layer.check(site_.op)
        settings = layer.settings(site_.op.attrs, site_.op.label)
    except UnsupportedError:  # emission says so; other commands only want types
        return None
    dtypes = [_dtype_at(layer, dtype, site_) for dtype in layer.dtypes]
    if layer.shape_function is None:
        dims = {name: site_.shape(n) for n, name in enumerate(layer.inputs) if site_.has(n)}
        try:
            shapes = [shape_of(rule, dims, settings) for rule in layer.shapes]
        except IndexError as error:
            site_.mismatch = f"its operands do not fit its shape rule: {error}"
            return None
        return [site.tensor(d, s) for d, s in zip(dtypes, shapes, strict=True)]
    kinds = [site_.tensor(n) if site_.has(n) else None for n in range(len(site_.op.inputs))]
    if any(site_.has(n) and (k is None or k.static_shape is None) for n, k in enumerate(kinds)):
        return [TensorType(dtype) for dtype in dtypes]
    found = static_shapes(layer, [None if k is None else k.static_shape for k in kinds], settings)
    return [TensorType(dtype, shape) for dtype, shape in zip(dtypes, found, strict=True)]


def _dtype_at(layer: CustomLayer, dtype: DType | str, site_: Site) -> DType:
    return dtype if isinstance(dtype, DType) else site_.dtype(layer.inputs.index(dtype))


site.provide(_typed)
