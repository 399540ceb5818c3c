"""Give bodies the constants that they read around them."""

from __future__ import annotations

from dataclasses import dataclass

from coregraft.passes.cleanup.scopes import Scope, visit_scopes
from coregraft.rewriter.contract import Context, Pass
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.rewriter import Rewriter


@dataclass(frozen=True)
class SinkConstants(Pass):
    """Copy constants that the bodies of If, Loop and Scan capture into the bodies.

    What it does
    ------------
    A constant of a graph that a body inside it reads becomes a constant of that body, too. Its content is shared,
    not copied.

    Why it matters
    --------------
    A rule looks at one graph at a time. To it, a weight that is captured from outside is a value of the run time, and
    what needs constant weights (a Gemm, a convolution, an LSTM, a decomposition of any kind) would stay as it is.
    Core ML keeps the constants of a block in the block anyway.

    Example
    -------
    ``const w; Loop(n, true, x) {x = MatMul(x, w)}`` becomes ``Loop(n, true, x) {const w; x = MatMul(x, w)}``.

    Equivalence
    -----------
    Bit-exact.

    Sources
    -------
    ONNX's rules of what a body can see.
    """

    def run(self, g: Graph, ctx: Context) -> None:
        visit_scopes(ctx.rewriter(g), lambda rw, scope: _sink(rw, scope, ctx))


def _sink(rw: Rewriter, scope: Scope, ctx: Context) -> None:
    if scope.outer is None:
        return
    for value in rw.graph.free_values():
        const = scope.const(value)
        if const is not None:
            rw.replace_uses(value, rw.const(const, hint=scope.fresh_name(f"{value}/own")))
            rw.drop(value)
            ctx.count("sunk")
