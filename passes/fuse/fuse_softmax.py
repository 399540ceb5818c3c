"""A decomposed softmax into one op."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.rewriter.passes import REASSOCIATING, Equivalence, OpBuilder, Rule


@dataclass(frozen=True)
class FuseSoftmax(Rule):
    """Recognise softmax written as exponentials over their sum.

    What it does
    ------------
    ``exp(z) / sum(exp(z))`` over one axis becomes Softmax; ``z`` may be ``x - max(x)`` over the same axis.

    Why it matters
    --------------
    The runtime's softmax subtracts the maximum first; exponentials by themselves overflow half precision above 11
    (H3.13). coremltools does not recognise this form.

    Example
    -------
    ``Div(Exp(x), ReduceSum(Exp(x), [-1]))`` becomes ``Softmax(x, axis=-1)``.

    Equivalence
    -----------
    Reassociating where the original does not overflow; where it does, the result is finite instead of NaN.

    Sources
    -------
    Hazard catalogue H3.13.
    """

    code: ClassVar[str] = "CG313"
    trouble: ClassVar[str] = "exponentials by themselves overflow half precision above 11"
    equivalence: ClassVar[Equivalence] = REASSOCIATING

    def pattern(self, op: Any, x: Any, axes: Any, axes2: Any = None) -> Any:
        shifted = op.any_of(op.Sub(x, op.ReduceMax(x, axes2, keepdims=1, noop_with_empty_axes=0)), x)
        exp = op.Exp(shifted)
        return op.Div(exp, op.ReduceSum(exp, axes, keepdims=1))

    def where(self, m: Any) -> Any:
        if not m.axes.is_const or m.axes.const.size != 1 or m.x.rank is None:
            return m.no("the sum is not over one known axis")
        if m.axes2 is not None:
            if not m.axes2.is_const:
                return m.no("the maximum is over axes computed at run time")
            axis, other = (v.array().reshape(-1) % m.x.rank for v in (m.axes, m.axes2))
            if list(axis) != list(other):
                return m.no("maximum and sum are over different axes")
        return True

    def replacement(self, op: OpBuilder, m: Any) -> Any:
        return op.Softmax(m.x, axis=int(m.axes.array().reshape(-1)[0]))
