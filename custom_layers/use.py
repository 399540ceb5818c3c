"""One op as a custom layer: what the layer in the model holds, and all that its Swift class and its tests need."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from coregraft.custom_layers import parameters as params
from coregraft.custom_layers.layer import CustomLayer, mismatch
from coregraft.custom_layers.registry import default_class, registered
from coregraft.rewriter import schema
from coregraft.rewriter.errors import UnsupportedError
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.types import Const, TensorType

#: Parameters of every layer besides the op's attributes (H8.03: shapes are wanted before the weights are there).
INPUT_SHAPES = "coregraft_input_shapes"
INPUT_TYPES = "coregraft_input_types"
OUTPUT_SHAPES = "coregraft_output_shapes"
OPERANDS = "coregraft_operands"
#: Core ML has no tensors of more dims, and none without any (H4.02).
_MAX_RANK = 5


@dataclass(frozen=True, slots=True)
class Setting:
    """A parameter of one layer.

    Attributes:
        key: its name in the model.
        value: what the model holds.
        json: the Swift type that the text of a string decodes to; None when it is the value itself.
    """

    key: str
    value: bool | int | float | str
    json: str | None = None

    @property
    def kind(self) -> str:
        """How the model holds it: ``bool``, ``int``, ``double`` or ``string``."""
        return {bool: "bool", int: "int", float: "double", str: "string"}[type(self.value)]


@dataclass(frozen=True)
class Use:
    """An op that becomes a custom layer.

    Attributes:
        op: the op.
        layer: its registration, if it has one.
        class_name: of the Swift class.
        settings: the parameters that come from attributes, sorted.
        shapes: the parameters about shapes and operands that every layer has.
        operands: positions of the operands that are there.
        inputs: their types.
        outputs: types of the results that are there.
        constants: operands that are constants, by position.
    """

    op: Op
    layer: CustomLayer | None
    class_name: str
    settings: tuple[Setting, ...]
    shapes: tuple[Setting, ...]
    operands: tuple[int, ...]
    inputs: tuple[TensorType, ...]
    outputs: tuple[TensorType, ...]
    constants: Mapping[int, Const]

    @property
    def parameters(self) -> dict[str, bool | int | float | str]:
        """All parameters, as the model holds them."""
        return {setting.key: setting.value for setting in (*self.settings, *self.shapes)}


def use_of(op: Op, type_of: Callable[[str], TensorType], const_of: Callable[[str], Const | None]) -> Use:
    """An op as a layer.

    Args:
        type_of: type of a value, of static shape; it raises where that is not known.
        const_of: content of a value that is a constant.

    Raises:
        UnsupportedError: ``custom-layer-unsupported`` (a body, a type or a size that a layer cannot have);
            ``custom-layer-mismatch`` (the op is not as its layer is registered); what ``type_of`` raises.
    """
    layer = registered(op.domain, op.type)
    operands = tuple(i for i, name in enumerate(op.inputs) if name)
    constants = {i: c for i in operands if (c := const_of(op.inputs[i])) is not None}
    if layer is not None:
        layer.check(op)
        for i in layer.weights:
            if i in operands and i not in constants:
                raise mismatch(op.label, f"has operand {i} ({layer.inputs[i]}) computed at run time; it is a weight")
    inputs = tuple(type_of(op.inputs[i]) for i in operands)
    outputs = tuple(type_of(name) for name in op.outputs if name)
    for kind in (*inputs, *outputs):
        if (kind.rank or 0) > _MAX_RANK:
            raise refused(op, f"a tensor of rank {kind.rank}, and Core ML takes {_MAX_RANK} at most")
    shapes = [
        Setting(INPUT_SHAPES, _text(inputs)),
        Setting(INPUT_TYPES, json.dumps([kind.dtype.name.lower() for kind in inputs], separators=(",", ":"))),
        Setting(OUTPUT_SHAPES, _text(outputs)),
    ]
    if operands != tuple(range(len(op.inputs))):
        shapes.append(Setting(OPERANDS, json.dumps(operands, separators=(",", ":"))))
    settings = _declared(layer, op) if layer is not None else _found(op)
    name = layer.swift_class if layer is not None else default_class(op.domain, op.type)
    return Use(op, layer, name, tuple(settings), tuple(shapes), operands, inputs, outputs, constants)


def _text(types: tuple[TensorType, ...]) -> str:
    shapes = [list(kind.static_shape or ()) or [1] for kind in types]
    return json.dumps(shapes, separators=(",", ":"))


def _declared(layer: CustomLayer, op: Op) -> list[Setting]:
    found = layer.settings(op.attrs, op.label)
    return [Setting(name, params.held(value), layer.parameters[name].json_type) for name, value in found.items()]


def _found(op: Op) -> list[Setting]:
    """The attributes of an op that nobody registered, schema defaults included, sorted."""
    known = schema.schema(op.domain, op.type)
    settings = []
    for name in sorted({*op.attrs, *(known.attributes if known is not None else ())}):
        value = schema.attr(op, name)
        if value is None:
            continue
        if isinstance(value, Graph):
            raise refused(op, f"it owns a graph ({name})")
        try:
            text, kind = params.unregistered(value)
        except ValueError as error:
            raise refused(op, f"attribute {name} {error}") from error
        settings.append(Setting(name, text, kind))
    return settings


def refused(op: Op, why: str) -> UnsupportedError:
    """The error of an op that no layer can stand for."""
    return UnsupportedError(
        "custom-layer-unsupported", f"{op.label} cannot be a custom layer: {why}", node=op.label,
        hint="a pass or plugin that decomposes the op",
    )  # fmt: skip
