"""Index arithmetic at run time, for ops whose result has a known shape but whose parameters are not known."""

from __future__ import annotations

from typing import Any

import numpy as np

from coregraft.passes.decompose._base import ints
from coregraft.rewriter.passes import OpBuilder, ValueView
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


def clipped(op: OpBuilder, values: Any, low: int, high: int) -> Any:
    """int64 values held within bounds."""
    return op.Min(op.Max(values, number(op, low)), number(op, high))


def true_places(op: OpBuilder, condition: Any, count: int) -> Any:
    """The places of the first ``count`` true elements of a vector: how many running sums are at most 0, 1, 2, …"""
    sums = op.CumSum(op.Cast(condition, to=int(DType.INT64)), number(op, 0))
    numbers = op.const(np.arange(count, dtype=np.int64)[:, None])
    return op.ReduceSum(op.Cast(op.LessOrEqual(sums, numbers), to=int(DType.INT64)), ints(op, [1]), keepdims=0)
