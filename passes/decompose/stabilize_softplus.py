"""Softplus without overflow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.passes.decompose._base import Decomposition, need, scalar
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView
from coregraft.rewriter.target import Target


@dataclass(frozen=True)
class StabilizeSoftplus(Decomposition):
    """Write Softplus so that nothing overflows in fp16.

    What it does
    ------------
    Replaces it by ``max(x, 0) + log(1 + exp(-|x|))``, whose exponent is never positive. Fires for every Core ML target.

    Why it matters
    --------------
    On the Neural Engine softplus has been seen to return 0 above 10.39; the naive ``log(1 + exp(x))`` is infinite
    above 11.1 in fp16.

    Example
    -------
    ``y = Softplus(x)`` becomes ``y = Max(x, 0) + Log(1 + Exp(-Abs(x)))``.

    Equivalence
    -----------
    Reassociating: equal within one rounding of the larger term; below -17 in fp32 the result is 0 where it was at
    most 4e-8.

    Sources
    -------
    H3.09 (coremltools issue 2687).
    """

    code: ClassVar[str] = "CG309"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ("Softplus",)

    def wanted(self, node: OpView, target: Target) -> bool:
        return target.ops is not None

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x = need(node, 0)
        if x.dtype is None:
            return NoMatch("the type of the input is not known")
        small = op.Exp(op.Neg(op.Abs(x)))
        return op.Add(op.Max(x, scalar(op, 0, x)), op.Log(op.Add(small, scalar(op, 1, x))))
