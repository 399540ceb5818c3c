"""QLinear ops as DequantizeLinear, the float op and QuantizeLinear; as plain arithmetic where scales broadcast."""

from __future__ import annotations

from typing import Any

import numpy as np

from coregraft.passes.decompose._base import need, scalar
from coregraft.rewriter.passes import OpBuilder, OpView, ValueView


def dequantized(op: OpBuilder, node: OpView, first: int, axis: int | None) -> Any:
    """Operands ``first`` (value), ``first + 1`` (scale) and ``first + 2`` (zero point) as one float value.

    Args:
        axis: the axis that a vector of scales is for; scales of more axes broadcast.
    """
    value, scale, zero = (need(node, first + i) for i in range(3))
    if _is_plain(scale):
        return op.DequantizeLinear(value, scale, zero, **_along(scale, axis))
    assert scale.dtype is not None
    kind = int(scale.dtype)
    return op.Mul(op.Sub(op.Cast(value, to=kind), op.Cast(zero, to=kind)), scale)


def quantized(op: OpBuilder, node: OpView, y: Any, first: int, axis: int | None) -> Any:
    """``y`` quantised with operands ``first`` (scale) and ``first + 1`` (zero point)."""
    scale, zero = need(node, first), need(node, first + 1)
    if _is_plain(scale):
        return op.QuantizeLinear(y, scale, zero, **_along(scale, axis))
    assert scale.dtype is not None and zero.dtype is not None
    limits = np.iinfo(zero.dtype.numpy)
    level = op.Add(op.Round(op.Div(y, scale)), op.Cast(zero, to=int(scale.dtype)))
    held = op.Clip(level, *(scalar(op, float(limit), level) for limit in (limits.min, limits.max)))
    return op.Cast(held, to=int(zero.dtype))


def has_scale(node: OpView, index: int, axis: int | None, max_rank: int = 1) -> bool:
    """Whether a scale is one number, a vector along an axis, or of up to ``max_rank`` axes to broadcast."""
    shape = need(node, index).static_shape
    return shape in ((), (1,)) or (shape is not None and axis is not None and len(shape) <= max_rank)


def _is_plain(scale: ValueView) -> bool:
    """Whether there is one scale, or a vector of them, as DequantizeLinear has them."""
    return scale.rank is not None and scale.rank <= 1


def _along(scale: ValueView, axis: int | None) -> dict[str, int]:
    """The axis, where there is one scale for each of its elements."""
    return {"axis": axis} if axis is not None and scale.static_shape not in ((), (1,)) else {}
