"""The one operator-set version that passes, rules and emitters see, and the version a graph must be stamped with."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coregraft.rewriter.graph import Graph

#: Opset of ai.onnx that every graph is brought to: the newest that onnxruntime 1.31 runs in full.
INTERNAL_OPSET = 24

#: The oldest opset of ai.onnx that is read. onnxruntime has no kernels for older forms, so nothing could be compared.
OLDEST_OPSET = 6


@functools.cache
def birth(op_type: str) -> int | None:
    """The opset of ai.onnx that introduced an op, or None when onnx knows no such op."""
    from onnx import defs

    try:
        schema = defs.get_schema(op_type, defs.onnx_opset_version())
    except defs.SchemaError:
        return None
    while schema.since_version > 1 and defs.has(op_type, max_inclusive_version=schema.since_version - 1, domain=""):
        schema = defs.get_schema(op_type, schema.since_version - 1)
    return schema.since_version


def required_opset(g: Graph) -> int:
    """The version of ai.onnx to stamp a graph of internal forms with: :data:`INTERNAL_OPSET`, or more when
    it (or a body in it) uses an op born later."""
    return max((INTERNAL_OPSET, *(birth(op.type) or 0 for op in g.all_ops() if op.domain == "")))
