"""What the rules share that take a parameter from the declared shape of a result: they say so in the report."""

from __future__ import annotations

from dataclasses import dataclass

from coregraft.passes.decompose._base import Decomposition
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.passes import Context, OpView


@dataclass(frozen=True)
class Trusting(Decomposition):
    """A rule for ops whose run-time parameters are not read, or not all of them, since the result's shape is declared.

    Nothing checks at run time that the parameters agree with the shape, so each op is named in the report.
    """

    def trusts(self, node: OpView) -> bool:
        """Whether rewriting an op takes something from the declared shape: always, unless a rule knows better."""
        return True

    def run(self, g: Graph, ctx: Context) -> None:
        roots = self.root_keys()
        sure = frozenset(
            op.name or op.outputs[0] for i, op in g.ops() if op.key in roots and not self.trusts(OpView(g, i))
        )
        super().run(g, ctx)
        for _, op in sorted(g.ops(), key=lambda pair: pair[0]):
            if op.origin is not None and op.origin.pass_name == ctx.pass_name:
                for name in (n for n in op.origin.replaced if n not in sure):
                    ctx.note(f'"{name}": its run-time parameters are taken to agree with the shape that is declared')
