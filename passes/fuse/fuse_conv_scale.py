"""A constant factor per channel into the convolution before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.fuse._affine import can_fold, channel_vector, channels_of, fold
from coregraft.rewriter.passes import REASSOCIATING, Equivalence, OpBuilder, Rule


@dataclass(frozen=True)
class FuseConvScale(Rule):
    """Fold a multiplication or division by constants per channel into the Conv or ConvTranspose before it.

    What it does
    ------------
    ``conv(x) * c`` and ``conv(x) / c`` become a convolution with scaled weights and bias, in float64. ``c / conv(x)``
    is left alone: it is not affine.

    Why it matters
    --------------
    coremltools folds ``c / conv(x)`` as if it were ``conv(x) / c`` (H2.01), so its own pass is kept out of the
    pipeline and the fold is done here.

    Example
    -------
    ``Mul(Conv(x, w, b), c)`` becomes ``Conv(x, w * c, b * c)``.

    Equivalence
    -----------
    Reassociating: equal up to rounding.

    Sources
    -------
    Hazard catalogue H2.01, H1.09.
    """

    equivalence: ClassVar[Equivalence] = REASSOCIATING

    def pattern(self, op: Any, x: Any, w: Any, c: Any, b: Any = None) -> Any:
        conv = op.any_of(("Conv", "ConvTranspose"), x, w, b, _name="conv")
        return op.any_of(op.Mul(conv, c), op.Div(conv, c))

    def where(self, m: Any) -> Any:
        return can_fold(m.conv) and (m.c.is_const or m.no("the factor is computed at run time"))

    def replacement(self, op: OpBuilder, m: Any) -> Any:
        channels = channels_of(m.conv)
        factor = channel_vector(m.c, m.w.rank, channels)
        if factor is None:
            return m.no("{} is not one factor per channel", m.c.name)
        if m.root.type == "Div":
            if not np.all(factor):
                return m.no("a divisor is zero")
            factor = 1.0 / factor
        return fold(op, m.conv, factor, np.zeros(channels))
