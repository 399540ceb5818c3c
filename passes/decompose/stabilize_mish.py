"""Mish as a quotient of polynomials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.passes.decompose._base import Decomposition, need, scalar
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView
from coregraft.rewriter.target import Target


@dataclass(frozen=True)
class StabilizeMish(Decomposition):
    """Write Mish without logarithm and tanh, so that nothing overflows in fp16.

    What it does
    ------------
    With ``t = exp(-|x|)``, ``tanh(softplus(x))`` is ``(1 + 2t) / (1 + 2t + 2t²)`` for x >= 0 and ``(t² + 2t) / (t² +
    2t + 2)`` below: no term exceeds 5. Fires for every Core ML target.

    Why it matters
    --------------
    Mish by softplus and tanh shows large errors on the Neural Engine, whose softplus breaks off above 10.39.

    Example
    -------
    ``y = Mish(x)`` becomes ``y = x * Where(x >= 0, (1 + 2t) / (1 + 2t + 2t²), (t² + 2t) / (t² + 2t + 2))``.

    Equivalence
    -----------
    Reassociating: the same function in another form, equal within a few roundings.

    Sources
    -------
    H3.10 (coremltools issues 2359, 2618).
    """

    code: ClassVar[str] = "CG310"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ("Mish",)

    def wanted(self, node: OpView, target: Target) -> bool:
        return target.ops is not None

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x = need(node, 0)
        if x.dtype is None:
            return NoMatch("the type of the input is not known")
        one, two = scalar(op, 1, x), scalar(op, 2, x)
        t = op.Exp(op.Neg(op.Abs(x)))
        square, double = op.Mul(t, t), op.Mul(t, two)
        above = op.Add(double, one)
        below = op.Add(square, double)
        positive = op.Div(above, op.Add(above, op.Mul(square, two)))
        negative = op.Div(below, op.Add(below, two))
        return op.Mul(x, op.Where(op.GreaterOrEqual(x, scalar(op, 0, x)), positive, negative))
