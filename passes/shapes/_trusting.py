"""What the rules share that take a parameter from the declared shape of a result: they say so in the report."""

from __future__ import annotations

from dataclasses import dataclass

from coregraft.passes.decompose._base import Decomposition
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.passes import Context


@dataclass(frozen=True)
class Trusting(Decomposition):
    """A rule for ops whose run-time parameters are not read, or not all of them, since the result's shape is declared.

    Nothing checks at run time that the parameters agree with the shape, so each op is named in the report.
    """

    def run(self, g: Graph, ctx: Context) -> None:
        super().run(g, ctx)
        for _, op in sorted(g.ops(), key=lambda pair: pair[0]):
            if op.origin is not None and op.origin.pass_name == ctx.pass_name:
                for name in op.origin.replaced:
                    ctx.note(f'"{name}": its run-time parameters are taken to agree with the shape that is declared')
