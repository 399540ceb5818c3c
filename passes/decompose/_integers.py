"""Products of small integers computed in fp32, exactly: an accumulator below 2**24 is a whole number there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from coregraft.passes.decompose._base import operand
from coregraft.rewriter.passes import NoMatch, OpBuilder, OpView
from coregraft.rewriter.types import Array, DType

#: Whole numbers up to here are exact in fp32.
EXACT = 1 << 24
#: Largest magnitude of an 8-bit value less its zero point.
REACH = 255
_DIGIT = 16


def centred(op: OpBuilder, node: OpView, index: int, zero_index: int, zero_shape: tuple[int, ...] | None = None) -> Any:
    """An 8-bit operand less its zero point, as fp32; ``zero_shape`` is given to a zero point that is not a scalar."""
    value, zero = operand(node, index), operand(node, zero_index)
    assert value is not None
    wide = op.Cast(value, to=int(DType.FLOAT))
    if zero is None:
        return wide
    if zero_shape is not None:
        zero = op.Reshape(zero, op.const(np.array(zero_shape, np.int64)))
    return op.Sub(wide, op.Cast(zero, to=int(DType.FLOAT)))


def exact_product(op: OpBuilder, weights: Array, sums: tuple[int, ...], product: Callable[[Any], Any]) -> Any:
    """``product`` of constant integer weights as int32, in as many exact fp32 parts as it takes (one or two).

    Args:
        weights: whole numbers, at most 255 in magnitude.
        sums: the axes of ``weights`` that an accumulator sums over.
        product: inserts the fp32 op for a constant with the shape of ``weights``, and returns its result.

    Two parts: w = 16·high + low, the products of both put together again as integers.
    """
    if _bound(weights, sums) < EXACT:
        return op.Cast(product(op.const(weights.astype(np.float32))), to=int(DType.INT32))
    high, low = np.divmod(weights, _DIGIT)
    if max(_bound(high, sums), _bound(low, sums)) >= EXACT:
        return NoMatch("its accumulators may leave the range in which fp32 is exact, even in two parts")
    parts = [op.Cast(product(op.const(part.astype(np.float32))), to=int(DType.INT32)) for part in (high, low)]
    return op.Add(op.Mul(parts[0], op.const(np.array(_DIGIT, np.int32))), parts[1])


def _bound(weights: Array, sums: tuple[int, ...]) -> int:
    """The largest accumulator there can be."""
    return int(np.abs(weights.astype(np.int64)).sum(axis=sums).max(initial=0)) * REACH
