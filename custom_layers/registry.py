"""Custom layers by name: what an op without a lowering is, so that it can be typed, run, checked and handed to Swift.

A layer is registered from Python (:func:`custom_layer`, :func:`register_layer`), by a plugin (``Plugin.custom_layers``)
or from a TOML file (:mod:`coregraft.custom_layers.toml_file`). Everything wrong with it is an error then, not when a
model that has the op comes along.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from coregraft.custom_layers import declaration
from coregraft.custom_layers import parameters as params
from coregraft.custom_layers.expressions import Scope
from coregraft.custom_layers.layer import CustomLayer, Reference, ShapeFunction, static_shapes
from coregraft.custom_layers.shape_rules import inputs_of, shape_of
from coregraft.rewriter.errors import UnsupportedError, UsageError
from coregraft.rewriter.registry import load_custom_layers
from coregraft.rewriter.shapes import site
from coregraft.rewriter.shapes.site import Site, Types
from coregraft.rewriter.types import Array, DType, TensorType

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
    declaration.check_names(where, op_type, names, specs, outputs)
    scope = Scope(names, parameters={name: spec.scope_kind for name, spec in specs.items() if spec.scope_kind})
    bodies = declaration.bodies(elementwise, gather, outside, reduction, outputs, scope, where)
    rules, function = declaration.shapes(shape, bodies, outputs, scope, where)
    layer = CustomLayer(
        domain=domain,
        op_type=op_type,
        swift_class=declaration.class_name(swift_class or default_class(domain, op_type), where),
        inputs=names,
        optional=optional,
        outputs=outputs,
        dtypes=declaration.dtypes(dtypes, outputs, names, where),
        parameters=specs,
        weights=declaration.weights(weights, names, where),
        shapes=rules,
        shape_function=function,
        bodies=bodies,
        reference=None,
        owner=owner or "a caller",
    )
    used = {name for body in bodies for name in declaration.read_by(body)}
    used |= {name for rule in rules for name in inputs_of(rule)}
    if left_out := sorted(used & optional):
        raise declaration.bad(where, f"its formulas read {left_out[0]}, which may be left out")
    if reference is not None:
        return add(replace(layer, reference=declaration.by_function(layer, reference)))
    return add(replace(layer, reference=declaration.by_bodies(layer)) if bodies else layer)


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


def _duplicate(text: str) -> UsageError:
    return UsageError("custom-layer-duplicate", text)


def _typed(at: Site) -> Types | None:
    """The type rule of every registered layer: shape inference's door to this registry."""
    layer = registered(at.op.domain, at.op.type)
    if layer is None:
        return None
    try:
        layer.check(at.op)
        settings = layer.settings(at.op.attrs, at.op.label)
    except UnsupportedError:  # emission says so; other commands only want types
        return None
    dtypes = [_dtype_at(layer, dtype, at) for dtype in layer.dtypes]
    if layer.shape_function is None:
        dims = {name: at.shape(n) for n, name in enumerate(layer.inputs) if at.has(n)}
        try:
            shapes = [shape_of(rule, dims, settings) for rule in layer.shapes]
        except IndexError as error:
            at.mismatch = f"its operands do not fit its shape rule: {error}"
            return None
        return [site.tensor(d, s) for d, s in zip(dtypes, shapes, strict=True)]
    kinds = [at.tensor(n) if at.has(n) else None for n in range(len(at.op.inputs))]
    if any(at.has(n) and (k is None or k.static_shape is None) for n, k in enumerate(kinds)):
        return [TensorType(dtype) for dtype in dtypes]
    found = static_shapes(layer, [None if k is None else k.static_shape for k in kinds], settings)
    return [TensorType(dtype, shape) for dtype, shape in zip(dtypes, found, strict=True)]


def _dtype_at(layer: CustomLayer, dtype: DType | str, at: Site) -> DType:
    return dtype if isinstance(dtype, DType) else at.dtype(layer.inputs.index(dtype))


site.provide(_typed)
