"""Index arithmetic at run time, for ops whose result has a known shape but whose parameters are not known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from coregraft.passes.decompose._base import constant, ints, need, operand, scalar
from coregraft.rewriter.passes import OpBuilder, OpView, ValueView
from coregraft.rewriter.types import DType


def per_axis(
    op: OpBuilder, values: ValueView, axes: ValueView | None, rank: int, default: int = 0
) -> ValueView:
    """A parameter by axis, int64 [rank], from one that is given for some axes.

    Args:
        values: int64 [n].
        axes: the axis of each, which may be negative; the first n where None.
        default: the parameter of the other axes.
    """
    values = op.Cast(values, to=int(DType.INT64))
    count = values.shape[0] if values.shape is not None else None
    assert isinstance(count, int)
    every = op.const(np.arange(rank, dtype=np.int64)[None])
    if axes is None:
        places = op.const(np.arange(count, dtype=np.int64)[:, None])
    else:
        places = op.Unsqueeze(from_front(op, op.Cast(axes, to=int(DType.INT64)), rank), ints(op, [1]))
    chosen = op.Cast(op.Equal(places, every), to=int(DType.INT64))
    offset = op.Sub(values, number(op, default)) if default else values
    total = op.ReduceSum(op.Mul(op.Unsqueeze(offset, ints(op, [1])), chosen), ints(op, [0]), keepdims=0)
    return op.Add(total, number(op, default)) if default else total  # type: ignore[no-any-return]


def from_front(op: OpBuilder, axes: Any, rank: int) -> Any:
    """Axes, int64, counted from the front."""
    zero, size = number(op, 0), number(op, rank)
    return op.Where(op.Less(axes, zero), op.Add(axes, size), axes)


def at(op: OpBuilder, values: Any, axis: int) -> Any:
    """Element ``axis`` of a vector, as a vector of one."""
    return op.Slice(values, ints(op, [axis]), ints(op, [axis + 1]), ints(op, [0]))


def number(op: OpBuilder, value: int) -> Any:
    """An int64 scalar constant."""
    return op.const(np.array(value, np.int64))


def count_up(op: OpBuilder, n: int) -> Any:
    """The int64 constant 0 … n-1."""
    return op.const(np.arange(n, dtype=np.int64))


def clipped(op: OpBuilder, values: Any, low: int, high: Any) -> Any:
    """int64 values held within bounds, of which the upper one may be computed."""
    return op.Min(op.Max(values, number(op, low)), number(op, high) if isinstance(high, int) else high)


@dataclass(frozen=True)
class Slicing:
    """Where a Slice begins along each axis, and how it goes on.

    Attributes:
        starts: int64 [rank].
        steps: int64 [rank]; None where they are all 1.
        forward: whether the steps are known to be positive.
    """

    starts: Any
    steps: Any
    forward: bool

    @staticmethod
    def of(op: OpBuilder, node: OpView, rank: int) -> Slicing:
        """What the operands of a Slice of a tensor of that rank say."""
        axes, steps = operand(node, 3), operand(node, 4)
        starts = per_axis(op, need(node, 1), axes, rank)
        known = constant(node, 4) if steps is not None else np.ones(1)
        forward = known is not None and bool((known > 0).all())
        return Slicing(starts, per_axis(op, steps, axes, rank, 1) if steps is not None else None, forward)

    def places(self, op: OpBuilder, axis: int, size: Any, length: int) -> Any:
        """The elements of an axis that are kept: ``length`` of ``size``, which may be a vector of one."""
        size = number(op, size) if isinstance(size, int) else size
        start, step = at(op, self.starts, axis), at(op, self.steps, axis) if self.steps is not None else None
        start = op.Where(op.Less(start, number(op, 0)), op.Add(start, size), start)
        first = clipped(op, start, 0, size)
        if not self.forward:
            last = op.Sub(size, number(op, 1))
            first = op.Where(op.Less(step, number(op, 0)), clipped(op, start, 0, last), first)
        places = count_up(op, length)
        return op.Add(first, op.Mul(places, step) if step is not None else places)


@dataclass(frozen=True)
class Padding:
    """What a Pad adds along each axis.

    Attributes:
        before, after: int64 [rank].
        axes: those that may be padded.
        mode: ONNX's name for what is put there.
        fill: for the mode ``constant``, a scalar.
    """

    before: Any
    after: Any
    axes: tuple[int, ...]
    mode: str
    fill: Any

    @staticmethod
    def of(op: OpBuilder, node: OpView) -> Padding | None:
        """What the operands of a Pad say; None where the rank or the number of pads is not known."""
        x, pads, axes = need(node, 0), need(node, 1), operand(node, 3)
        if x.shape is None or not pads.static_shape or x.dtype is None:
            return None
        rank, count = len(x.shape), pads.static_shape[0] // 2
        halves = [op.Slice(pads, ints(op, [i * count]), ints(op, [i * count + count])) for i in range(2)]
        before, after = (per_axis(op, half, axes, rank) for half in halves)
        fixed = constant(node, 3) if axes is not None else np.arange(count)
        padded = tuple(range(rank)) if fixed is None else tuple(sorted({int(a) % rank for a in fixed}))
        fill = operand(node, 2)
        filled = scalar(op, 0, x) if fill is None else op.Reshape(fill, op.const(np.zeros(0, np.int64)))
        return Padding(before, after, padded, node.attr("mode"), filled)

    def fetched(self, op: OpBuilder, x: ValueView, places: Mapping[int, Any]) -> Any:
        """The elements at these places of the padded tensor, by axis; of the other axes all, as they are in ``x``."""
        sizes = x.static_shape
        assert sizes is not None
        result: Any = x
        inside: Any = None
        for axis, there in places.items():
            size = sizes[axis]
            if axis not in self.axes:
                result = op.Gather(result, there, axis=axis)
                continue
            source = op.Sub(there, at(op, self.before, axis))
            if self.mode == "constant":
                valid = op.And(op.GreaterOrEqual(source, number(op, 0)), op.Less(source, number(op, size)))
                valid = op.Reshape(valid, ints(op, [-1 if i == axis else 1 for i in range(len(sizes))]))
                inside = valid if inside is None else op.And(inside, valid)
            result = op.Gather(result, _source(op, source, size, self.mode), axis=axis)
        return result if inside is None else op.Where(inside, result, self.fill)


def _source(op: OpBuilder, places: Any, size: int, mode: str) -> Any:
    """The element of an axis that lies at ``places``, which are counted from its first."""
    if mode == "wrap":
        return op.Mod(places, number(op, size))
    if mode == "reflect" and size > 1:
        last = number(op, size - 1)
        around = op.Mod(places, number(op, 2 * (size - 1)))
        return op.Sub(last, op.Abs(op.Sub(around, last)))
    return clipped(op, places, 0, size - 1)


def true_places(op: OpBuilder, condition: Any, count: int) -> Any:
    """The places of the first ``count`` true elements of a vector: how many running sums are at most 0, 1, 2, …"""
    sums = op.CumSum(op.Cast(condition, to=int(DType.INT64)), number(op, 0))
    numbers = op.const(np.arange(count, dtype=np.int64)[:, None])
    return op.ReduceSum(op.Cast(op.LessOrEqual(sums, numbers), to=int(DType.INT64)), ints(op, [1]), keepdims=0)
