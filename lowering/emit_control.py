"""Control flow: If. Loop and Scan are unrolled in the graph, where that can be seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from coregraft.lowering.registry import lower
from coregraft.rewriter.graph import Graph, Op

if TYPE_CHECKING:
    from coregraft.lowering.emitter import Emitter


@lower("If", attrs="then_branch else_branch")
def emit_if(b: Emitter, op: Op) -> Any:
    """``cond``. Both branches must give the same types and shapes, since Core ML's shapes are fixed.

    Raises:
        UnsupportedError: ``op-unsupported``.
    """
    branches: list[Graph] = [b.attr(op, "then_branch"), b.attr(op, "else_branch")]
    for results in zip(*(branch.outputs.values() for branch in branches), strict=True):
        kinds = [branch.tensor_type(value) for branch, value in zip(branches, results, strict=True)]
        if None in kinds or kinds[0] != kinds[1]:
            b.refuse(op, f"its branches give {kinds[0]} and {kinds[1]}", "pin the input sizes, or let them agree")
    condition = b.var(op.inputs[0])
    if b.shape(op.inputs[0]):
        condition = b.mb.squeeze(x=condition, axes=list(range(condition.rank)))
    then, otherwise = branches
    return b.mb.cond(
        pred=condition, _true_fn=lambda: _branch(b, then), _false_fn=lambda: _branch(b, otherwise), name=b.name(op)
    )


def _branch(b: Emitter, graph: Graph) -> list[Any]:
    """The results of a branch. A block hands out each var once and only what it makes, so the rest is copied."""
    from coremltools.converters.mil.mil.block import curr_block

    results: list[Any] = []
    for value, var in zip(graph.outputs.values(), b.body(graph), strict=True):
        is_own = var.op is not None and var.op.op_type != "const" and var.op.enclosing_block is curr_block()
        if not is_own or any(var is other for other in results):
            var = b.mb.identity(x=var, name=b.names.take(f"{value}_result"))
        results.append(var)
    return results
