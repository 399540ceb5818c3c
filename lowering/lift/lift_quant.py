"""Quantisation at run time, and the ``constexpr_*`` ops: weights that are stored small and meant in full.

The latter become constants that are expanded when somebody reads them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from coregraft.lowering.lift.operands import ints, scalar
from coregraft.lowering.lift.registry import lifts
from coregraft.lowering.lift.spec import unpack_bits
from coregraft.rewriter.types import Array, Const, DType

if TYPE_CHECKING:
    from coregraft.lowering.lift.lifter import Lifter
    from coregraft.lowering.lift.spec import MilOp


@lifts("quantize", moves=True)
def quantize(l: Lifter, op: MilOp) -> None:
    """``QuantizeLinear``: ``clip(round(input / scale) + zero_point)``."""
    kind = l.out_type(op).dtype
    zero = l.value(op, "zero_point")
    if zero is None:
        zero = l.literal(np.zeros(l.shape(op, "scale"), kind.numpy))
    l.emit("QuantizeLinear", [l.operand(op, "input"), l.operand(op, "scale"), zero], _axis(l, op), [l.out(op)])


@lifts("dequantize")
def dequantize(l: Lifter, op: MilOp) -> None:
    """``DequantizeLinear``: ``scale * (input - zero_point)``."""
    inputs = [l.operand(op, "input"), l.operand(op, "scale"), l.value(op, "zero_point")]
    l.emit("DequantizeLinear", inputs, _axis(l, op), [l.out(op)])


def _axis(l: Lifter, op: MilOp) -> dict[str, int] | None:
    return {"axis": int(scalar(l, op, "axis"))} if l.has(op, "axis") else None


@lifts("constexpr_cast")
def constexpr_cast(l: Lifter, op: MilOp) -> None:
    """fp16 as fp32."""
    source = _held(l, op, "source_val")
    _define(l, op, 0, source.numpy)


@lifts("constexpr_affine_dequantize")
def constexpr_affine_dequantize(l: Lifter, op: MilOp) -> None:
    """``scale * (quantized_data - zero_point)``, with one of each, or one per slice along ``axis``."""
    data, scale, zero = (_held(l, op, key) for key in ("quantized_data", "scale", "zero_point"))
    axis = int(scalar(l, op, "axis")) % len(data.shape)
    shape = [-1 if i == axis else 1 for i in range(len(data.shape))]

    def expand() -> Array:
        factor, shift = (v.numpy().reshape(shape if v.shape else ()) for v in (scale, zero))
        return np.asarray((data.numpy().astype(np.float32) - shift) * factor)

    _define(l, op, 0, expand)


@lifts("constexpr_blockwise_shift_scale")
def constexpr_blockwise_shift_scale(l: Lifter, op: MilOp) -> None:
    """``scale * (data - offset)``, one scale and offset per block."""
    data, scale = _held(l, op, "data"), _held(l, op, "scale")
    offset = _held(l, op, "offset") if l.has(op, "offset") else None
    _define(l, op, 0, lambda: _shift_scale(data.numpy(), scale, offset))


@lifts("constexpr_lut_to_dense")
def constexpr_lut_to_dense(l: Lifter, op: MilOp) -> None:
    """Entries of a table. Before iOS 18 the indices are packed and the table is flat."""
    indices, table = _held(l, op, "indices"), _held(l, op, "lut")
    if l.has(op, "shape"):
        shape = ints(l, op, "shape")
        bits = (table.size - 1).bit_length()
        size = math.prod(shape)
        _define(l, op, 0, lambda: table.numpy()[unpack_bits(indices.numpy().tobytes(), bits, size)].reshape(shape))
        return
    axis = _vector_axis(l, op, table, len(indices.shape))
    _define(l, op, 0, lambda: _look_up(indices.numpy(), table.numpy(), axis))


@lifts("constexpr_sparse_to_dense")
def constexpr_sparse_to_dense(l: Lifter, op: MilOp) -> None:
    """Values where the mask is set, zeros elsewhere. Before iOS 18 the mask is packed."""
    stored, mask = _held(l, op, "nonzero_data"), _held(l, op, "mask")
    if l.has(op, "shape"):
        shape = ints(l, op, "shape")
        size = math.prod(shape)
        _define(l, op, 0, lambda: _scatter(stored, unpack_bits(mask.numpy().tobytes(), 1, size).reshape(shape)))
        return
    _define(l, op, 0, lambda: _scatter(stored, mask.numpy()))


@lifts("constexpr_lut_to_sparse")
def constexpr_lut_to_sparse(l: Lifter, op: MilOp) -> None:
    """The mask of the expanded values, and those of them that are stored, both for ``constexpr_sparse_to_dense``."""
    mask, stored, table = (_held(l, op, key) for key in ("indices_mask", "indices_nonzero_data", "lut"))
    width = table.shape[-1]
    axis = _vector_axis(l, op, table, len(mask.shape))

    def widened() -> Array:
        return mask.numpy() if axis is None else np.asarray(np.repeat(mask.numpy(), width, axis=axis))

    _define(l, op, 0, widened)
    _define(l, op, 1, lambda: _look_up(_scatter(stored, mask.numpy()), table.numpy(), axis)[widened() != 0])


@lifts("constexpr_sparse_blockwise_shift_scale")
def constexpr_sparse_blockwise_shift_scale(l: Lifter, op: MilOp) -> None:
    """The mask as it is, and ``scale * (data - offset)`` of what is stored."""
    mask, stored, scale = (_held(l, op, key) for key in ("data_mask", "nonzero_data", "scale"))
    offset = _held(l, op, "offset") if l.has(op, "offset") else None
    _define(l, op, 0, mask.numpy)

    def expand() -> Array:
        present = mask.numpy()
        return np.asarray(_shift_scale(_scatter(stored, present), scale, offset)[present != 0])

    _define(l, op, 1, expand)


def _held(l: Lifter, op: MilOp, key: str) -> Const:
    const = l.held(op, key)
    if const is None:
        l.refuse(op, f'its "{key}" is {"computed at run time" if l.has(op, key) else "absent"}')
    return const


def _define(l: Lifter, op: MilOp, i: int, expand: Callable[[], Array]) -> None:
    """Make result ``i`` a constant, in the declared type, rounded to fp16 where that is simulated."""
    kind, shape = l.out_type(op, i).dtype, l.out_type(op, i).static_shape
    if shape is None:
        l.refuse(op, "the shape of its result is not fixed")
    stored = DType.FLOAT if kind is DType.FLOAT16 and not l.simulates else kind

    def values() -> Array:
        with np.errstate(over="ignore"):
            return expand().astype(stored.numpy)

    l.define(op, Const(stored, shape, values), i)


def _vector_axis(l: Lifter, op: MilOp, table: Const, rank: int) -> int | None:
    """The axis along which entries of more than one element lie; None for scalars."""
    if table.shape[-1] == 1:
        return None
    return int(l.need(op, "vector_axis")) % rank


def _look_up(indices: Array, table: Array, axis: int | None) -> Array:
    """Entries of the table that belongs to each block: indices [*I], tables [*blocks, entries, width]."""
    steps = [n // blocks for n, blocks in zip(indices.shape, table.shape, strict=False)]
    where = np.ix_(*(np.arange(n) // step for n, step in zip(indices.shape, steps, strict=True)))
    found = table[(*where, indices.astype(np.int64))]
    if axis is None:
        return np.asarray(found[..., 0])
    shape = [n * (table.shape[-1] if i == axis else 1) for i, n in enumerate(indices.shape)]
    return np.asarray(np.moveaxis(found, -1, axis + 1).reshape(shape))


def _shift_scale(data: Array, scale: Const, offset: Const | None) -> Array:
    def spread(values: Array) -> Array:
        for axis, (n, blocks) in enumerate(zip(data.shape, values.shape, strict=True)):
            values = np.repeat(values, n // blocks, axis=axis) if blocks not in (1, n) else values
        return values.astype(np.float32)

    shifted = data.astype(np.float32)
    if offset is not None:
        shifted = shifted - spread(offset.numpy())
    return np.asarray(shifted * spread(scale.numpy()))


def _scatter(stored: Const, mask: Array) -> Array:
    dense = np.zeros(mask.shape, stored.dtype.numpy)
    dense[mask != 0] = stored.numpy()
    return dense
