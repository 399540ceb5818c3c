"""What a graph uses that the internal opset does not have, and the version it must be stamped with for it."""

from __future__ import annotations

import functools
from typing import Any

from coregraft.passes.cleanup.scopes import Scope
from coregraft.passes.opset.edit import versions
from coregraft.rewriter.graph import Op
from coregraft.rewriter.opset import INTERNAL_OPSET
from coregraft.rewriter.types import TensorType


def needed_opset(op: Op, scope: Scope) -> int:
    """The oldest version, from the internal opset on, that has all that an op uses."""
    later = [v for v in versions().get(op.type, ()) if v > INTERNAL_OPSET]
    if op.domain or not later:
        return INTERNAL_OPSET
    types = [scope.type(v) if v else None for v in op.inputs]
    for version in (INTERNAL_OPSET, *later):
        if _has(op, types, version):
            return version
    return later[-1]


def defaults_beyond(op: Op) -> dict[str, Any]:
    """Attributes that the internal opset does not know, at the value that says the same as leaving them out."""
    newest, known = _schema(op.type, 10**6), _schema(op.type, INTERNAL_OPSET)
    if op.domain or newest is None or known is None:
        return {}
    later = newest.attributes.keys() - known.attributes.keys()
    return {k: v for k, v in op.attrs.items() if k in later and v == _default(newest, k)}


def _has(op: Op, types: list[TensorType | None], version: int) -> bool:
    schema = _schema(op.type, version)
    if schema is None or not op.attrs.keys() - defaults_beyond(op).keys() <= schema.attributes.keys():
        return False
    if op.type == "Mod" and version < 28 and not op.attrs.get("fmod") and types[0] and types[0].dtype.is_float:
        return False  # the floor of a float quotient; the element types did not change
    formal = schema.inputs
    for i, kind in enumerate(types):
        taken = formal[min(i, len(formal) - 1)].types
        if kind is not None and kind.dtype and f"tensor({kind.dtype.name.lower()})" not in taken:
            return False
    return True


@functools.cache
def _schema(op_type: str, version: int) -> Any:
    from onnx import defs

    try:
        return defs.get_schema(op_type, min(version, defs.onnx_opset_version()))
    except defs.SchemaError:
        return None


def _default(schema: Any, name: str) -> Any:
    from onnx import helper

    proto = schema.attributes[name].default_value
    value = helper.get_attribute_value(proto) if proto.name else None
    return value.decode() if isinstance(value, bytes) else value
