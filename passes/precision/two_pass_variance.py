"""A variance as the difference of two means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.rewriter.passes import APPROXIMATE, Equivalence, OpBuilder, Rule, ValueView


@dataclass(frozen=True)
class TwoPassVariance(Rule):
    """Write ``E[x^2] - E[x]^2`` as ``E[(x - E[x])^2]``.

    What it does
    ------------
    Recognises a variance taken as the mean of squares minus the square of the mean, over any axes, and computes it from
    the centred values instead. Means written as sums over a count are ``fuse-mean``'s business; where the variance
    belongs to a normalisation over the last axes, ``fuse-layer-norm`` comes first. Both run before.

    Why it matters
    --------------
    The difference cancels: with mean 100 and deviation 0.5 half precision gives 0 where 0.24 is right, or less than
    zero, and a square root of that is NaN; sums of squares also overflow (H3.07). JAX exports write their layer norms
    so.

    Example
    -------
    ``Sub(ReduceMean(x * x), m * m)`` with ``m = ReduceMean(x)`` becomes ``ReduceMean(d * d)`` with ``d = x - m``.

    Equivalence
    -----------
    Approximate within 1e-3 where the original keeps three digits; closer to the true variance than the original.

    Sources
    -------
    Hazard catalogue H3.07.
    """

    code: ClassVar[str] = "CG307"
    trouble: ClassVar[str] = "a variance as a difference of means cancels in half precision"
    equivalence: ClassVar[Equivalence] = APPROXIMATE
    bound: ClassVar[float] = 1e-3

    def pattern(self, op: Any, x: Any, axes: Any = None, axes2: Any = None) -> Any:
        mean = op.ReduceMean(
            x, axes, keepdims=op.attr("keep"), noop_with_empty_axes=0, _name="mean", _shared=True
        )
        squares = op.any_of(op.Mul(x, x, _shared=True), op.Pow(x, 2, _shared=True))
        mean_of_squares = op.ReduceMean(
            squares, axes2, keepdims=op.attr("keep2"), noop_with_empty_axes=0, _shared=True
        )
        return op.Sub(mean_of_squares, op.any_of(op.Mul(mean, mean), op.Pow(mean, 2)))

    def where(self, m: Any) -> Any:
        if m.x.dtype is None or not m.x.dtype.is_float or m.x.rank is None:
            return m.no("not floating point of known rank")
        axes = _axes(m.axes, m.x)
        if axes is None or axes != _axes(m.axes2, m.x) or m.keep != m.keep2:
            return m.no("the means are not over the same known axes")
        return True

    def replacement(self, op: OpBuilder, m: Any) -> Any:
        axes = np.asarray(_axes(m.axes, m.x), np.int64)
        mean = m.mean.outputs[0] if m.keep else op.ReduceMean(m.x, axes, keepdims=1)
        centred = op.Sub(m.x, mean)
        return op.ReduceMean(op.Mul(centred, centred), axes, keepdims=m.keep)


def _axes(axes: ValueView | None, x: ValueView) -> list[int] | None:
    """The reduced axes, all of them when none is named; None when they are computed at run time."""
    rank = x.rank or 0
    if axes is not None and not axes.is_const:
        return None
    named = [] if axes is None else sorted(int(a) % rank for a in axes.array().reshape(-1))
    return named or list(range(rank))

