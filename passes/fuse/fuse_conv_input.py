"""What is done to the input of a convolution, into the convolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from coregraft.passes.fuse.fuse_pad_conv import FusePadConv
from coregraft.passes.order.fold_input_scale import FoldInputScale
from coregraft.passes.order.push_batch_norm import PushBatchNorm
from coregraft.rewriter.passes import REASSOCIATING, Equivalence, Rule, RuleGroup


@dataclass(frozen=True)
class FuseConvInput(RuleGroup):
    """Fold whatever chain of paddings, factors and normalisations leads to a convolution into it.

    What it does
    ------------
    Runs fuse-pad-conv, fold-input-scale and push-batch-norm together, to their common fixed point. It belongs after
    fuse-conv-output: what can go into the convolution before should.

    Why it matters
    --------------
    Each of them may clear the way for another, in any order: ``Conv(Pad(x) * c)`` and ``Conv(Pad(x * c))`` are both
    one convolution, and by the three one after the other only the second would be.

    Example
    -------
    ``Conv(Mul(Pad(x, ...), c), w)`` becomes ``Conv(x, w * c, pads=...)``.

    Equivalence
    -----------
    Reassociating: equal up to rounding.

    Sources
    -------
    Hazard catalogue H1.05, H2.08, H2.11.
    """

    equivalence: ClassVar[Equivalence] = REASSOCIATING

    def rules(self) -> list[Rule]:
        return [FusePadConv(), FoldInputScale(), PushBatchNorm()]
