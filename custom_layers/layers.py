"""An op without a lowering as a ``custom`` layer of a neuralnetwork: the layer in the model, and its Swift class.

ML Programs have no custom layers (hazard H8.01), so this rung exists in the neuralnetwork format only.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from coregraft.custom_layers.stubs import Parameter, Stub, render
from coregraft.rewriter import schema
from coregraft.rewriter.errors import UnsupportedError
from coregraft.rewriter.graph import AttrRef, Graph, Op, RawAttr
from coregraft.rewriter.types import Const

if TYPE_CHECKING:
    from coregraft.lowering.emitter import Emitter

#: Parameters of every layer besides the op's attributes (H8.03: shapes are wanted before the weights are there).
OUTPUT_SHAPES = "coregraft_output_shapes"
OPERANDS = "coregraft_operands"
#: Longest text of a parameter; what is longer is data, and belongs into an operand.
_MAX_PARAMETER = 1 << 20


def register() -> None:
    """Make custom layers the fallback of the neuralnetwork format."""
    from coregraft.lowering.fallback import provide

    provide("neuralnetwork", CustomLayers)


class CustomLayers:
    """The custom layers of one conversion (a :class:`coregraft.lowering.fallback.Fallback`)."""

    def __init__(self) -> None:
        self._stubs: dict[str, Stub] = {}
        self._taken: list[dict[str, str]] = []

    def emit(self, b: Emitter, op: Op) -> Sequence[Any]:
        """Emit an op as a custom layer.

        Raises:
            UnsupportedError: ``custom-layer-unsupported`` (a body, a type or a size that a layer cannot have);
                ``shape-unknown``.
        """
        outputs = [name for name in op.outputs if name]
        shapes = [list(b.shape(name)) or [1] for name in outputs]
        parameters = _parameters(op)
        parameters[OUTPUT_SHAPES] = json.dumps(shapes, separators=(",", ":"))
        given = [i for i, name in enumerate(op.inputs) if name]
        if given != list(range(len(op.inputs))):
            parameters[OPERANDS] = json.dumps(given, separators=(",", ":"))
        name = class_name(op)
        kinds = tuple((key, _kind(value)) for key, value in parameters.items())
        description = f"{op.domain or 'ai.onnx'}.{op.type}"
        operation = _operation(name, description, len(given), kinds)
        operands = {f"x{n}": b.var(op.inputs[i]) for n, i in enumerate(given)}
        results = getattr(b.mb, operation)(
            **operands, **parameters, result_types=[_mil_type(b, output) for output in outputs], name=b.name(op)
        )
        found = list(results) if isinstance(results, (list, tuple)) else [results]
        self._record(op, name, parameters, len(given), len(outputs))
        by_name = dict(zip(outputs, found, strict=True))
        return [by_name.get(output) for output in op.outputs]

    def files(self) -> Mapping[str, str]:
        """The Swift classes, by file name."""
        return {f"{name}.swift": render(stub) for name, stub in sorted(self._stubs.items())}

    def taken(self) -> Sequence[Mapping[str, str]]:
        """The ops that became layers, in order."""
        return self._taken

    def _record(self, op: Op, name: str, parameters: Mapping[str, Any], inputs: int, outputs: int) -> None:
        attributes = [
            Parameter(key, _kind(value), _json_type(op, key))
            for key, value in parameters.items()
            if key not in (OUTPUT_SHAPES, OPERANDS)
        ]
        stub = self._stubs.setdefault(name, Stub(name, op.domain or "ai.onnx", op.type))
        stub.add(attributes, inputs, outputs)
        self._taken.append({"op": op.label, "rung": "custom-layer", "class": name})


def class_name(op: Op) -> str:
    """The Swift and Objective-C name of the class of an op: ``com.acme`` ``FancyOp`` is ``ComAcmeFancyOp``."""
    words = re.split(r"[^A-Za-z0-9]+", f"{op.domain or 'onnx'} {op.type}")
    name = "".join(word[0].upper() + word[1:] for word in words if word)
    return f"Op{name}" if name[0].isdigit() else name


def _parameters(op: Op) -> dict[str, Any]:
    """The attributes, schema defaults included, as the scalars and strings that a layer can hold (H8.02); sorted."""
    known = schema.schema(op.domain, op.type)
    names = sorted({*op.attrs, *(known.attributes if known is not None else ())})
    values = {name: schema.attr(op, name) for name in names}
    return {name: _scalar(op, name, value) for name, value in values.items() if value is not None}


def _scalar(op: Op, name: str, value: Any) -> int | float | str:
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError as error:
            raise _refused(op, f"attribute {name} is a string that is not UTF-8") from error
    if isinstance(value, int) and not -(1 << 31) <= value < 1 << 31:
        raise _refused(op, f"attribute {name}={value} does not fit into 32 bits")
    if isinstance(value, (int, float, str)):
        return value
    if isinstance(value, Const):
        value = {"shape": list(value.shape), "values": value.numpy().ravel().tolist()}
    elif isinstance(value, Graph):
        raise _refused(op, f"it owns a graph ({name})")
    elif isinstance(value, (AttrRef, RawAttr)) or any(not isinstance(v, (int, float, str)) for v in value):
        raise _refused(op, f"attribute {name} is not a number, a string or a list of them")
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except ValueError as error:
        raise _refused(op, f"attribute {name} holds an infinity or a NaN") from error
    if len(text) > _MAX_PARAMETER:
        raise _refused(op, f"attribute {name} is larger than a layer's parameters can be")
    return text


def _kind(value: Any) -> str:
    return {bool: "bool", int: "int", float: "double", str: "string"}[type(value)]


def _json_type(op: Op, name: str) -> str | None:
    """The Swift type that a parameter's JSON text decodes to; None where it is a plain value."""
    value = schema.attr(op, name)
    if isinstance(value, Const):
        return "TensorParameter"
    if not isinstance(value, tuple):
        return None
    kinds = {type(item) for item in value}
    if kinds <= {int} and kinds:
        return "[Int]"
    return "[String]" if kinds == {str} else "[Double]"


def _refused(op: Op, why: str) -> UnsupportedError:
    return UnsupportedError(
        "custom-layer-unsupported", f"{op.label} cannot be a custom layer: {why}", node=op.label,
        hint="a pass or plugin that decomposes the op",
    )  # fmt: skip


def _mil_type(b: Emitter, name: str) -> Any:
    from coremltools.converters.mil.mil import types

    from coregraft.lowering.emitter import MIL_NAMES

    builtin = types.string_to_builtin(MIL_NAMES[b.dtype(name)])
    shape = b.shape(name)
    return types.tensor(builtin, shape) if shape else builtin


@functools.cache
def _operation(class_name: str, description: str, inputs: int, parameters: tuple[tuple[str, str], ...]) -> str:
    """The name of the MIL operation of a layer class; it is registered with coremltools at the first call.

    Its operands are ``x0``, ``x1``, …; its parameters are constants under their own names.
    """
    from coremltools.converters.mil.mil import Operation, types
    from coremltools.converters.mil.mil.input_type import InputSpec, InternalInputType, TensorInputType
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

    any_tensor = (types.fp32, types.fp16, types.int32, types.bool)
    domains = {"bool": types.bool, "int": types.int32, "double": types.fp32, "string": types.str}
    operands = {f"x{i}": TensorInputType(type_domain=any_tensor) for i in range(inputs)}
    constants = {key: TensorInputType(const=True, type_domain=domains[kind]) for key, kind in parameters}

    def type_inference(self: Any) -> Any:
        found = tuple(self.result_types.val)
        return found[0] if len(found) == 1 else found

    key = hashlib.blake2b(repr((inputs, parameters)).encode(), digest_size=4).hexdigest()
    made = type(
        f"coregraft_{class_name}_{key}",
        (Operation,),
        {
            "input_spec": InputSpec(**operands, **constants, result_types=InternalInputType()),
            "bindings": {
                "class_name": class_name,
                "input_order": list(operands),
                "parameters": list(constants),
                "description": description,
            },
            "type_inference": type_inference,
        },
    )
    SSAOpRegistry.register_op(is_custom_op=True, allow_override=True)(made)
    return made.__name__
