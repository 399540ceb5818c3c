"""Epsilons of normalisations that half precision rounds to zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.rewriter.passes import APPROXIMATE, Equivalence, NoMatch, Rewriter, Rule
from coregraft.rewriter.schema import attr


@dataclass(frozen=True)
class RaiseEpsilon(Rule):
    """Raise the epsilon of a normalisation to one that half precision can hold.

    What it does
    ------------
    An ``epsilon`` below ``floor`` of LayerNormalization, RMSNormalization, InstanceNormalization, GroupNormalization or
    BatchNormalization becomes ``floor``.

    Why it matters
    --------------
    1e-12, the value of BERT, is zero in half precision: a constant row, such as a padding token, has variance zero and
    becomes ``0 * inf = NaN`` (H3.03). coremltools clamps it to 6e-8 without saying so (H3.02).

    Example
    -------
    ``LayerNormalization(x, s, epsilon=1e-12)`` becomes ``LayerNormalization(x, s, epsilon=1.2e-7)``.

    Equivalence
    -----------
    Approximate: the relative change is at most ``floor / (2 * variance)``, 1e-4 for variances above 6e-4.

    Options
    -------
    ``floor``: the smallest epsilon; the default, 2^-23, is a subnormal half-precision number, exact there.

    Sources
    -------
    Hazard catalogue H3.02, H3.03.
    """

    code: ClassVar[str] = "CG303"
    trouble: ClassVar[str] = "the epsilon is zero in half precision: a constant row becomes NaN"
    equivalence: ClassVar[Equivalence] = APPROXIMATE
    bound: ClassVar[float] = 1e-4
    roots: ClassVar[tuple[str, ...]] = (
        "LayerNormalization",
        "RMSNormalization",
        "InstanceNormalization",
        "GroupNormalization",
        "BatchNormalization",
    )
    floor: float = 2.0**-23

    def match_and_rewrite(self, op_id: int, rw: Rewriter) -> Any:
        op = rw.graph.op(op_id)
        epsilon = float(attr(op, "epsilon"))
        if epsilon >= self.floor:
            return NoMatch("epsilon {} is large enough", epsilon)
        rw.update(op_id, attrs={**op.attrs, "epsilon": self.floor})
        return True
