"""The few internal ops, domain ``coregraft``: each is an ONNX function, so any runtime can run a graph with them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from coregraft.rewriter.graph import Graph
from coregraft.rewriter.opset import INTERNAL_OPSET

if TYPE_CHECKING:
    import onnx

DOMAIN = "coregraft"
VERSION = 1

#: Function bodies in ONNX's own text syntax, by op type. ``Linear(x[..., in], w[out, in], b[out]) = x @ w.T + b``.
_BODIES = {
    "Linear": """
        <domain: "coregraft", opset_import: ["" : {opset}]>
        Linear (x, w, b) => (y) {{
            wt = Transpose <perm = [1, 0]> (w)
            product = MatMul (x, wt)
            y = Add (product, b)
        }}
    """,
}


@functools.cache
def function(op_type: str) -> onnx.FunctionProto:
    """The function that defines an internal op.

    Raises:
        KeyError: no such internal op.
    """
    from onnx import parser

    return parser.parse_function(_BODIES[op_type].format(opset=INTERNAL_OPSET))


def functions_for(g: Graph) -> list[onnx.FunctionProto]:
    """The definitions of the internal ops that a graph and its bodies use, sorted by type."""
    return [function(op_type) for op_type in sorted({op.type for op in g.all_ops() if op.domain == DOMAIN})]
