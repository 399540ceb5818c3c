"""A sum over the number of its terms into a mean."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.rewriter.passes import REASSOCIATING, Equivalence, OpBuilder, Rule, ValueView


@dataclass(frozen=True)
class FuseMean(Rule):
    """Write a sum divided by the number of its terms as a mean.

    What it does
    ------------
    ``ReduceSum(x) / n`` and ``ReduceSum(x) * (1 / n)``, where ``n`` is the number of elements that are summed, become
    ReduceMean. The constant may be written out to any shape that the sum has.

    Why it matters
    --------------
    A sum overflows half precision long before the mean does (H3.17), and JAX exports write every mean so: only as means
    are their layer normalisations recognised.

    Example
    -------
    ``Div(ReduceSum(x, [-1]), 8)`` with 8 elements along the last axis becomes ``ReduceMean(x, [-1])``.

    Equivalence
    -----------
    Reassociating.

    Sources
    -------
    Hazard catalogue H3.17.
    """

    code: ClassVar[str] = "CG317"
    trouble: ClassVar[str] = "a sum overflows half precision where the mean that is made of it would not"
    equivalence: ClassVar[Equivalence] = REASSOCIATING

    def pattern(self, op: Any, x: Any, c: Any, axes: Any = None) -> Any:
        total = op.ReduceSum(x, axes, noop_with_empty_axes=0, _name="total")
        return op.any_of(op.Div(total, c), op.Mul(total, c))

    def where(self, m: Any) -> Any:
        if m.x.dtype is None or not m.x.dtype.is_float or m.x.rank is None:
            return m.no("not floating point of known rank")
        if not m.c.is_const or (m.axes is not None and not m.axes.is_const):
            return m.no("the factor or the axes are computed at run time")
        if m.output.shape != m.total.outputs[0].shape:
            return m.no("{} broadcasts the sum", m.c.name)
        summed = [(m.x.shape or ())[axis] for axis in _axes(m.axes, m.x)]
        if not all(isinstance(d, int) and d for d in summed):
            return m.no("a summed dim is not static, or is empty")
        count = math.prod(d for d in summed if isinstance(d, int))
        wanted = float(count) if m.root.type == "Div" else 1.0 / count
        close = np.allclose(m.c.array().astype(np.float64), wanted, rtol=1e-6, atol=0)
        return close or m.no("{} is not the number of elements summed", m.c.name)

    def replacement(self, op: OpBuilder, m: Any) -> Any:
        return op.ReduceMean(m.x, m.axes, **m.total.attrs)


def _axes(axes: ValueView | None, x: ValueView) -> list[int]:
    """The summed axes; all of them when none is named."""
    rank = x.rank or 0
    named = [] if axes is None else [int(axis) % rank for axis in axes.array().reshape(-1)]
    return named or list(range(rank))
