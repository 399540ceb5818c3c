"""A custom layer: what an op without a lowering is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from coregraft.custom_layers import parameters as params
from coregraft.custom_layers.bodies import Body
from coregraft.custom_layers.parameters import ParameterSpec
from coregraft.custom_layers.shape_rules import ShapeRule, shape_of
from coregraft.rewriter.errors import UnsupportedError, UsageError
from coregraft.rewriter.graph import Op
from coregraft.rewriter.types import Array, DType

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
