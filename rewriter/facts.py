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
    version = g.opsets.get("")
    if version is None:  # of a model whose ops are all of other domains; what passes make of them is of this one
        return "ai.onnx is not imported"
    return None if version >= INTERNAL_OPSET else f"ai.onnx is at opset {version}, not {INTERNAL_OPSET}"


def _typed(g: Graph) -> str | None:
    """Every op whose operands all have a type has typed results (an op unknown to inference may have none)."""
    from coregraft.rewriter.shapes import infer_op_types, typed_bodies

    for op_id in g.topological():
        op = g.op(op_id)
        bodies = dict(op.bodies())
        if any(map(_lacks_types, bodies.values())):
            for name, typed in typed_bodies(g, op_id).items():
                value = _newly_typed(bodies[name], typed)
                if value is not None:
                    return f'value "{value}" in a body of {op.label} has no type, though it can be inferred'
        if all(g.type_of(v) is not None for v in op.outputs if v):
            continue
        for value, kind in zip(op.outputs, infer_op_types(g, op_id), strict=False):
            if value and kind is not None and g.type_of(value) is None:
                return f'value "{value}" of {op.label} has no type, though it can be inferred'
    return None


def _lacks_types(body: Graph) -> bool:
    """Whether a result of an op in a body, or in one inside it, has no type."""
    return any(
        any(v and body.type_of(v) is None for v in op.outputs) or any(_lacks_types(inner) for _, inner in op.bodies())
        for _, op in body.ops()
    )


def _newly_typed(body: Graph, typed: Graph) -> str | None:
    """A result in a body that has a type in its inferred copy alone."""
    for op_id in body.topological():
        op = body.op(op_id)
        for value in op.outputs:
            if value and body.type_of(value) is None and typed.type_of(value) is not None:
                return value
        again = dict(typed.op(op_id).bodies())
        for name, inner in op.bodies():
            found = _newly_typed(inner, again[name])
            if found is not None:
                return found
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
