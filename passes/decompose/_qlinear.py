"""QLinear ops as DequantizeLinear, the float op and QuantizeLinear."""

from __future__ import annotations

from typing import Any

from coregraft.passes.decompose._base import need
from coregraft.rewriter.passes import OpBuilder, OpView


def dequantized(op: OpBuilder, node: OpView, first: int, axis: int) -> Any:
    """Operands ``first`` (value), ``first + 1`` (scale) and ``first + 2`` (zero point) as one float value."""
    return op.DequantizeLinear(*(need(node, first + i) for i in range(3)), **_along(node, first + 1, axis))


def quantized(op: OpBuilder, node: OpView, y: Any, first: int, axis: int) -> Any:
    """``y`` quantised with operands ``first`` (scale) and ``first + 1`` (zero point)."""
    return op.QuantizeLinear(y, need(node, first), need(node, first + 1), **_along(node, first, axis))


def _along(node: OpView, scale: int, axis: int) -> dict[str, int]:
    """The axis, where there is one scale for each of its elements."""
    shape = need(node, scale).shape
    return {"axis": axis} if shape is not None and len(shape) == 1 and shape[0] != 1 else {}


def plain_scales(node: OpView, indices: tuple[int, ...]) -> bool:
    """Whether all scales are scalars or vectors: one for everything, or one for each row, column or channel."""
    shapes = [need(node, i).shape for i in indices]
    return all(shape is not None and len(shape) <= 1 for shape in shapes)
