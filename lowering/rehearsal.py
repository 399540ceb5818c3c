"""What a conversion would refuse, found by going through it without writing anything."""

from __future__ import annotations

from typing import NoReturn

from coregraft.lowering import pipeline
from coregraft.lowering.convert import settle
from coregraft.lowering.emitter import Emitter
from coregraft.lowering.program import lower_graph, places
from coregraft.passes.refusals import why_kept
from coregraft.rewriter.errors import UnsupportedError
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.target import Target

#: Codes of refusals that the target's table tells without an emitter.
_STATIC = frozenset({"op-no-lowering", "attribute-unsupported"})


def refusals(graph: Graph, target: Target) -> list[UnsupportedError]:
    """Every refusal that a conversion would end in, without a fallback.

    First the ops that have no lowering at all, then what lowering the others meets; of those, ops that depend on a
    refused one are not tried. Where the sizes of the inputs are open, ``dims-unpinned`` is the last of the list.

    Args:
        graph: as the passes leave it; brought to the internal opset, with types, if it is not there.
        target: deployment target and format.

    Raises:
        CoregraftError: as :func:`coregraft.lowering.program.lower_graph`: a bug, not a refusal.
    """
    settle(graph, target)
    refused: list[UnsupportedError] = []

    def note(_: Emitter, op: Op, why: UnsupportedError) -> NoReturn:
        if why.node == op.label:  # else it comes from a body of the op, and has been noted there
            refused.append(why)
        raise why

    last: list[UnsupportedError] = []
    try:
        pipeline.run(lower_graph(graph, target, note).program, target)
    except UnsupportedError as error:
        if error.code not in {why.code for why in refused}:  # else it is only the sum of what was noted
            last.append(error)
    return [*_without_lowering(graph, target), *(e for e in refused if e.code not in _STATIC), *last]


def _without_lowering(graph: Graph, target: Target) -> list[UnsupportedError]:
    """What the target's table refuses, with what a decomposition says of the op."""
    found = []
    for within, op_id in places(graph):
        op = within.op(op_id)
        if reason := target.why_not(op):
            why = why_kept(within.copy(), op_id, target) or reason
            found.append(UnsupportedError("op-no-lowering", f"{op.label}: {why}", node=op.label))
    return found
