"""A constant per channel, added to or subtracted from a convolution, into its bias."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.fuse._affine import can_fold, channel_vector, channels_of, fold
from coregraft.rewriter.passes import REASSOCIATING, Equivalence, OpBuilder, Rule


@dataclass(frozen=True)
class FuseConvBias(Rule):
    """Fold constants added to or subtracted from a Conv or ConvTranspose into its bias.

    What it does
    ------------
    ``conv(x) + c`` and ``conv(x) - c`` change the bias; ``c - conv(x)`` also negates the weights. ``c`` is a scalar or
    one value per output channel.

    Why it matters
    --------------
    coremltools folds ``conv(x) - k`` by negating ``k`` in place, so every other op that reads the same constant sees
    ``-k`` (H2.03). Its pass is kept out of the pipeline and the fold is done here, on a constant of our own.

    Example
    -------
    ``Sub(Conv(x, w), k)`` becomes ``Conv(x, w, -k)``.

    Equivalence
    -----------
    Reassociating: the bias is added in another place of the sum.

    Sources
    -------
    Hazard catalogue H2.03, H2.06, H1.09.
    """

    equivalence: ClassVar[Equivalence] = REASSOCIATING

    def pattern(self, op: Any, x: Any, w: Any, c: Any, b: Any = None) -> Any:
        conv = op.any_of(("Conv", "ConvTranspose"), x, w, b, _name="conv")
        return op.any_of(op.Add(conv, c), op.Sub(conv, c), op.Sub(c, conv))

    def where(self, m: Any) -> Any:
        if not m.c.is_const:
            return m.no("the summand is computed at run time")
        return can_fold(m.conv)

    def replacement(self, op: OpBuilder, m: Any) -> Any:
        channels = channels_of(m.conv)
        shift = channel_vector(m.c, m.w.rank, channels)
        if shift is None:
            return m.no("{} is not one value per channel", m.c.name)
        scale = np.ones(channels)
        if m.root.type == "Sub":
            subtracted = m.root.inputs[1] == m.c
            scale, shift = (scale, -shift) if subtracted else (-scale, shift)
        return fold(op, m.conv, scale, shift)
