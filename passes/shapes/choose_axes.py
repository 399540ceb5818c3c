"""An op along an axis that is given at run time: done along each axis it can be, and the right result selected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.passes.decompose._base import computed, ints, need
from coregraft.passes.shapes._index import from_front, number
from coregraft.passes.shapes._reduced import reduced_axes
from coregraft.passes.shapes._trusting import Trusting
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView
from coregraft.rewriter.target import Target
from coregraft.rewriter.types import DType

#: Ops that work along any one axis.
_ALONG = frozenset({"CumProd", "CumSum"})


@dataclass(frozen=True)
class ChooseAxes(Trusting):
    """Compute an op along every axis that the shapes allow, and select by the axis that is given at run time.

    What it does
    ------------
    For CumSum and CumProd, and for reductions: finds the axes, or sets of axes, for which the result has its
    declared shape, writes the op once for each, and selects the one that the run-time operand names. With one
    candidate nothing is selected. Fires for Core ML targets only, and for at most ``max-choices`` candidates.

    Why it matters
    --------------
    MIL takes constant axes. Shapes are fixed, so there are few axes to choose from.

    Example
    -------
    ``y = CumSum(x: float[2,3], axis)`` becomes ``y = Where(axis == 1, CumSum(x, 1), CumSum(x, 0))``.

    Equivalence
    -----------
    Bit-exact.

    Options
    -------
    ``max-choices``: most candidates to compute.

    Sources
    -------
    H4.22, H5.08.
    """

    code: ClassVar[str] = "CG508"
    equivalence: ClassVar[Equivalence] = Equivalence.BIT_EXACT
    roots: ClassVar[tuple[str, ...]] = (
        "CumProd", "CumSum", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax",
        "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare",
    )  # fmt: skip
    max_choices: int = 8

    def wanted(self, node: OpView, target: Target) -> bool:
        return target.ops is not None and computed(node, 1)

    def build(self, op: OpBuilder, node: OpView) -> Any:
        choices = _axes(node) if node.type in _ALONG else reduced_axes(node)
        if not choices or len(choices) > self.max_choices:
            return NoMatch("{} axes can be meant", "any" if choices is None else len(choices))
        x = need(node, 0)
        assert x.shape is not None
        flat = op.Cast(op.Reshape(need(node, 1), ints(op, [-1])), to=int(DType.INT64))
        given = from_front(op, flat, len(x.shape))
        result: Any = None
        for axes in choices:
            inputs: list[Any] = list(node.inputs)
            inputs[1] = number(op, axes[0]) if node.type in _ALONG else ints(op, axes)
            found = getattr(op, node.type)(*inputs, **node.attrs)
            result = found if result is None else op.Where(_are(op, given, axes), found, result)
        return result


def _axes(node: OpView) -> list[tuple[int, ...]] | None:
    """All axes; None where it is not known how many there are."""
    x = need(node, 0).static_shape
    return None if x is None else [(axis,) for axis in range(len(x))]


def _are(op: OpBuilder, given: Any, axes: Sequence[int]) -> Any:
    """Whether the given axes, a vector of as many, are these: a scalar."""
    same = op.Cast(op.Equal(op.Unsqueeze(given, ints(op, [1])), ints(op, axes)), to=int(DType.INT32))
    found = op.ReduceMin(op.ReduceMax(same, ints(op, [0]), keepdims=0), ints(op, [0]), keepdims=0)
    return op.Cast(found, to=int(DType.BOOL))
