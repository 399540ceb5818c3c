"""ReduceLogSumExp shifted by the maximum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose._base import Decomposition, computed, constant, need, scalar
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView
from coregraft.rewriter.target import Target


@dataclass(frozen=True)
class StabilizeLogSumExp(Decomposition):
    """Shift ReduceLogSumExp by the maximum, so that no exponential overflows.

    What it does
    ------------
    Replaces it by ``m + log(Σ exp(x - m))`` with m the maximum over the same axes, or 0 where that is infinite, so
    that a row of one infinity stays that infinity. Fires for every Core ML target and floats; the axes must be
    constant.

    Why it matters
    --------------
    ``exp`` is infinite above 11.09 in fp16: on the Neural Engine the result breaks off at log(65504 / count).

    Example
    -------
    ``y = ReduceLogSumExp <keepdims = 1> (x, [1])`` becomes ``t = ReduceMax(x, [1])``,
    ``m = Where(IsInf(t), 0, t)``, ``y = m + Log(ReduceSum(Exp(x - m), [1]))``.

    Equivalence
    -----------
    Reassociating: the sum has another scale; equal within a few roundings where the original did not overflow.

    Sources
    -------
    H3.11 (coremltools issue 2690).
    """

    code: ClassVar[str] = "CG311"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ("ReduceLogSumExp",)

    def wanted(self, node: OpView, target: Target) -> bool:
        return target.ops is not None

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x = need(node, 0)
        if x.dtype is None or not x.dtype.is_float or x.rank is None:
            return NoMatch("the input is not known to be a float")
        if computed(node, 1):
            return NoMatch("the axes are computed at run time")
        axes = constant(node, 1)
        if axes is None or not axes.size:
            if node.attr("noop_with_empty_axes") == 1:
                return x
            axes = np.arange(x.rank, dtype=np.int64)
        over = op.const(axes)
        greatest = op.ReduceMax(x, over, keepdims=1)
        # No clipping to the greatest number of fp32: in half precision that is infinity again.
        top = op.Where(op.IsInf(greatest), scalar(op, 0, x), greatest)
        total = op.Log(op.ReduceSum(op.Exp(op.Sub(x, top)), over, keepdims=1))
        y = op.Add(top, total)
        return y if node.attr("keepdims") == 1 else op.Squeeze(y, over)
