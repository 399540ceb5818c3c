"""The ways to compute a dilated convolution without a dilated kernel, as graphs of ONNX ops."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from coregraft.passes.conv.emit import TO_END, crop_negative_pads, pad_spatial, rearrange, slice_axes
from coregraft.passes.conv.geometry import ConvGeometry
from coregraft.passes.conv.phases import AxisPhases, merge_steps, split_steps
from coregraft.rewriter.rule import OpBuilder
from coregraft.rewriter.types import Array


def polyphase(op: OpBuilder, x: Any, w: Any, b: Any, geometry: ConvGeometry, plan: Sequence[AxisPhases]) -> Any:
    """Phases to the batch, an ordinary convolution, phases back (:mod:`~coregraft.passes.conv.phases`).

    Each output element sums the same products in the same order as the dilated convolution.
    """
    axes = range(2, 2 + len(plan))
    batch = geometry.batch if isinstance(geometry.batch, int) else -1
    ranges = {
        axis: (p.start, p.start + (p.count - 1) * p.step + 1, p.step)
        for axis, p, a in zip(axes, plan, geometry.axes, strict=True)
        if (p.start, p.step, p.count) != (0, 1, a.size)
    }
    x = slice_axes(op, x, ranges)
    x = pad_spatial(op, x, [p.front * (p.phases > 1) for p in plan], [p.back * (p.phases > 1) for p in plan])

    split = [p.phases if p.stride == 1 else 1 for p in plan]
    strided = [(axis, p) for axis, p in zip(axes, plan, strict=True) if p.phases > 1 and p.stride > 1]
    lengths = [p.total if p.phases > 1 else p.count for p in plan]
    x = rearrange(op, x, split_steps((batch, geometry.channels, *lengths), split))
    for axis, p in strided:
        starts = [p.stride * r for r in range(p.phases)]
        cuts = [slice_axes(op, x, {axis: (s, s + (p.length - 1) * p.phases + 1, p.phases)}) for s in starts]
        x = op.Concat(*cuts, axis=0)

    own = [(p.front, p.back) if p.phases == 1 else (0, 0) for p in plan]
    x = op.Conv(
        x, w, b, group=geometry.group, kernel_shape=tuple(a.kernel for a in geometry.axes),
        strides=tuple(p.stride for p in plan), dilations=(1,) * len(plan),
        pads=(*(front for front, _ in own), *(back for _, back in own)),
    )  # fmt: skip

    # Phases come back in the reverse of the order in which they went.
    now = [p.outputs for p in plan]
    left = math.prod(p.phases for p in plan)
    for rates in [*(_only(plan, axis) for axis, _ in reversed(strided)), split]:
        now = [n * rate for n, rate in zip(now, rates, strict=True)]
        left //= math.prod(rates)
        x = rearrange(op, x, merge_steps((-1 if batch == -1 else batch * left, geometry.out_channels, *now), rates))
    crop = {axis: (0, p.keep, 1) for axis, p in zip(axes, plan, strict=True) if p.outputs * p.phases > p.keep}
    return slice_axes(op, x, crop)


def taps(op: OpBuilder, x: Any, w: Array, b: Any, geometry: ConvGeometry, *, concat: bool) -> Any:
    """A sum over the taps of 1x1 convolutions of shifted slices; works for symbolic lengths, too.

    With ``concat`` the slices are put side by side and one 1x1 convolution sums over them (groups: only 1).
    """
    axes = geometry.axes
    x = crop_negative_pads(op, x, [a.begin for a in axes], [a.end for a in axes])
    x = pad_spatial(op, x, [max(0, a.begin) for a in axes], [max(0, a.end) for a in axes])
    unit = (1,) * len(axes)
    offsets = list(itertools.product(*(range(a.kernel) for a in axes)))
    flat = w.reshape(*w.shape[:2], -1)
    cuts = []
    for offset in offsets:
        ranges = {
            axis: (a.dilation * i, -a.dilation * (a.kernel - 1 - i) or TO_END, a.stride)
            for axis, (a, i) in enumerate(zip(axes, offset, strict=True), start=2)
            if a.kernel > 1 or a.stride > 1
        }
        cuts.append(slice_axes(op, x, ranges))
    if concat:
        side_by_side = flat.transpose(0, 2, 1).reshape(w.shape[0], -1, *unit)
        return op.Conv(op.Concat(*cuts, axis=1), op.const(side_by_side), b, kernel_shape=unit)
    total = None
    for tap, cut in enumerate(cuts):
        weight = np.ascontiguousarray(flat[:, :, tap]).reshape(*w.shape[:2], *unit)
        part = op.Conv(cut, op.const(weight), b if total is None else None, kernel_shape=unit, group=geometry.group)
        total = part if total is None else op.Add(total, part)
    return total


def zero_inflate(op: OpBuilder, x: Any, w: Array, b: Any, geometry: ConvGeometry) -> Any:
    """The ordinary convolution whose kernel has zeros where the dilated one has gaps."""
    axes = geometry.axes
    x = crop_negative_pads(op, x, [a.begin for a in axes], [a.end for a in axes])
    kernel = np.zeros((*w.shape[:2], *(a.extent for a in axes)), w.dtype)
    gaps: tuple[slice, ...] = tuple(slice(None, None, a.dilation) for a in axes)
    kernel[(slice(None), slice(None), *gaps)] = w
    return op.Conv(
        x, op.const(kernel), b, group=geometry.group, kernel_shape=kernel.shape[2:],
        strides=tuple(a.stride for a in axes), dilations=(1,) * len(axes), pads=tuple(max(0, p) for p in
        geometry.pads),
    )  # fmt: skip


def _only(plan: Sequence[AxisPhases], axis: int) -> list[int]:
    return [p.phases if i == axis else 1 for i, p in enumerate(plan, start=2)]
