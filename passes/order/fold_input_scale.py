"""Input normalisation into the first convolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.fuse._affine import SHARED_LIMIT, channel_vector
from coregraft.rewriter.passes import REASSOCIATING, Equivalence, OpBuilder, Rule


@dataclass(frozen=True)
class FoldInputScale(Rule):
    """Fold a constant factor per channel in front of a Conv into its weights.

    What it does
    ------------
    ``Conv(x * c)`` and ``Conv(x / c)``, with one factor per input channel, become a Conv with scaled weights. A zero
    padding is not affected by a factor, so this is right with any pads. What is subtracted before stays where it is.

    Why it matters
    --------------
    ``(x - mean) / std`` in front of a network costs two passes over the largest tensor; coremltools folds neither
    (section 2.0), and image inputs with one scale per channel are broken (H2.11).

    Example
    -------
    ``Conv(Div(x, std), w)`` becomes ``Conv(x, w / std)``.

    Equivalence
    -----------
    Reassociating.

    Sources
    -------
    Hazard catalogue H2.11; coremltools issues 2461 and 2709.
    """

    code: ClassVar[str] = "CG211"
    trouble: ClassVar[str] = "a factor before a convolution costs a pass over its input; coremltools does not fold it"
    equivalence: ClassVar[Equivalence] = REASSOCIATING

    def pattern(self, op: Any, x: Any, c: Any, w: Any, b: Any = None) -> Any:
        scaled = op.any_of(op.Mul(x, c, _name="scale"), op.Div(x, c, _name="scale"))
        return op.Conv(scaled, w, b, _name="conv")

    def where(self, m: Any) -> Any:
        if not m.c.is_const or not m.w.is_const:
            return m.no("factor or weights are computed at run time")
        if m.w.const.nbytes > SHARED_LIMIT and len(m.w.users) > 1:
            return m.no("the weights are shared with other ops")
        if m.x.rank is None or m.scale.outputs[0].rank != m.x.rank:
            return m.no("the factor changes the rank")
        factor = channel_vector(m.c, m.x.rank, self.channels(m))
        if factor is None:
            return m.no("{} is not one factor per channel", m.c.name)
        return (m.scale.type == "Mul" or bool(np.all(factor))) or m.no("a divisor is zero")

    def replacement(self, op: OpBuilder, m: Any) -> Any:
        factor = channel_vector(m.c, m.x.rank, self.channels(m))
        assert factor is not None
        gain = factor if m.scale.type == "Mul" else 1.0 / factor
        w = m.w.array()
        group = int(m.conv.attr("group"))
        by_group = w.astype(np.float64).reshape(group, w.shape[0] // group, *w.shape[1:])
        scaled = (by_group * gain.reshape(group, 1, -1, *(1,) * (w.ndim - 2))).reshape(w.shape)
        return op.Conv(m.x, scaled.astype(w.dtype), m.b, **m.conv.attrs)

    @staticmethod
    def channels(m: Any) -> int:
        """Input channels of the convolution."""
        return int(m.w.const.shape[1]) * int(m.conv.attr("group"))
