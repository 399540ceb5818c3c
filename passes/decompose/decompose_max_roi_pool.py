"""MaxRoiPool as the greatest element under masks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose._base import Decomposition, ints, need, scalar
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView, ValueView
from coregraft.rewriter.types import DType


@dataclass(frozen=True)
class DecomposeMaxRoiPool(Decomposition):
    """Write MaxRoiPool as maxima over the columns and then the rows of each bin.

    What it does
    ------------
    Which columns belong to a bin is computed from its region, as a mask; the greatest element under it is taken for
    every column of bins, and from these for every row. Corners are rounded half away from zero, a region has at least
    one pixel, bins reach from the floor to the ceiling of their ends, and one without a pixel in the image gives 0, as
    in onnxruntime. All shapes must be known. Fires where the target has no lowering for the op.

    Why it matters
    --------------
    Core ML pools by windows that are fixed when it compiles a model; its ``crop_resize`` interpolates.

    Example
    -------
    ``y = MaxRoiPool <pooled_shape = [1, 2]> (x, rois)`` becomes twice ``ReduceMax(Where(columns, x, lowest), [3])``,
    joined, and once the same over the rows.

    Equivalence
    -----------
    Bit-exact as long as the ends of the bins are divided and multiplied as IEEE 754 says.

    Options
    -------
    max-elements: most elements of the image once for each region, which is what one step of it computes.

    Sources
    -------
    H4.24, H3.21; ONNX MaxRoiPool-22; onnxruntime for rounding and empty bins.
    """

    code: ClassVar[str] = "CG424"
    equivalence: ClassVar[Equivalence] = Equivalence.BIT_EXACT
    roots: ClassVar[tuple[str, ...]] = ("MaxRoiPool",)
    when_unsupported: ClassVar[bool] = True
    ranks: ClassVar[range] = range(4, 5)
    max_elements: int = 1 << 26

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x, rois = need(node, 0), need(node, 1)
        if x.static_shape is None or rois.static_shape is None or x.dtype is None:
            return NoMatch("the shape of the image or the number of regions is not known")
        if math.prod(x.static_shape[1:]) * rois.static_shape[0] > self.max_elements:
            return NoMatch("the image once for each region is more than max-elements={}", self.max_elements)
        batch, *corners = op.Split(rois, ints(op, [1] * 5), axis=1, _outputs=5)
        left, top, right, bottom = (
            _rounded(op, op.Mul(corner, scalar(op, node.attr("spatial_scale"), rois))) for corner in corners
        )
        (out_height, out_width), (height, width) = node.attr("pooled_shape"), x.static_shape[2:]
        rows, columns = _bins(op, top, bottom, out_height, height), _bins(op, left, right, out_width, width)
        image = x
        if x.static_shape[0] != 1:
            image = op.Gather(x, op.Cast(op.Reshape(batch, ints(op, [-1])), to=int(DType.INT64)), axis=0)
        by_column = _greatest(op, image, [op.Unsqueeze(m, ints(op, [1, 2])) for m in columns], 3)
        found = _greatest(op, by_column, [op.Unsqueeze(m, ints(op, [1, 3])) for m in rows], 2)
        # A bin without a pixel is all lowest.
        return op.Where(op.Equal(found, _lowest(op, x)), scalar(op, 0, x), found)


def _lowest(op: OpBuilder, like: ValueView) -> Any:
    assert like.dtype is not None
    return op.const(np.array(np.finfo(like.dtype.numpy).min))


def _rounded(op: OpBuilder, values: Any) -> Any:
    """To the nearest whole number, halves away from zero."""
    size = op.Abs(values)
    whole = op.Floor(size)
    up = op.Cast(op.GreaterOrEqual(op.Sub(size, whole), scalar(op, 0.5, values)), to=int(values.dtype))
    return op.Mul(op.Sign(values), op.Add(whole, up))


def _bins(op: OpBuilder, first: Any, last: Any, out: int, size: int) -> list[Any]:
    """Which places of one axis are in each bin: bool [regions, size] each. ``first`` and ``last`` are [regions, 1]."""
    one = scalar(op, 1, first)
    step = op.Div(op.Max(op.Add(op.Sub(last, first), one), one), scalar(op, out, first))
    places = op.const(np.arange(size, dtype=first.dtype.numpy)[None])
    found = []
    for i in range(out):
        low = op.Add(op.Floor(op.Mul(step, scalar(op, i, first))), first)
        high = op.Add(op.Ceil(op.Mul(step, scalar(op, i + 1, first))), first)
        found.append(op.And(op.GreaterOrEqual(places, low), op.Less(places, high)))
    return found


def _greatest(op: OpBuilder, image: Any, masks: list[Any], axis: int) -> Any:
    """The greatest element under each mask along an axis, joined along it."""
    lowest = _lowest(op, image)
    parts = [op.ReduceMax(op.Where(mask, image, lowest), ints(op, [axis])) for mask in masks]
    return op.Concat(*parts, axis=axis) if len(parts) > 1 else parts[0]
