"""What ONNX's own schemas say of an op: attribute defaults and which operands commute."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from coregraft.rewriter.graph import Floats, Op, Strings
from coregraft.rewriter.opset import INTERNAL_OPSET

if TYPE_CHECKING:
    from onnx.defs import OpSchema

#: An opset of any domain that is newer than all that onnx knows.
NEWEST = 10**6

#: (domain, type) of the ops of two operands whose order does not matter.
COMMUTATIVE: frozenset[tuple[str, str]] = frozenset(
    ("", name)
    for name in (
        *("Add", "Mul", "Max", "Min", "Sum", "Mean"),
        *("And", "Or", "Xor", "Equal"),
        *("BitwiseAnd", "BitwiseOr", "BitwiseXor"),
    )
)


def attr(op: Op, name: str) -> Any:
    """The value of an attribute, else its schema default, else None."""
    value = op.attrs.get(name)
    return default(op.domain, op.type, name) if value is None else value


def default(domain: str, op_type: str, name: str) -> Any:
    """The schema default of an attribute at the internal opset, or None when it has none."""
    return _defaults(domain, op_type).get(name)


def has_schema(op: Op) -> bool:
    """Whether onnx knows the op (at the internal opset, or as one born later)."""
    return schema(op.domain, op.type) is not None


def schema(domain: str, op_type: str) -> Any:
    """The ``OpSchema`` (whose stub lacks methods) of an op, or None: the internal opset's, or else the newest."""
    return first_schema(domain, op_type, INTERNAL_OPSET if domain == "" else NEWEST, NEWEST)


@functools.cache
def first_schema(domain: str, op_type: str, *opsets: int) -> OpSchema | None:
    """The schema of an op at the first of these opsets of its domain that has the op, or None."""
    from onnx import defs

    for opset in opsets:
        try:
            return defs.get_schema(op_type, opset, domain)
        except defs.SchemaError:
            continue
    return None


@functools.cache
def _defaults(domain: str, op_type: str) -> dict[str, Any]:
    from onnx import helper

    found = schema(domain, op_type)
    if found is None:
        return {}
    values: dict[str, Any] = {}
    for name, attribute in found.attributes.items():
        proto = attribute.default_value
        if not proto.name:
            continue
        values[name] = _python(helper.get_attribute_value(proto))
    return values


def _python(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, (int, float)):
        return value
    items = list(value)
    if items and isinstance(items[0], float):
        return Floats(items)
    if items and isinstance(items[0], bytes):
        return Strings(item.decode() for item in items)
    return tuple(items)
