"""Log of Sigmoid is a negative Softplus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.rewriter.passes import Equivalence, OpBuilder, Rule


@dataclass(frozen=True)
class FuseLogSigmoid(Rule):
    """Turn the logarithm of a sigmoid into a Softplus.

    What it does
    ------------
    ``Log(Sigmoid(x))`` becomes ``-Softplus(-x)``, when nothing else reads the sigmoid. Fires for every target;
    ``stabilize-softplus`` then writes it out for Core ML.

    Why it matters
    --------------
    A sigmoid below 6e-8 is 0 in fp16 and its logarithm -inf, although the true value is just x.

    Example
    -------
    ``y = Log(Sigmoid(x))`` becomes ``y = Neg(Softplus(Neg(x)))``.

    Equivalence
    -----------
    Reassociating, and more exact than before where the sigmoid underflowed.

    Sources
    -------
    H3.12.
    """

    code: ClassVar[str] = "CG312"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING

    def pattern(self, op: Any, x: Any) -> Any:
        return op.Log(op.Sigmoid(x))

    def replacement(self, op: OpBuilder, m: Any) -> Any:
        return op.Neg(op.Softplus(op.Neg(m.x)))
