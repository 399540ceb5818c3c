"""Replace an If whose condition is known by the branch that is taken."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from coregraft.passes.cleanup.inline import inline, substitute
from coregraft.passes.cleanup.scopes import Scope, visit_scopes
from coregraft.rewriter.contract import Context, Pass
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.rewriter import Rewriter
from coregraft.rewriter.shapes import propagated_value


@dataclass(frozen=True)
class FoldIf(Pass):
    """Inline the taken branch of an If whose condition is known.

    What it does
    ------------
    When the condition of an ``If`` is a constant, or follows from the shapes in the graph, the ops of the taken branch
    take the place of the op. Ifs nested in that branch, and Ifs in bodies, are treated the same way.

    Why it matters
    --------------
    Core ML's ``cond`` forces its surroundings off the Neural Engine, wants both branches to have one type, and in a
    neural network gave wrong results at the first call. Most Ifs in real models test a shape or a setting that is
    fixed once the inputs are.

    Example
    -------
    ``If(Equal(Size(Shape(x)), 3)) {Unsqueeze(x)} else {Identity(x)}`` becomes ``Unsqueeze(x)`` for an x of rank 3.

    Equivalence
    -----------
    Bit-exact.

    Sources
    -------
    Hazard H5.09.
    """

    def run(self, g: Graph, ctx: Context) -> None:
        visit_scopes(ctx.rewriter(g), lambda rw, scope: _fold(rw, scope, ctx))


def _fold(rw: Rewriter, scope: Scope, ctx: Context) -> None:
    g = rw.graph
    waiting = deque(sorted((i for i, op in g.ops() if op.key == ("", "If")), key=g.order_key))
    while waiting:
        op_id = waiting.popleft()
        op = g.op(op_id)
        taken = _condition(scope, op.inputs[0])
        if taken is None:
            continue
        first_new: int = g.graph.get("next_id", 0)
        branch: Graph = op.attrs["then_branch" if taken else "else_branch"]
        rw.at([op_id], "FoldIf")
        substitute(rw, op_id, lambda branch=branch: inline(rw, scope, branch, {}))  # type: ignore[misc]
        ctx.count("inlined")
        waiting.extend(sorted(i for i, new in g.ops() if i >= first_new and new.key == ("", "If")))


def _condition(scope: Scope, value: str) -> bool | None:
    const = scope.const(value)
    if const is not None:
        return bool(const.numpy().reshape(-1)[0]) if const.size == 1 else None
    known = propagated_value(scope.graph, value) if value in scope.graph else None
    return bool(known[0]) if known is not None and len(known) == 1 and isinstance(known[0], int) else None
