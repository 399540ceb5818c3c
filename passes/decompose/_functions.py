"""The body of a function for one call: of the model's own functions, and of ops that ONNX defines by a function."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import onnx

from coregraft.rewriter.graph import AttrRef, Graph, Op
from coregraft.rewriter.onnx_io.load import function_graph
from coregraft.rewriter.onnx_io.save import to_model
from coregraft.rewriter.opset import INTERNAL_OPSET
from coregraft.rewriter.schema import attr, schema
from coregraft.rewriter.types import ValueType


def bound(body: Graph, attributes: Mapping[str, Any], call: str) -> Graph:
    """A copy of a body with the caller's attributes in place of references to them, its ops named after the call.

    A reference to an attribute that the caller does not give leaves the attribute out: it takes its default.
    """
    copy: Graph = body.copy()
    for op_id, op in sorted(copy.ops(), key=lambda item: copy.order_key(item[0])):
        attrs = {}
        for name, value in op.attrs.items():
            if isinstance(value, AttrRef):
                if attributes.get(value.name) is not None:
                    attrs[name] = attributes[value.name]
            else:
                attrs[name] = bound(value, attributes, call) if isinstance(value, Graph) else value
        name = f"{call}/{op.name or next((o for o in op.outputs if o), op.type)}"
        copy.set_op(op_id, dataclasses.replace(op, attrs=MappingProxyType(attrs), name=name))
    return copy


def schema_body(op: Op, types: Sequence[ValueType | None]) -> Graph | None:
    """The function by which ONNX defines an op, for operands of these types; None when it does not.

    Its version is the newest that the internal opset has, else the oldest. Operand types decide context-dependent
    bodies.
    """
    found = schema(op.domain, op.type)
    if found is None:
        return None
    if found.has_context_dependent_function:
        if any(kind is None for value, kind in zip(op.inputs, types, strict=True) if value):
            return None
        version = _version(tuple(found.context_dependent_function_opset_versions))
        node, protos = _as_protos(op, types)
        data = found.get_context_dependent_function_with_opset_version(version, node, protos)
    elif found.has_function:
        version = _version(tuple(found.function_opset_versions))
        data = found.get_function_with_opset_version(version)
    else:
        return None
    if not data:
        return None
    function = onnx.FunctionProto.FromString(data)
    if not _trim(function, op):
        return None
    if not any(o.domain == "" for o in function.opset_import):
        # ``version`` is that of the op's own domain; a body of another one means the ops of today.
        function.opset_import.append(onnx.OperatorSetIdProto(version=INTERNAL_OPSET if op.domain else version))
    return function_graph(function)


def _trim(function: onnx.FunctionProto, op: Op) -> bool:
    """Drop trailing outputs that the body does not define, as some bodies do for results that are not asked for.

    False when one is missing before others that are needed.
    """
    defined = {*function.input, *(o for node in function.node for o in node.output)}
    asked = max(i for i, o in enumerate(op.outputs, start=1) if o)
    while len(function.output) > asked and function.output[-1] not in defined:
        function.output.pop()
    return all(o in defined for o in function.output)


def schema_attributes(op: Op) -> dict[str, Any]:
    """The attributes of an op that its schema knows, with their defaults."""
    found = schema(op.domain, op.type)
    return {name: attr(op, name) for name in found.attributes}


@functools.cache
def _version(versions: tuple[int, ...]) -> int:
    return max((v for v in versions if v <= INTERNAL_OPSET), default=min(versions))


def _as_protos(op: Op, types: Sequence[ValueType | None]) -> tuple[bytes, list[bytes]]:
    """The op as a serialized NodeProto, and the types of its operands as serialized TypeProtos (empty when omitted)."""
    g = Graph()
    g.set_opsets({"": INTERNAL_OPSET, **({op.domain: 1} if op.domain else {})})
    for value, kind in zip(op.inputs, types, strict=True):
        if value and value not in g and kind is not None:
            g.add_input(value, kind)
    g.add_op(dataclasses.replace(op, captures=()))
    g.set_outputs([o for o in op.outputs if o])
    model = to_model(g)
    protos = {i.name: i.type.SerializeToString() for i in model.graph.input}
    return model.graph.node[0].SerializeToString(), [protos.get(v, b"") for v in op.inputs]
