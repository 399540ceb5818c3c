"""Compress with a condition that is computed at run time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.passes.decompose._base import computed, ints, need
from coregraft.passes.shapes._index import true_places
from coregraft.passes.shapes._trusting import Trusting
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView
from coregraft.rewriter.target import Target


@dataclass(frozen=True)
class GatherCompress(Trusting):
    """Write a Compress with a condition computed at run time as Gather.

    What it does
    ------------
    Where the model declares how many elements are kept, the place of the n-th true element is how many of the running
    sums of the condition are at most n, for up to ``max-length`` elements of condition. Else the places are those that
    NonZero finds, as many as there are at run time. The data is gathered from the places. Fires for Core ML targets
    only.

    Why it matters
    --------------
    Core ML has no op that selects by a condition. With a declared size every shape is known when it compiles the
    model; without one, what has no fixed size runs on the CPU.

    Example
    -------
    ``y: float[2] = Compress<axis=0>(x: float[3], c)`` becomes
    ``y = Gather(x, ReduceSum(LessOrEqual(CumSum(c), [[0], [1]]), [1]))``.

    Equivalence
    -----------
    Bit-exact where the run-time values agree with the declared shape, as ONNX demands.

    Options
    -------
    ``max-length``: longest condition; the work is that times the elements kept.

    Sources
    -------
    H4.21, H5.08; ONNX Compress-11.
    """

    code: ClassVar[str] = "CG508"
    equivalence: ClassVar[Equivalence] = Equivalence.BIT_EXACT
    roots: ClassVar[tuple[str, ...]] = ("Compress",)
    max_length: int = 4096

    def wanted(self, node: OpView, target: Target) -> bool:
        return target.ops is not None and computed(node, 1)

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x, y, condition = need(node, 0), node.outputs[0], need(node, 1)
        assert y is not None
        axis = node.attr("axis")
        if axis is not None and x.rank is None:
            return NoMatch("the rank of its input is not known")
        if axis is None:
            x, axis = op.Reshape(x, ints(op, [-1])), 0
        else:
            axis %= x.rank
        if y.static_shape is None:
            return op.Gather(x, op.Squeeze(op.NonZero(condition), ints(op, [0])), axis=axis)
        if condition.static_shape is None or condition.static_shape[0] > self.max_length:
            return NoMatch("its condition has, or may have, more than max-length={} elements", self.max_length)
        return op.Gather(x, true_places(op, condition, y.static_shape[axis]), axis=axis)

    def trusts(self, node: OpView) -> bool:
        y = node.outputs[0]
        return y is not None and y.static_shape is not None
