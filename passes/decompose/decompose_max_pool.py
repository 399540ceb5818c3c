"""MaxPool with dilation, or with indices, as the maximum of shifted slices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose import _windows
from coregraft.passes.decompose._base import Decomposition, ints, need, wants
from coregraft.passes.decompose._windows import PoolAxis
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView
from coregraft.rewriter.target import Target
from coregraft.rewriter.types import DType


@dataclass(frozen=True)
class DecomposeMaxPool(Decomposition):
    """Write a MaxPool that Core ML does not have as the maximum of shifted slices.

    What it does
    ------------
    Pads with the lowest number of the type so that every window fits (which settles ``ceil_mode``), and takes the
    maximum of one strided slice per tap, axis by axis: a 3x3 window costs 3 + 3 slices. When the ``Indices`` output
    is read, all taps of a window are laid side by side instead; ArgMax tells which one it was, and a constant table
    where that tap lies, in row- or column-major order. Integers go through fp32, which holds 8 bits. Fires for
    Core ML targets, where there are dilations or the indices are read. Spatial sizes must be known, pads explicit.

    Why it matters
    --------------
    Core ML's pools have no dilation, and its max pool has one output.

    Example
    -------
    ``y = MaxPool <kernel_shape = [2], dilations = [3]> (x)`` of 8 elements becomes ``y = Max(x[0:5], x[3:8])``.

    Equivalence
    -----------
    Bit-exact.

    Sources
    -------
    H4.11; ONNX MaxPool-22.
    """

    code: ClassVar[str] = "CG411"
    equivalence: ClassVar[Equivalence] = Equivalence.BIT_EXACT
    roots: ClassVar[tuple[str, ...]] = ("MaxPool",)

    def wanted(self, node: OpView, target: Target) -> bool:
        return target.ops is not None and (max(node.attr("dilations") or (1,)) > 1 or wants(node, 1))

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x = need(node, 0)
        axes = _windows.pool_axes(node)
        if isinstance(axes, NoMatch):
            return axes
        if x.dtype is None:
            return NoMatch("the type of the input is not known")
        read = wants(node, 1)
        if read and x.static_shape is None:
            return NoMatch("its indices are read, and the shape of the input is not known")
        if not read and any(node.op.outputs[1:]):
            return NoMatch("its unused Indices are still there")
        dtype = x.dtype if x.dtype.is_float else DType.FLOAT
        source = x if dtype is x.dtype else op.Cast(x, to=int(dtype))
        lowest = np.array(np.finfo(dtype.numpy).min, dtype.numpy)
        wide = _windows.padded(op, source, axes, op.const(lowest))
        places = None
        if read:
            assert x.static_shape is not None
            y, places = _with_indices(op, wide, axes, x.static_shape, column_major=node.attr("storage_order") == 1)
        else:
            y = _windows.over_windows(op, wide, axes, lambda slices: op.Max(*slices))
        y = y if x.dtype.is_float else op.Cast(y, to=int(x.dtype))
        return tuple(value for value, name in zip((y, places), node.op.outputs, strict=False) if name)


def _with_indices(
    op: OpBuilder, wide: Any, axes: Sequence[PoolAxis], shape: Sequence[int], column_major: bool
) -> tuple[Any, Any]:
    columns = [wide]
    for i, axis in enumerate(axes):
        columns = [piece for column in columns for piece in _windows.taps(op, column, axis, i + 2)]
    # Planes and windows are one axis each: the taps are a third, whatever the rank is.
    planes, out = shape[0] * shape[1], [axis.out for axis in axes]
    flat = ints(op, [planes, math.prod(out), 1])
    stacked = op.Concat(*(op.Reshape(column, flat) for column in columns), axis=2)
    y = op.Reshape(op.ReduceMax(stacked, ints(op, [2]), keepdims=0), ints(op, [*shape[:2], *out]))
    # A window's first tap wins among equals, in the order of the window whatever the storage order is.
    which = op.ArgMax(stacked, axis=2, keepdims=0)
    table = _windows.flat_positions(axes, column_major)
    row = np.arange(math.prod(out), dtype=np.int64) * table.shape[-1]
    place = op.Gather(op.const(table.ravel()), op.Add(which, op.const(row)), axis=0)
    plane = np.arange(planes, dtype=np.int64)[:, None] * math.prod(shape[2:])
    return y, op.Reshape(op.Add(place, op.const(plane)), ints(op, [*shape[:2], *out]))
