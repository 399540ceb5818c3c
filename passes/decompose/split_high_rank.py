"""CG402: no tensor of rank above five."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.passes.cleanup.scopes import all_graphs
from coregraft.passes.decompose import _high_rank
from coregraft.passes.decompose._base import need
from coregraft.passes.decompose._high_rank import same_view, view
from coregraft.passes.decompose._ranks import full_view
from coregraft.rewriter.errors import UsageError
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.passes import REASSOCIATING, Context, NoMatch, OpBuilder, OpView, Rewriter, Rule


@dataclass(frozen=True)
class SplitHighRank(Rule):
    """Compute with at most five axes what the model states with six or more.

    What it does
    ------------
    An op that reads or gives a tensor of rank above five is done on a view of lower rank, between two reshapes; a
    reshape of a reshape then skips the tensor between, until none of high rank is left. How the axes are merged
    depends on the op:

    * Transpose: axes of size 1 are dropped and axes that stay neighbours are merged; what still has too many is moved
      block by block, in transposes of rank 4.
    * Elementwise ops, with broadcasting, and Expand: neighbouring axes in which every operand is whole or broadcast
      alike are merged; if too many remain, broadcast operands are expanded first.
    * Reductions: runs of reduced and of kept axes are merged; if too many remain, the kept ones are moved to the
      front.
    * Softmax, ArgMax, CumSum, Concat, Split, Gather and others along one axis; Slice, Pad and Tile along few; MatMul
      over its batch axes; LayerNormalization over its last ones: all other axes are merged.
    * Squeeze, Unsqueeze and Flatten become reshapes.

    At most one dim of a view may be unknown. Inputs and outputs of the model keep their rank, and so need a
    reshape; an op that is not listed is left as it is.

    Why it matters
    --------------
    Core ML has no tensors of rank above five. Window partition (Swin), pixel and channel shuffle and
    unfolding (MobileViT) are written with six.

    Example
    -------
    Before::

        a = Reshape(x, [1, 4, 7, 4, 7, 32])
        b = Transpose(a, perm=[0, 1, 3, 2, 4, 5])
        y = Reshape(b, [16, 49, 32])

    After::

        a = Reshape(x, [4, 7, 4, 224])
        b = Transpose(a, perm=[0, 2, 1, 3])
        y = Reshape(b, [16, 49, 32])

    Equivalence
    -----------
    Reassociating, because of one case: a runtime may sum in another order when a reduction over alternating axes
    becomes one over merged or moved axes. All else is data movement, and the same operation on the same elements.

    Options
    -------
    * ``max-rank``: the highest rank allowed, at least 4.

    Sources
    -------
    Hazard catalogue H4.02.
    """

    code: ClassVar[str] = "CG402"
    equivalence: ClassVar = REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ("Reshape", *_high_rank.HANDLERS)
    max_rank: int = 5

    def __post_init__(self) -> None:
        if self.max_rank < 4:
            raise UsageError("option-value", f"split-high-rank cannot go below rank 4: max-rank={self.max_rank}")

    def run(self, g: Graph, ctx: Context) -> None:
        if any(_rank(inner, v) > self.max_rank for inner in all_graphs(g) for v in inner.values()):
            super().run(g, ctx)

    def match_and_rewrite(self, op_id: int, rw: Rewriter) -> bool | NoMatch:
        g, op = rw.graph, rw.graph.op(op_id)
        touched = op.inputs if op.type == "Reshape" else (*op.inputs, *op.outputs)
        if not any(v and _rank(g, v) > self.max_rank for v in touched):
            return NoMatch("no tensor of rank above {} at {}", self.max_rank, op.label)
        build, replaced = self._on_lower_rank, [op_id]
        if op.type == "Reshape":
            producer = g.producer(op.inputs[0])
            if producer is None or g.op(producer).type != "Reshape":
                return NoMatch("what is reshaped is not itself the result of a reshape")
            build, replaced = self._skip_between, [op_id, producer]
        rw.at(replaced, type(self).__name__)
        result = rw.commit(replaced, [o for o in op.outputs if o], lambda: build(OpBuilder(rw), OpView(g, op_id)))
        return result if isinstance(result, NoMatch) else True

    def _on_lower_rank(self, op: OpBuilder, node: OpView) -> Any:
        if node.type != "Split" and any(o is not None for o in node.outputs[1:]):
            return NoMatch("{} gives more than one result", node.label)
        return _high_rank.HANDLERS[node.type](op, node, self.max_rank)

    def _skip_between(self, op: OpBuilder, node: OpView) -> Any:
        """The reshape of a reshape, as one."""
        before, result = need(node, 0).producer, node.outputs[0]
        assert before is not None and result is not None
        source = need(before, 0)
        dims = None if result.shape is None else full_view(result.shape)
        if dims is None:
            return NoMatch("the shape of {} is not known", result.name)
        return source if same_view(source, dims) else view(op, source, dims)


def _rank(g: Graph, value: str) -> int:
    """The rank of a value, 0 when it is not known."""
    kind = g.tensor_type(value)
    return 0 if kind is None or kind.shape is None else len(kind.shape)
