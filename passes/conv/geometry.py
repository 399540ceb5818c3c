"""The geometry of a convolution, in numbers: kernel, stride, dilation and zero padding per spatial axis."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from coregraft.rewriter.types import Dim


@dataclass(frozen=True, slots=True)
class Axis:
    """One spatial axis. ``size`` is the input length, None when it is not a number; pads may be negative (a crop)."""

    size: int | None
    kernel: int
    stride: int = 1
    dilation: int = 1
    begin: int = 0
    end: int = 0

    @property
    def extent(self) -> int:
        """Input elements from the first to the last that one window reads, gaps included."""
        return (self.kernel - 1) * self.dilation + 1

    @property
    def out(self) -> int | None:
        """Output length (0 or less when no window fits); None when the input length is not known."""
        if self.size is None:
            return None
        return (self.size + self.begin + self.end - self.extent) // self.stride + 1


@dataclass(frozen=True, slots=True)
class ConvGeometry:
    """A convolution without its numbers: what every rewrite of one has to know.

    ``batch`` may be symbolic. A dilation on an axis of kernel size 1 has no meaning and is read as 1.
    """

    batch: Dim
    channels: int
    out_channels: int
    group: int
    axes: tuple[Axis, ...]

    @property
    def is_static(self) -> bool:
        """Whether every spatial length is a number."""
        return all(axis.size is not None for axis in self.axes)

    @property
    def taps(self) -> int:
        """Weights that one output element meets per input channel."""
        return math.prod(axis.kernel for axis in self.axes)

    @property
    def extent_taps(self) -> int:
        """The same for the kernel with its gaps filled by zeros."""
        return math.prod(axis.extent for axis in self.axes)

    @property
    def max_extent(self) -> int:
        return max(axis.extent for axis in self.axes)

    @property
    def pads(self) -> tuple[int, ...]:
        """The pads in ONNX order: all begins, then all ends."""
        return (*(axis.begin for axis in self.axes), *(axis.end for axis in self.axes))


def window_axes(
    attrs: Mapping[str, Any], spatial: Sequence[Dim], kernel: Sequence[int]
) -> tuple[Axis, ...] | None:
    """The axes of a Conv or of a pool, with ``auto_pad`` resolved to numbers.

    Args:
        attrs: the attributes of the op, absent ones at their defaults.
        spatial: input lengths; kernel: kernel lengths, of the same rank.

    Returns:
        None when ``SAME_*`` depends on a length that is not a number (a stride other than 1).
    """
    rank = len(kernel)
    strides = tuple(attrs.get("strides") or (1,) * rank)
    dilations = tuple(attrs.get("dilations") or (1,) * rank)
    pads = tuple(attrs.get("pads") or (0,) * (2 * rank))
    mode = text(attrs.get("auto_pad", "NOTSET"))
    axes = []
    for i in range(rank):
        size = spatial[i] if isinstance(spatial[i], int) else None
        dilation = dilations[i] if kernel[i] > 1 else 1
        axis = Axis(size, kernel[i], strides[i], dilation, pads[i], pads[rank + i])  # type: ignore[arg-type]
        if mode != "NOTSET":
            begin_end = same_pads(axis, lower=mode == "SAME_LOWER") if mode != "VALID" else (0, 0)
            if begin_end is None:
                return None
            axis = Axis(axis.size, axis.kernel, axis.stride, axis.dilation, *begin_end)
        axes.append(axis)
    return tuple(axes)


def same_pads(axis: Axis, *, lower: bool) -> tuple[int, int] | None:
    """Pads that give ``ceil(size / stride)`` outputs; the odd one goes to the end, or to the begin if ``lower``.

    None when the length is not known and the stride makes them depend on it.
    """
    if axis.stride == 1:
        total = axis.extent - 1
    elif axis.size is None:
        return None
    else:
        outputs = -(-axis.size // axis.stride)
        total = max(0, (outputs - 1) * axis.stride + axis.extent - axis.size)
    small, large = total // 2, total - total // 2
    return (large, small) if lower else (small, large)


def conv_geometry(
    attrs: Mapping[str, Any], x_shape: Sequence[Dim] | None, w_shape: Sequence[Dim] | None
) -> ConvGeometry | None:
    """The geometry of a Conv from its attributes and the shapes of its input and weight.

    Returns:
        None when the ranks, the channels or the kernel are not known, or ``auto_pad`` cannot be resolved.
    """
    if x_shape is None or w_shape is None or len(x_shape) != len(w_shape) or len(x_shape) < 3:
        return None
    weight = [d for d in w_shape if isinstance(d, int)]
    if len(weight) != len(w_shape):
        return None
    axes = window_axes(attrs, x_shape[2:], weight[2:])
    if axes is None:
        return None
    group = int(attrs.get("group", 1))
    return ConvGeometry(x_shape[0], weight[1] * group, weight[0], group, axes)


def text(value: Any) -> str:
    """A STRING attribute as ``str``."""
    return value.decode() if isinstance(value, bytes) else str(value)
