"""BatchNormalization into the convolution before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.fuse._affine import can_fold, channels_of, fold
from coregraft.rewriter.passes import REASSOCIATING, Equivalence, OpBuilder, Rule


@dataclass(frozen=True)
class FuseBatchNorm(Rule):
    """Fold BatchNormalization into the Conv or ConvTranspose whose result it normalises.

    What it does
    ------------
    Multiplies the weights by ``scale / sqrt(var + epsilon)`` and moves the rest into the bias, in float64, for any
    number of groups and spatial dims.

    Why it matters
    --------------
    One op and one rounding less for each pair. coremltools folds some of these pairs too, but its bias has the
    wrong length for a grouped ConvTranspose and the conversion then crashes (H1.09, H2.06).

    Example
    -------
    ``BatchNormalization(Conv(x, w), s, b, m, v)`` becomes ``Conv(x, w', b')``.

    Equivalence
    -----------
    Reassociating: equal up to rounding.

    Sources
    -------
    Hazard catalogue H1.09 and section 2.0.
    """

    equivalence: ClassVar[Equivalence] = REASSOCIATING

    def pattern(self, op: Any, x: Any, w: Any, scale: Any, shift: Any, mean: Any, var: Any, b: Any = None) -> Any:
        conv = op.any_of(("Conv", "ConvTranspose"), x, w, b, _name="conv")
        return op.BatchNormalization(conv, scale, shift, mean, var, training_mode=0, epsilon=op.attr("epsilon"))

    def where(self, m: Any) -> Any:
        if not all(v.is_const for v in (m.scale, m.shift, m.mean, m.var)):
            return m.no("the statistics are computed at run time")
        return can_fold(m.conv)

    def replacement(self, op: OpBuilder, m: Any) -> Any:
        scale, shift, mean, var = (v.array().astype(np.float64).reshape(-1) for v in (m.scale, m.shift, m.mean, m.var))
        if len(scale) != channels_of(m.conv):
            return m.no("the statistics do not have one entry per channel")
        gain = scale / np.sqrt(var + m.epsilon)
        return fold(op, m.conv, gain, shift - mean * gain)
