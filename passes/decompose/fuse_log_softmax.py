"""Log of Softmax is LogSoftmax."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.rewriter.passes import Equivalence, OpBuilder, Rule


@dataclass(frozen=True)
class FuseLogSoftmax(Rule):
    """Turn the logarithm of a softmax into LogSoftmax.

    What it does
    ------------
    ``Log(Softmax(x))`` becomes ``LogSoftmax(x)`` along the same axis, when nothing else reads the softmax. Fires for
    every target; ``stabilize-log-softmax`` then writes it out for Core ML.

    Why it matters
    --------------
    A probability below 6e-8 is 0 in fp16 and its logarithm -inf; the logarithm itself, -17, is a harmless number.

    Example
    -------
    ``y = Log(Softmax <axis = 1> (x))`` becomes ``y = LogSoftmax <axis = 1> (x)``.

    Equivalence
    -----------
    Reassociating, and more exact than before: where the softmax underflowed to 0 the result was -inf.

    Sources
    -------
    H3.12 (coremltools issue 2728).
    """

    code: ClassVar[str] = "CG312"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING

    def pattern(self, op: Any, x: Any) -> Any:
        return op.Log(op.Softmax(x, axis=op.attr("axis")))

    def replacement(self, op: OpBuilder, m: Any) -> Any:
        return op.LogSoftmax(m.x, axis=m.axis)
