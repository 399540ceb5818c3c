"""Bit operations by integer arithmetic: Core ML has none of its own (H4.26)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from coregraft.lowering import integers
from coregraft.lowering.registry import lower
from coregraft.lowering.shaping import broadcast_to, to_shape
from coregraft.lowering.sizes import broadcast_sizes
from coregraft.lowering.vars import named, reshape
from coregraft.rewriter.graph import Op

if TYPE_CHECKING:
    from coregraft.lowering.emitter import Emitter

@lower("BitwiseNot")
def bitwise_not(b: Emitter, op: Op) -> Any:
    """``-x - 1``; for an unsigned type, the greatest number less x."""
    x, dtype = b.var(op.inputs[0]), b.type(op.inputs[0]).dtype
    integers.need_bits(b, op, dtype.bits)
    if not integers.is_unsigned(dtype):
        return b.mb.sub(x=np.int32(-1), y=x, name=b.name(op))
    if not integers.is_narrow(dtype):
        b.refuse(op, f"its result does not fit into int32, which stands in for {dtype.name.lower()}")
    return b.mb.sub(x=np.int32(integers.limits(dtype)[1]), y=x, name=b.name(op))


@lower("BitwiseAnd", "BitwiseOr", "BitwiseXor")
def bitwise(b: Emitter, op: Op) -> Any:
    """Bit by bit along a new last axis, then weighed and summed."""
    mb, dtype = b.mb, b.type(op.outputs[0]).dtype
    integers.need_bits(b, op, dtype.bits)
    operands = [b.var(value) for value in op.inputs]
    shape = broadcast_sizes(b, operands)
    flat = len(shape) > 4  # the bits need an axis of their own
    if flat:
        operands = [reshape(b, broadcast_to(b, var, shape), (-1,)) for var in operands]
    name = None if flat else b.name(op)
    # A 32-bit two's complement number has 31 bits and its sign; every wider type is held in int32.
    bits = dtype.bits if integers.is_narrow(dtype) else 31
    weights = np.int32(1) << np.arange(bits, dtype=np.int32)
    x, y = (_bits(b, var, weights) for var in operands)
    total = mb.reduce_sum(x=mb.mul(x=_combine(b, op, x, y), y=weights), axes=np.array([-1], np.int32), keep_dims=False)
    if integers.is_unsigned(dtype):
        return to_shape(b, total, shape, b.name(op))
    sign_x, sign_y = (mb.cast(x=mb.less(x=var, y=np.int32(0)), dtype="int32") for var in operands)
    # The sign bit weighs -2^31, or with a narrow type -2^bits below the bits already summed.
    sign = mb.mul(x=_combine(b, op, sign_x, sign_y), y=np.int32(-(2**bits) if bits < 31 else -(2**31)))
    found = mb.add(x=total, y=sign, **named(name))
    return to_shape(b, found, shape, b.name(op)) if flat else found


def _bits(b: Emitter, x: Any, weights: Any) -> Any:
    """The bits of an int32 var along a new last axis; ``floor_div`` keeps two's complement for negatives."""
    mb = b.mb
    shifted = mb.floor_div(x=mb.expand_dims(x=x, axes=np.array([-1], np.int32)), y=weights)
    return mb.sub(x=shifted, y=mb.mul(x=mb.floor_div(x=shifted, y=np.int32(2)), y=np.int32(2)))


def _combine(b: Emitter, op: Op, x: Any, y: Any) -> Any:
    if op.type == "BitwiseAnd":
        return b.mb.mul(x=x, y=y)
    if op.type == "BitwiseOr":
        return b.mb.maximum(x=x, y=y)
    return b.mb.cast(x=b.mb.not_equal(x=x, y=y), dtype="int32")


@lower("BitShift", attrs="direction")
def bit_shift(b: Emitter, op: Op) -> Any:
    """Multiplication or division by powers of two. A shift by the width or more, or by less than 0, loses every bit."""
    x, dtype = b.var(op.inputs[0]), b.type(op.inputs[0]).dtype
    integers.need_bits(b, op, dtype.bits)
    right = b.attr(op, "direction") in ("RIGHT", b"RIGHT")
    if not integers.is_narrow(dtype):
        emit = b.mb.floor_div if right else b.mb.mul
        # 2^31 is no int32: two steps, of up to 30 bits and of up to 2.
        first = emit(x=x, y=_looked_up(b, op, [2 ** min(n, 30) for n in range(33)]))
        return emit(x=first, y=_looked_up(b, op, [2 ** max(n - 30, 0) for n in range(33)]), name=b.name(op))
    bits = dtype.bits
    power = _looked_up(b, op, [2**n for n in range(bits + 1)])
    if right:
        return b.mb.floor_div(x=x, y=power, name=b.name(op))
    # Drop the bits that fall off before they are multiplied; twice mod, for negative x under either rule of signs.
    stay = _looked_up(b, op, [2 ** (bits - n) for n in range(bits + 1)])
    kept = b.mb.mod(x=b.mb.add(x=b.mb.mod(x=x, y=stay), y=stay), y=stay)
    return integers.wrap(b, b.mb.mul(x=kept, y=power), dtype, 0, 2**bits - 1, b.name(op))


def _looked_up(b: Emitter, op: Op, table: list[int]) -> Any:
    """The table at the number of bits to shift by; its last entry for what is out of it."""
    last, entries = len(table) - 1, np.array(table, np.int32)
    by = b.const(op.inputs[1])
    if by is not None:
        found = entries[np.where((by < 0) | (by > last), last, by).astype(np.int64)]
        return found if found.ndim else found[()]
    shift = b.mb.minimum(x=b.var(op.inputs[1]), y=np.int32(last))
    index = b.mb.select(cond=b.mb.less(x=shift, y=np.int32(0)), a=np.int32(last), b=shift)
    return b.mb.gather(x=entries, indices=index, axis=0)
