"""Pools as shifted slices: what a window reads, tap by tap."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from coregraft.passes.conv.geometry import Axis, window_axes
from coregraft.passes.decompose._base import ints, need
from coregraft.rewriter.passes import NoMatch, OpBuilder, OpView, ValueView
from coregraft.rewriter.types import Array


@dataclass(frozen=True)
class PoolAxis:
    """One spatial axis of a pool of known size.

    Attributes:
        window: sizes, stride, dilation and declared pads.
        out: number of windows, by onnxruntime's rule.
    """

    window: Axis
    out: int

    @property
    def overhang(self) -> int:
        """Elements to add at the end so that the last window fits, the declared pad included."""
        w = self.window
        assert w.size is not None
        return max(0, (self.out - 1) * w.stride + w.extent - w.size - w.begin)

    @property
    def positions(self) -> Array:
        """Where each window's taps lie, the first element of the input at 0: int64[out, kernel]."""
        w = self.window
        return np.arange(self.out)[:, None] * w.stride + np.arange(w.kernel)[None, :] * w.dilation - w.begin


def pool_axes(node: OpView) -> tuple[PoolAxis, ...] | NoMatch:
    """The spatial axes of a MaxPool, AveragePool or LpPool with explicit pads.

    With ``ceil_mode`` a last window that would start in the padding at the end is dropped, as onnxruntime and PyTorch
    do.
    """
    x, kernel = need(node, 0), node.attr("kernel_shape")
    if node.attr("auto_pad") != "NOTSET":
        return NoMatch("its pads are not explicit")
    if x.shape is None or len(x.shape) != len(kernel) + 2 or not all(isinstance(d, int) for d in x.shape[2:]):
        return NoMatch("the spatial sizes are not known")
    axes = window_axes(node.attrs, x.shape[2:], kernel)
    assert axes is not None  # only SAME pads depend on what may be unknown
    found = tuple(PoolAxis(axis, _windows(axis, node.attr("ceil_mode") == 1)) for axis in axes)
    return found if all(axis.out > 0 for axis in found) else NoMatch("no window fits in its input")


def _windows(axis: Axis, ceil: bool) -> int:
    assert axis.size is not None
    room = axis.size + axis.begin + axis.end - axis.extent
    count = (-(-room // axis.stride) if ceil else room // axis.stride) + 1
    if ceil and (count - 1) * axis.stride >= axis.size + axis.begin:
        count -= 1
    return count


def padded(op: OpBuilder, x: ValueView, axes: Sequence[PoolAxis], value: Any) -> Any:
    """``x`` with every window inside; ``value`` is a scalar of its type."""
    pads = [0, 0, *(a.window.begin for a in axes), 0, 0, *(a.overhang for a in axes)]
    return op.Pad(x, ints(op, pads), value) if any(pads) else x


def taps(op: OpBuilder, x: Any, axis: PoolAxis, index: int) -> list[Any]:
    """The ``kernel`` slices of a padded value along axis ``index`` of the tensor, [..., out, ...] each."""
    w = axis.window
    found = []
    for tap in range(w.kernel):
        start = tap * w.dilation
        stop = start + (axis.out - 1) * w.stride + 1
        found.append(op.Slice(x, ints(op, [start]), ints(op, [stop]), ints(op, [index]), ints(op, [w.stride])))
    return found


def over_windows(op: OpBuilder, x: Any, axes: Sequence[PoolAxis], combine: Callable[[Sequence[Any]], Any]) -> Any:
    """A separable reduction of every window: axis by axis, ``combine`` of the taps."""
    for i, axis in enumerate(axes):
        slices = taps(op, x, axis, i + 2)
        x = combine(slices) if len(slices) > 1 else slices[0]
    return x


def counts(axes: Sequence[PoolAxis], include_pads: bool) -> Array:
    """How many elements each window's mean divides by, [*out]: those of the input, or of the declared padding as well,
    but never those beyond it that ``ceil_mode`` lets a window hang over."""
    total: Array = np.ones((), np.int64)
    for axis in axes:
        w = axis.window
        assert w.size is not None
        low, high = (-w.begin, w.size + w.end) if include_pads else (0, w.size)
        inside = ((axis.positions >= low) & (axis.positions < high)).sum(axis=1)
        total = total[..., None] * inside
    return total


def flat_positions(axes: Sequence[PoolAxis], column_major: bool) -> Array:
    """The place of every tap of every window within one channel, flattened: int64[*out, taps]; -1 in the padding."""
    rank, sizes = len(axes), [a.window.size or 0 for a in axes]
    places: Array = np.zeros((1,) * (2 * rank), np.int64)
    real: Array = np.ones((1,) * (2 * rank), bool)
    for i, axis in enumerate(axes):
        stride = math.prod(sizes[:i]) if column_major else math.prod(sizes[i + 1 :])
        shape = [1] * (2 * rank)
        shape[i], shape[rank + i] = axis.positions.shape
        position = axis.positions.reshape(shape)
        places = places + position * stride
        real = real & (position >= 0) & (position < sizes[i])
    return np.where(real, places, -1).reshape(*(a.out for a in axes), -1)
