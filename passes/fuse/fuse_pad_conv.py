"""Zero padding into the convolution that reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.rewriter.passes import BIT_EXACT, Equivalence, OpBuilder, Rule


@dataclass(frozen=True)
class FusePadConv(Rule):
    """Merge a zero Pad of spatial axes into the pads of the Conv after it.

    What it does
    ------------
    A constant Pad with value zero, non-negative amounts and only spatial axes disappears into ``pads``.

    Why it matters
    --------------
    TensorFlow exports write Pad and then Conv. coremltools merges neither for ML Programs nor for neural networks, so
    the padded copy of the activations stays, sometimes off the Neural Engine (H1.05).

    Example
    -------
    ``Conv(Pad(x, [0,0,1,1,0,0,1,1]), w)`` becomes ``Conv(x, w, pads=[1,1,1,1])``.

    Equivalence
    -----------
    Bit-exact: the same products and sums.

    Sources
    -------
    Hazard catalogue H1.05.
    """

    code: ClassVar[str] = "CG105"
    trouble: ClassVar[str] = "the padded copy of the activations stays: coremltools merges Pad into no convolution"
    equivalence: ClassVar[Equivalence] = BIT_EXACT

    def pattern(
        self, op: Any, x: Any, amounts: Any, w: Any, value: Any = None, axes: Any = None, b: Any = None
    ) -> Any:
        padded = op.Pad(x, amounts, value, axes, mode="constant")
        return op.Conv(padded, w, b, auto_pad=lambda a: a in ("NOTSET", "VALID"), _name="conv")

    def where(self, m: Any) -> Any:
        if m.x.rank is None:
            return m.no("the rank is not known")
        if not m.amounts.is_const or (m.axes is not None and not m.axes.is_const):
            return m.no("the amounts are computed at run time")
        if m.value is not None and not (m.value.is_scalar and m.value.scalar() == 0):
            return m.no("the padding is not zero")
        rank = m.x.rank
        axes = [int(a) % rank for a in m.axes.array()] if m.axes is not None else list(range(rank))
        amounts = [int(a) for a in m.amounts.array()]
        if any(a < 0 for a in amounts):
            return m.no("an amount is negative: that crops")
        for i, axis in enumerate(axes):
            if axis < 2 and (amounts[i] or amounts[i + len(axes)]):
                return m.no("axis {} is not spatial", axis)
        return True

    def replacement(self, op: OpBuilder, m: Any) -> Any:
        rank = m.x.rank
        axes = [int(a) % rank for a in m.axes.array()] if m.axes is not None else list(range(rank))
        amounts = [int(a) for a in m.amounts.array()]
        pads = list(m.conv.attr("pads") or (0,) * (2 * (rank - 2)))
        for i, axis in enumerate(axes):
            if axis >= 2:
                pads[axis - 2] += amounts[i]
                pads[axis - 2 + rank - 2] += amounts[i + len(axes)]
        return op.Conv(m.x, m.w, m.b, **{**m.conv.attrs, "pads": tuple(pads), "auto_pad": None})
