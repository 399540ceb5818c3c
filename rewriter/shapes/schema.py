"""Result types of one op from onnx's own inference for its schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from coregraft.rewriter.graph import Graph, Op, RawAttr
from coregraft.rewriter.schema import NEWEST, first_schema
from coregraft.rewriter.types import Const, DType, OpaqueType, TensorType, ValueType


def schema_types(
    schema: Any, op: Op, types: Sequence[ValueType | None], data: Sequence[Const | None]
) -> list[ValueType | None]:
    """The result types that onnx's own inference gives for one op of a schema.

    Args:
        data: the content of the operands that are constant, None for the others.
    """
    from onnx import NodeProto, checker, numpy_helper, shape_inference

    unknown: list[ValueType | None] = [None] * len(op.outputs)
    node = NodeProto(op_type=op.type, domain=op.domain)
    node.input.extend(f"i{i}" if v else "" for i, v in enumerate(op.inputs))
    node.output.extend(f"o{i}" if v else "" for i, v in enumerate(op.outputs))
    node.attribute.extend(_attribute(k, v) for k, v in op.attrs.items() if not isinstance(v, Graph))
    operands = {f"i{i}": _type_proto(kind) for i, kind in enumerate(types) if op.inputs[i]}
    constants = {f"i{i}": numpy_helper.from_array(c.numpy()) for i, c in enumerate(data) if c is not None}
    try:
        found = shape_inference.infer_node_outputs(schema, node, operands, constants, ir_version=10)
    except (shape_inference.InferenceError, checker.ValidationError, RuntimeError, ValueError):
        return unknown  # an operand of unknown type, or an op that is wrong: the checker's to say
    return [_value_type(found[f"o{i}"]) if f"o{i}" in found else None for i in range(len(op.outputs))]


def schema_of(op: Op, opsets: Mapping[str, int]) -> Any:
    """The ``onnx.defs.OpSchema`` of an op of the graph's opset, or the newest; None when onnx does not know the op."""
    return first_schema(op.domain, op.type, opsets.get(op.domain, 1), NEWEST)  # born after the graph's opset


def _attribute(name: str, value: Any) -> Any:
    from onnx import AttributeProto, helper, numpy_helper

    if isinstance(value, RawAttr):
        return AttributeProto.FromString(value.proto)
    if isinstance(value, Const):
        return helper.make_attribute(name, numpy_helper.from_array(value.numpy()))
    if isinstance(value, tuple) and not value:
        return AttributeProto(name=name, type=AttributeProto.INTS)
    return helper.make_attribute(name, value)


def _type_proto(kind: ValueType | None) -> Any:
    from onnx import TypeProto

    if isinstance(kind, OpaqueType):
        return TypeProto.FromString(kind.proto)
    proto = TypeProto()
    if kind is None:
        return proto
    proto.tensor_type.elem_type = int(kind.dtype)
    if kind.shape is not None:
        proto.tensor_type.shape.SetInParent()
        for d in kind.shape:
            dim = proto.tensor_type.shape.dim.add()
            if isinstance(d, int):
                dim.dim_value = d
            elif d is not None:
                dim.dim_param = d
    return proto


def _value_type(proto: Any) -> ValueType | None:
    if not proto.HasField("tensor_type"):
        return OpaqueType(proto.SerializeToString()) if proto.WhichOneof("value") else None
    tensor = proto.tensor_type
    if not tensor.HasField("shape"):
        return TensorType(DType(tensor.elem_type)) if tensor.elem_type else None
    dims = (d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in tensor.shape.dim)
    return TensorType(DType(tensor.elem_type), tuple(dims))
