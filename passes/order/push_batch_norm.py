"""BatchNormalization forward into the convolution that reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.fuse._affine import SHARED_LIMIT
from coregraft.rewriter.passes import REASSOCIATING, Equivalence, OpBuilder, Rule


@dataclass(frozen=True)
class PushBatchNorm(Rule):
    """Fold a BatchNormalization that no convolution precedes into the Conv that follows, where that is exact.

    What it does
    ------------
    ``Conv(BatchNormalization(x))`` becomes one Conv with scaled weights and a changed bias, when the Conv has no
    padding, or when the normalisation only scales (its shift is zero). At a zero-padded border the shift would be
    wrong, so such pairs are left alone.

    Why it matters
    --------------
    Networks that normalise after the activation or the residual sum keep a ``batch_norm`` op each: coremltools folds
    only those right after a convolution (H2.08).

    Example
    -------
    ``Conv(BatchNormalization(Relu(x), ...), w, b)`` becomes ``Conv(Relu(x), w', b')``.

    Equivalence
    -----------
    Reassociating.

    Sources
    -------
    Hazard catalogue H2.08 and the fusion table of section 2.0.
    """

    code: ClassVar[str] = "CG208"
    trouble: ClassVar[str] = "a normalisation that follows no convolution stays an op of its own"
    equivalence: ClassVar[Equivalence] = REASSOCIATING

    def pattern(
        self, op: Any, x: Any, scale: Any, shift: Any, mean: Any, var: Any, w: Any, b: Any = None
    ) -> Any:
        norm = op.BatchNormalization(x, scale, shift, mean, var, training_mode=0, epsilon=op.attr("epsilon"))
        return op.Conv(norm, w, b, _name="conv")

    def where(self, m: Any) -> Any:
        if not all(v.is_const for v in (m.scale, m.shift, m.mean, m.var, m.w)) or (m.b and not m.b.is_const):
            return m.no("an operand is computed at run time")
        if m.w.const.nbytes > SHARED_LIMIT and len(m.w.users) > 1:
            return m.no("the weights are shared with other ops")
        pads = m.conv.attr("pads") or ()
        if any(pads) or m.conv.attr("auto_pad") not in ("NOTSET", "VALID"):
            _, offset = affine(m)
            if np.any(offset):
                return m.no("the shift would be wrong at the zero-padded border")
        return True

    def replacement(self, op: OpBuilder, m: Any) -> Any:
        gain, offset = affine(m)
        w = m.w.array()
        group = int(m.conv.attr("group"))
        wide = w.astype(np.float64)
        # Output channels of group g read input channels g * C/group onwards.
        by_group = wide.reshape(group, w.shape[0] // group, *w.shape[1:])
        spatial = (1,) * (w.ndim - 2)
        scaled = (by_group * gain.reshape(group, 1, -1, *spatial)).reshape(w.shape)
        moved = (by_group * offset.reshape(group, 1, -1, *spatial)).reshape(w.shape[0], -1).sum(1)
        bias = moved if m.b is None else moved + m.b.array().astype(np.float64)
        return op.Conv(m.x, scaled.astype(w.dtype), bias.astype(w.dtype), **m.conv.attrs)


def affine(m: Any) -> tuple[Any, Any]:
    """The normalisation of the match as ``gain * x + offset`` per channel, in float64."""
    scale, shift, mean, var = (v.array().astype(np.float64).reshape(-1) for v in (m.scale, m.shift, m.mean, m.var))
    gain = scale / np.sqrt(var + m.epsilon)
    return gain, shift - mean * gain
