"""The sliding-window arithmetic of Conv, ConvTranspose and the pools: what ONNX attributes mean, in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from coregraft.rewriter.graph import Op
from coregraft.rewriter.types import Array

if TYPE_CHECKING:
    from coregraft.lowering.emitter import Emitter


@dataclass(frozen=True, slots=True)
class Window:
    """A window over the spatial axes, all numbers explicit; each tuple has one entry per spatial axis.

    Attributes:
        kernel: taps.
        strides: steps between windows.
        dilations: steps between taps.
        begins: padding before; negative crops.
        ends: padding after; negative crops.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begins: tuple[int, ...]
    ends: tuple[int, ...]

    @property
    def extents(self) -> tuple[int, ...]:
        """The span of one window on each axis, dilation included."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    @property
    def mil_pad(self) -> Array:
        """The padding as MIL has it: before, after, axis by axis; crops count as none."""
        return np.array([max(p, 0) for pair in zip(self.begins, self.ends, strict=True) for p in pair], np.int32)

    @property
    def crops(self) -> bool:
        """Whether a pad is negative."""
        return min((*self.begins, *self.ends)) < 0

    def with_unit_axis(self) -> Window:
        """This window with an axis of one tap in front of its own."""
        return Window((1, *self.kernel), (1, *self.strides), (1, *self.dilations), (0, *self.begins), (0, *self.ends))

    def ceil_sizes(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """Number of windows under ``ceil_mode=1``: the last may hang over the end, none starts in the end padding."""
        spans = zip(sizes, self.begins, self.ends, self.extents, self.strides, strict=True)
        counts = []
        for n, pb, pe, extent, stride in spans:
            count = -((extent - n - pb - pe) // stride) + 1
            counts.append(count - 1 if (count - 1) * stride >= n + pb else count)
        return tuple(counts)

    def ending_for(self, sizes: Sequence[int], out: Sequence[int]) -> Window:
        """This window with the end padding grown so that ``out`` windows fit wholly (never shrunk)."""
        spans = zip(sizes, out, self.begins, self.ends, self.extents, self.strides, strict=True)
        ends = tuple(max(pe, (o - 1) * stride + extent - n - pb) for n, o, pb, pe, extent, stride in spans)
        return replace(self, ends=ends)


def split_pads(pads: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """ONNX ``pads`` (all begins, then all ends) as two tuples."""
    half = len(pads) // 2
    return tuple(pads[:half]), tuple(pads[half:])


def spatial_sizes(b: Emitter, op: Op) -> tuple[int, ...]:
    """The sizes of the spatial axes of the op's first operand, which must be static; a batch need not be."""
    return tuple(b.known_sizes(op.inputs[0], range(2, b.rank(op.inputs[0]))))


def same_pads(total: Sequence[int], upper: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Total padding split in two: the odd element goes to the end for SAME_UPPER, to the begin for SAME_LOWER."""
    small, large = tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
    return (small, large) if upper else (large, small)


def resolve(b: Emitter, op: Op, kernel: Sequence[int]) -> Window:
    """The window of a Conv or pool: defaults filled in, ``auto_pad`` turned into numbers.

    Args:
        b: the emitter.
        op: an op with ``auto_pad``, ``pads``, ``strides`` and maybe ``dilations``.
        kernel: taps per spatial axis.

    Raises:
        UnsupportedError: ``op-unsupported`` for an ``auto_pad`` that ONNX does not have; whatever
            :func:`spatial_sizes` raises when ``auto_pad`` needs sizes that are not static.
    """
    ones = (1,) * len(kernel)
    strides = tuple(b.attr(op, "strides") or ones)
    dilations = tuple(b.attr(op, "dilations") or ones)
    none = (0,) * len(kernel)
    window = Window(tuple(int(k) for k in kernel), strides, dilations, none, none)
    mode = text(b.attr(op, "auto_pad") or "NOTSET")
    if mode == "NOTSET":
        begins, ends = split_pads(b.attr(op, "pads") or none * 2)
        return replace(window, begins=begins, ends=ends)
    if mode == "VALID":
        return window
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        b.refuse(op, f"auto_pad is {mode!r}, which ONNX does not have")
    spans = zip(spatial_sizes(b, op), window.extents, strides, strict=True)
    total = [max(0, (-(-n // stride) - 1) * stride + extent - n) for n, extent, stride in spans]
    begins, ends = same_pads(total, upper=mode == "SAME_UPPER")
    return replace(window, begins=begins, ends=ends)


def crop_negative(b: Emitter, x: Any, window: Window) -> Any:
    """The input without what negative pads cut off; MIL would take them without complaint, and mean nothing by it."""
    if not window.crops:
        return x
    return crop(b, x, [max(0, -p) for p in window.begins], [max(0, -p) for p in window.ends])


def crop(b: Emitter, x: Any, begins: Sequence[int], ends: Sequence[int], name: str | None = None) -> Any:
    """``x`` without its first ``begins`` and last ``ends`` elements on the spatial axes (all but the first two)."""
    begin = np.array([0, 0, *begins], np.int32)
    end = np.array([0, 0, *(-e for e in ends)], np.int32)
    extra = {} if name is None else {"name": name}
    return b.mb.slice_by_index(x=x, begin=begin, end=end, end_mask=[e == 0 for e in end], **extra)


def text(value: Any) -> str:
    """A STRING attribute as str."""
    return value.decode() if isinstance(value, bytes) else str(value)
