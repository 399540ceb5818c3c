"""Facts of a graph that passes require and ensure: how each is checked, and which pass can establish it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from coregraft.rewriter.contract import Fact
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.opset import INTERNAL_OPSET
from coregraft.rewriter.types import TensorType

#: Facts that the manager can establish by itself, and the pass that does it.
PROVIDERS: Mapping[Fact, str] = {Fact.INTERNAL_OPSET: "upgrade-opset", Fact.TYPED: "infer-shapes"}


def _internal_opset(g: Graph) -> str | None:
    version = g.opsets.get("", INTERNAL_OPSET)
    return None if version >= INTERNAL_OPSET else f"ai.onnx is at opset {version}, not {INTERNAL_OPSET}"


def _typed(g: Graph) -> str | None:
    """Every op whose operands all have a type has typed results (an op unknown to inference may have none)."""
    from coregraft.rewriter.shapes import infer_op_types

    for op_id in g.topological():
        op = g.op(op_id)
        if all(g.type_of(v) is not None for v in op.outputs if v):
            continue
        for value, kind in zip(op.outputs, infer_op_types(g, op_id), strict=False):
            if value and kind is not None and g.type_of(value) is None:
                return f'value "{value}" of {op.label} has no type, though it can be inferred'
    return None


def _static(g: Graph) -> str | None:
    for value in g.values():
        kind = g.type_of(value)
        if isinstance(kind, TensorType) and kind.static_shape is None:
            return f'value "{value}" has the shape {kind}'
    return None


def _rank(g: Graph) -> str | None:
    for value in g.values():
        kind = g.tensor_type(value)
        if kind is not None and (kind.rank or 0) > 5:
            return f'value "{value}" has rank {kind.rank}'
    return None


CHECKERS: Mapping[Fact, Callable[[Graph], str | None]] = {
    Fact.INTERNAL_OPSET: _internal_opset,
    Fact.TYPED: _typed,
    Fact.STATIC_SHAPES: _static,
    Fact.RANK_AT_MOST_5: _rank,
}


def violated(fact: Fact, g: Graph) -> str | None:
    """Why a fact does not hold of a graph; None when it does."""
    return CHECKERS[fact](g)
