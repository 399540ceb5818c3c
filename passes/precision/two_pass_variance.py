"""A variance as the difference of two means."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.rewriter.passes import APPROXIMATE, Equivalence, NoMatch, OpBuilder, Rule, ValueView


@dataclass(frozen=True)
class TwoPassVariance(Rule):
    """Write ``E[x^2] - E[x]^2`` as ``E[(x - E[x])^2]``.

    What it does
    ------------
    Recognises a variance taken as the mean of squares minus the square of the mean, over any axes, with the means
    written as ReduceMean or as ReduceSum over the count, and computes it from the centred values instead. What is left
    over the last axes becomes LayerNormalization by ``fuse-layer-norm``, which runs before.

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

    def pattern(
        self, op: Any, x: Any, axes: Any = None, axes2: Any = None, c: Any = None, c2: Any = None
    ) -> Any:
        def means(value: Any, over: Any, count: Any, name: str) -> Any:
            keep = op.attr(f"{name}_keep")
            summed = op.ReduceSum(value, over, keepdims=keep, noop_with_empty_axes=0, _shared=True)
            plain = op.ReduceMean(value, over, keepdims=keep, noop_with_empty_axes=0, _shared=True)
            return op.any_of(
                plain, op.Mul(summed, count, _name=name, _shared=True), op.Div(summed, count, _name=name, _shared=True)
            )

        mean = means(x, axes, c, "mean")
        squares = op.any_of(op.Mul(x, x, _shared=True), op.Pow(x, 2, _shared=True))
        mean_square = op.any_of(op.Mul(mean, mean), op.Pow(mean, 2))
        return op.Sub(means(squares, axes2, c2, "square"), mean_square)

    def where(self, m: Any) -> Any:
        if m.x.dtype is None or not m.x.dtype.is_float or m.x.rank is None:
            return m.no("not floating point of known rank")
        axes, other = _axes(m.axes, m.x), _axes(m.axes2, m.x)
        if axes is None or axes != other or m.mean_keep != m.square_keep:
            return m.no("the means are not over the same known axes")
        shape = m.x.shape or ()
        sizes = [d for i in axes if isinstance(d := shape[i], int)]
        if len(sizes) != len(axes):
            return m.no("a reduced dim is not static")
        for name, count in (("mean", m.c), ("square", m.c2)):
            if count is not None:
                why = _is_count(count, m.bindings[name].type, math.prod(sizes))
                if why is not None:
                    return why
        return True

    def replacement(self, op: OpBuilder, m: Any) -> Any:
        axes = np.asarray(_axes(m.axes, m.x), np.int64)
        centred = op.Sub(m.x, op.ReduceMean(m.x, axes, keepdims=1))
        return op.ReduceMean(op.Mul(centred, centred), axes, keepdims=m.mean_keep)


def _axes(axes: ValueView | None, x: ValueView) -> list[int] | None:
    """The reduced axes, all of them when none is named; None when they are computed at run time."""
    rank = x.rank or 0
    if axes is not None and not axes.is_const:
        return None
    named = [] if axes is None else sorted(int(a) % rank for a in axes.array().reshape(-1))
    return named or list(range(rank))


def _is_count(count: ValueView, kind: str, size: int) -> NoMatch | None:
    """Why a factor (or divisor) does not turn a sum over ``size`` elements into a mean; None when it does."""
    if not count.is_const:
        return NoMatch("{} is computed at run time", count.name)
    wanted = 1.0 / size if kind == "Mul" else float(size)
    array = count.array()
    if not array.size or not np.allclose(array.astype(np.float64), wanted, rtol=1e-6, atol=0):
        return NoMatch("{} is not the number of elements summed", count.name)
    return None
