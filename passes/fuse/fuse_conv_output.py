"""All that is affine after a convolution, into its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from coregraft.passes.fuse.fuse_batch_norm import FuseBatchNorm
from coregraft.passes.fuse.fuse_conv_bias import FuseConvBias
from coregraft.passes.fuse.fuse_conv_scale import FuseConvScale
from coregraft.rewriter.passes import REASSOCIATING, Equivalence, Rule, RuleGroup


@dataclass(frozen=True)
class FuseConvOutput(RuleGroup):
    """Fold whatever chain of constants per channel follows a convolution into its weights and bias.

    What it does
    ------------
    Runs fuse-batch-norm, fuse-conv-scale and fuse-conv-bias together, to their common fixed point.

    Why it matters
    --------------
    Each of them may clear the way for another, in any order: of ``BatchNormalization(k - Conv(x))`` or
    ``(Conv(x) - k) * c``, run one after the other, the first to come would leave what is behind the others (H1.09).

    Example
    -------
    ``BatchNormalization(Mul(Sub(k, Conv(x, w)), c), ...)`` becomes ``Conv(x, w', b')``.

    Equivalence
    -----------
    Reassociating: equal up to rounding.

    Sources
    -------
    Hazard catalogue H1.09, H2.01, H2.03.
    """

    equivalence: ClassVar[Equivalence] = REASSOCIATING

    def rules(self) -> list[Rule]:
        return [FuseBatchNorm(), FuseConvScale(), FuseConvBias()]
