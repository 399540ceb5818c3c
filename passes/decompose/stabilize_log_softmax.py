"""LogSoftmax shifted by the maximum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.passes.decompose._base import Decomposition, ints, need
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView
from coregraft.rewriter.target import Target


@dataclass(frozen=True)
class StabilizeLogSoftmax(Decomposition):
    """Write LogSoftmax as a difference, so that small probabilities do not become -inf.

    What it does
    ------------
    Replaces it by ``(x - m) - log(Σ exp(x - m))`` with m the maximum along the axis. Fires for every Core ML target.

    Why it matters
    --------------
    As log of a softmax, a logit that lies 17 below the greatest is a probability of 0 in fp16, and its logarithm -inf.

    Example
    -------
    ``y = LogSoftmax <axis = 1> (x)`` becomes ``d = x - ReduceMax(x, [1])``, ``y = d - Log(ReduceSum(Exp(d), [1]))``.

    Equivalence
    -----------
    Reassociating: the same formula as a stable kernel, summed in another order.

    Sources
    -------
    H3.12 (coremltools issue 2728).
    """

    code: ClassVar[str] = "CG312"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ("LogSoftmax",)

    def wanted(self, node: OpView, target: Target) -> bool:
        return target.ops is not None

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x = need(node, 0)
        if x.rank is None:
            return NoMatch("the rank of the input is not known")
        axis = ints(op, [node.attr("axis") % max(x.rank, 1)])
        shifted = op.Sub(x, op.ReduceMax(x, axis, keepdims=1))
        return op.Sub(shifted, op.Log(op.ReduceSum(op.Exp(shifted), axis, keepdims=1)))
