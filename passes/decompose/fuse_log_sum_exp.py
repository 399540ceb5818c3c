"""Log of a sum of exponentials is ReduceLogSumExp."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.rewriter.passes import Equivalence, OpBuilder, Rule


@dataclass(frozen=True)
class FuseLogSumExp(Rule):
    """Turn the logarithm of a sum of exponentials into ReduceLogSumExp.

    What it does
    ------------
    ``Log(ReduceSum(Exp(x), axes))`` becomes ``ReduceLogSumExp(x, axes)`` when nothing else reads the sum or the
    exponentials. A sum that was shifted by hand already stays as it is. Fires for every target;
    ``stabilize-log-sum-exp`` then shifts it for Core ML.

    Why it matters
    --------------
    ``exp`` is infinite above 11.09 in fp16.

    Example
    -------
    ``y = Log(ReduceSum(Exp(x), [1]))`` becomes ``y = ReduceLogSumExp(x, [1])``.

    Equivalence
    -----------
    Reassociating, and finite where the exponential overflowed.

    Sources
    -------
    H3.11 (coremltools issue 2690).
    """

    code: ClassVar[str] = "CG311"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING

    def pattern(self, op: Any, x: Any, axes: Any = None) -> Any:
        return op.Log(op.ReduceSum(op.Exp(x), axes, keepdims=op.attr("keepdims"), noop_with_empty_axes=0))

    def where(self, m: Any) -> Any:
        shifted = m.x.producer is not None and m.x.producer.type == "Sub"
        return m.no("the exponent is a difference already") if shifted else True

    def replacement(self, op: OpBuilder, m: Any) -> Any:
        return op.ReduceLogSumExp(m.x, m.axes, keepdims=m.keepdims)
