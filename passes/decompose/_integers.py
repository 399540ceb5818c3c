"""Products of small integers computed in fp32, exactly: an accumulator below 2**24 is a whole number there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from coregraft.passes.decompose._base import computed, constant, need, operand
from coregraft.rewriter.passes import NoMatch, OpBuilder, OpView
from coregraft.rewriter.types import Array, DType

#: Whole numbers below this are exact in fp32.
_EXACT = 1 << 24
#: Whole numbers below this fit in the int32 that ONNX accumulates in.
_FITS = 1 << 31
#: What weights are taken apart into, by preference: themselves, digits of four bits, of two bits.
_BASES = (256, 16, 4)


def centred(op: OpBuilder, node: OpView, index: int, zero_index: int, zero_shape: tuple[int, ...] | None = None) -> Any:
    """An 8-bit operand less its zero point, as fp32; ``zero_shape`` is given to a zero point that is not a scalar."""
    value, zero = need(node, index), operand(node, zero_index)
    wide = op.Cast(value, to=int(DType.FLOAT))
    if zero is None:
        return wide
    if zero_shape is not None:
        zero = op.Reshape(zero, op.const(np.array(zero_shape, np.int64)))
    return op.Sub(wide, op.Cast(zero, to=int(DType.FLOAT)))


def reach(node: OpView, index: int, zero_index: int) -> int:
    """The largest magnitude that an 8-bit operand less its zero point can have."""
    value = need(node, index)
    assert value.dtype is not None
    limits = np.iinfo(value.dtype.numpy)
    if computed(node, zero_index):
        return int(limits.max - limits.min)
    zero = constant(node, zero_index)
    least, greatest = (0, 0) if zero is None or not zero.size else (int(zero.min()), int(zero.max()))
    return max(int(limits.max) - least, greatest - int(limits.min))


def exact_product(
    op: OpBuilder, weights: Array, sums: tuple[int, ...], reached: int, product: Callable[[Any], Any]
) -> Any:
    """``product`` of constant integer weights as int32, in as many exact fp32 parts as it takes.

    Args:
        weights: whole numbers, at most 255 in magnitude.
        sums: the axes of ``weights`` that an accumulator sums over.
        reached: the largest magnitude of the other operand.
        product: inserts the fp32 op for a constant with the shape of ``weights``, and returns its result.
    """

    def bound(part: Array) -> int:
        return int(np.abs(part).sum(axis=sums).max(initial=0)) * reached

    weights = weights.astype(np.int64)
    if bound(weights) >= _FITS:
        return NoMatch("its accumulators may leave int32")
    for base in _BASES:
        parts = [weights]
        while np.abs(parts[-1]).max(initial=0) > base:
            parts[-1:] = reversed(np.divmod(parts[-1], base))
        if all(bound(part) < _EXACT for part in parts):
            return _joined(op, [product(op.const(part.astype(np.float32))) for part in parts], base)
    return NoMatch("its accumulators may leave the range in which fp32 is exact, even in parts of two bits")


def exact_computed_product(
    op: OpBuilder, weights: Any, terms: int, reached: tuple[int, int], product: Callable[[Any], Any]
) -> Any:
    """As :func:`exact_product`, for fp32 weights that are computed at run time.

    Args:
        terms: how many products an accumulator sums.
        reached: the largest magnitudes of the weights and of the other operand.
    """
    heavy, other = reached
    if terms * heavy * other >= _FITS:
        return NoMatch("its accumulators may leave int32")
    for base in _BASES:
        splits, top = 0, heavy
        while top > base:
            splits, top = splits + 1, -(-top // base)
        if terms * other * max(top, base - 1 if splits else 0) >= _EXACT:
            continue
        parts, rest = [], weights
        for _ in range(splits):
            high = op.Floor(op.Mul(rest, op.const(np.array(1 / base, np.float32))))
            parts.append(op.Sub(rest, op.Mul(high, op.const(np.array(base, np.float32)))))
            rest = high
        return _joined(op, [product(part) for part in (*parts, rest)], base)
    return NoMatch("its accumulators may leave the range in which fp32 is exact, even in parts of two bits")


def _joined(op: OpBuilder, products: Sequence[Any], base: int) -> Any:
    """The int32 number whose digits, the lowest first, the products are; negative ones are digits, too."""
    total = None
    for part in reversed(products):
        digit = op.Cast(part, to=int(DType.INT32))
        total = digit if total is None else op.Add(op.Mul(total, op.const(np.array(base, np.int32))), digit)
    return total
