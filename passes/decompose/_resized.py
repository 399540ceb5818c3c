"""What the rules for Resize have in common: its attributes, and the products and gathers that it becomes."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from coregraft.passes.decompose import _resample
from coregraft.passes.decompose._base import scalar
from coregraft.passes.decompose._expression import value
from coregraft.passes.decompose._resample import Axis, Mode
from coregraft.rewriter.passes import OpBuilder, OpView, ValueView
from coregraft.rewriter.types import DType

CROP = "tf_crop_and_resize"


def mode_of(node: OpView) -> Mode:
    """The attributes that decide on weights."""
    return Mode(
        node.attr("mode"),
        node.attr("coordinate_transformation_mode"),
        node.attr("nearest_mode"),
        node.attr("cubic_coeff_a"),
        node.attr("exclude_outside") == 1,
        node.attr("antialias") == 1,
    )


def chosen_axes(node: OpView, rank: int) -> list[int]:
    """The axes that scales, sizes and roi speak of, in their order."""
    return [axis % rank for axis in node.attr("axes") or range(rank)]


def refusal(x: ValueView, node: OpView) -> str:
    """Why ONNX does not say what the op makes of integers; empty where it does."""
    if x.dtype is None or x.dtype.is_float:
        return ""
    if node.attr("mode") != "nearest":
        return "how integers are rounded after interpolation is left open by ONNX"
    if node.attr("coordinate_transformation_mode") != CROP or x.dtype is DType.BOOL:
        return ""
    limits, extrapolation = np.iinfo(x.dtype.numpy), node.attr("extrapolation_value")
    return "" if limits.min <= extrapolation <= limits.max else f"{x.dtype.name.lower()} cannot hold {extrapolation}"


def resized(op: OpBuilder, x: Any, axes: Sequence[Axis], mode: Mode, extrapolation: float) -> Any:
    """``x`` with all ``axes`` resized: one Gather or one MatMul an axis, those that shrink the data most first."""
    rank = len(x.shape)
    y = x
    for axis in sorted(axes, key=lambda a: (a.out / a.size, a.index)):
        y = _gather(op, y, axis, mode) if mode.interpolation == "nearest" else _product(op, y, axis, mode, rank)
    return _extrapolated(op, y, rank, axes, mode, extrapolation) if mode.coordinates == CROP else y


def _gather(op: OpBuilder, x: Any, axis: Axis, mode: Mode) -> Any:
    return op.Gather(x, value(op, _resample.nearest(axis, mode)), axis=axis.index)


def _product(op: OpBuilder, x: Any, axis: Axis, mode: Mode, rank: int) -> Any:
    matrix = _resample.weights(axis, mode).astype(x.dtype.numpy)
    if axis.index == rank - 1:
        return op.MatMul(x, value(op, matrix.T))
    if axis.index == rank - 2:
        return op.MatMul(value(op, matrix), x)
    perm = [*(i for i in range(rank) if i != axis.index), axis.index]
    moved = op.MatMul(op.Transpose(x, perm=perm), value(op, matrix.T))
    return op.Transpose(moved, perm=np.argsort(perm).tolist())


def _extrapolated(op: OpBuilder, y: Any, rank: int, axes: Sequence[Axis], mode: Mode, extrapolation: float) -> Any:
    """``y``, with the extrapolation value wherever any axis lies outside the input."""
    along = ([-1 if i == axis.index else 1 for i in range(rank)] for axis in axes)
    places = [_resample.outside(axis, mode).reshape(*shape) for axis, shape in zip(axes, along, strict=True)]
    beyond = functools.reduce(operator.or_, places)
    if isinstance(beyond, np.ndarray) and not beyond.any():
        return y
    return op.Where(value(op, beyond), scalar(op, extrapolation, y), y)
