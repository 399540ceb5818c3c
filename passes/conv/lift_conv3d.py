"""CG110: three-dimensional convolutions that are two-dimensional at heart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.conv.emit import TO_END, crop_negative_pads, ints, pad_spatial, slice_axes
from coregraft.passes.conv.geometry import Axis, ConvGeometry, conv_geometry
from coregraft.rewriter.passes import REASSOCIATING, NoMatch, OpBuilder, Rule


@dataclass(frozen=True)
class LiftConv3d(Rule):
    """Write a 3-D Conv whose kernel is (1, h, w) or (d, 1, 1) as a 2-D one.

    What it does
    ------------
    Kernel (d, 1, 1): height and width become one axis, and a (d, 1) Conv follows. Kernel (1, h, w): depth goes to the
    batch. Padding and stride along the axes of size 1 are done before, by Pad and Slice. Groups and dilations stay.
    Of the dims of the tensors in between, one may be unknown.

    Why it matters
    --------------
    3-D convolutions never run on the Neural Engine; separable video networks consist of these two kinds.

    Example
    -------
    Before::

        y = Conv(x, w, kernel_shape=[3, 1, 1], pads=[1, 0, 0, 1, 0, 0])

    After, for ``x: float[1,4,8,6,5]``::

        c = Conv(Reshape(x, [1, 4, 8, 30]), w2, kernel_shape=[3, 1], pads=[1, 0, 1, 0])
        y = Reshape(c, [1, 16, 8, 6, 5])

    Equivalence
    -----------
    Reassociating: the same products in the same order, by another kernel of the runtime.

    Sources
    -------
    Hazard catalogue H1.10.
    """

    code: ClassVar[str] = "CG110"
    equivalence: ClassVar = REASSOCIATING

    def pattern(self, op: Any, x: Any, w: Any, b: Any = None) -> Any:
        return op.Conv(x, w, b, _name="conv")

    def where(self, m: Any) -> Any:
        geometry = conv_geometry(m.conv.attrs, m.x.shape, m.w.shape)
        if geometry is None or len(geometry.axes) != 3:
            return NoMatch("not a 3-D convolution with known padding")
        if _kind(geometry) is None:
            return NoMatch("the kernel {} is not flat", tuple(a.kernel for a in geometry.axes))
        unknown = sum(not isinstance(d, int) for d in (geometry.batch, *(a.size for a in geometry.axes)))
        return unknown <= 1 or NoMatch("{} dims are unknown", unknown)

    def replacement(self, op: OpBuilder, m: Any) -> Any:
        geometry = conv_geometry(m.conv.attrs, m.x.shape, m.w.shape)
        assert geometry is not None
        along_depth = _kind(geometry) == "depth"
        x, axes = _without_flat(op, m.x, geometry)
        batch = geometry.batch if isinstance(geometry.batch, int) else -1
        depth, height, width = (-1 if a.size is None else a.size for a in axes)
        outs = [-1 if a.out is None else a.out for a in axes]
        kept = axes[:1] if along_depth else axes[1:]
        spatial = [*kept, Axis(1, 1)] if along_depth else kept
        attrs = {
            "group": geometry.group,
            "kernel_shape": tuple(a.kernel for a in spatial),
            "strides": tuple(a.stride for a in spatial),
            "dilations": tuple(a.dilation for a in spatial),
            "pads": (*(a.begin for a in spatial), *(a.end for a in spatial)),
        }
        w = _flat_weight(op, m.w, attrs["kernel_shape"])
        channels, results = geometry.channels, geometry.out_channels
        if along_depth:
            x = op.Reshape(x, ints(op, [batch, channels, depth, _times(height, width)]))
            return op.Reshape(op.Conv(x, w, m.b, **attrs), ints(op, [batch, results, *outs]))
        x = op.Transpose(x, perm=(0, 2, 1, 3, 4))
        x = op.Reshape(x, ints(op, [_times(batch, depth), channels, height, width]))
        y = op.Reshape(op.Conv(x, w, m.b, **attrs), ints(op, [batch, outs[0], results, *outs[1:]]))
        return op.Transpose(y, perm=(0, 2, 1, 3, 4))


def _kind(geometry: ConvGeometry) -> str | None:
    """``depth`` for (d, 1, 1), ``plane`` for (1, h, w), None for neither."""
    kernel = [a.kernel for a in geometry.axes]
    if kernel[1:] == [1, 1]:
        return "depth"
    return "plane" if kernel[0] == 1 else None


def _without_flat(op: OpBuilder, x: Any, geometry: ConvGeometry) -> tuple[Any, list[Axis]]:
    """The input, cropped, with padding and stride along axes of kernel size 1 done; and the axes as they are then."""
    axes = geometry.axes
    x = crop_negative_pads(op, x, [a.begin for a in axes], [a.end for a in axes])
    begins = [max(0, a.begin) if a.kernel == 1 else 0 for a in axes]
    ends = [max(0, a.end) if a.kernel == 1 else 0 for a in axes]
    x = pad_spatial(op, x, begins, ends)
    strided = [(i, a) for i, a in enumerate(axes, start=2) if a.kernel == 1 and a.stride > 1]
    x = slice_axes(op, x, {i: (0, TO_END, a.stride) for i, a in strided})
    left = []
    for a in axes:
        crop = min(0, a.begin) + min(0, a.end)
        if a.kernel == 1:
            left.append(Axis(a.out, 1))
        else:
            size = None if a.size is None else a.size + crop
            left.append(Axis(size, a.kernel, a.stride, a.dilation, max(0, a.begin), max(0, a.end)))
    return x, left


def _flat_weight(op: OpBuilder, w: Any, kernel: Any) -> Any:
    shape = (*w.shape[:2], *kernel)
    return op.const(np.ascontiguousarray(w.array()).reshape(shape)) if w.is_const else op.Reshape(w, ints(op, shape))


def _times(a: int, b: int) -> int:
    return -1 if -1 in (a, b) else a * b
