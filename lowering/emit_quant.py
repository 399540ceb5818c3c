"""QuantizeLinear and DequantizeLinear.

Constant weights stay small where the target can hold them so (``constexpr_*``). Values computed at run time live as
int32 between the two ops, whatever narrow type ONNX gives them; the arithmetic is ONNX's, rounding half to even.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from coregraft.lowering.registry import lower
from coregraft.lowering.vars import cast, channel_var, like, named, np_type, reshape
from coregraft.rewriter.graph import Op
from coregraft.rewriter.types import Array, DType

if TYPE_CHECKING:
    from coregraft.lowering.emitter import Emitter

#: What each compressed-constant op of MIL takes as data.
_AFFINE_TYPES = frozenset({DType.INT8, DType.UINT8})
_BLOCKWISE_TYPES = frozenset({DType.INT8, DType.UINT8, DType.INT4, DType.UINT4})
#: Integers beyond this are not all representable in fp32.
_EXACT = 1 << 24


@lower("DequantizeLinear", attrs="axis block_size output_dtype")
def dequantize_linear(b: Emitter, op: Op) -> Any:
    """``(x - zero_point) * scale``: a compressed constant, a folded one, MIL's ``dequantize``, or the arithmetic."""
    _check_output(b, op)
    weight = b.const(op.inputs[0])
    scale = b.const(op.inputs[1])
    zero = b.const(op.inputs[2]) if len(op.inputs) > 2 and op.inputs[2] else None
    if weight is not None and scale is not None and (zero is not None or not _has_zero(op)):
        return _constant(b, op, weight, scale, zero)
    return _dequantize(b, op)


@lower("QuantizeLinear", attrs="axis block_size output_dtype precision saturate")
def quantize_linear(b: Emitter, op: Op) -> Any:
    """``clip(round(x / scale) + zero_point)``, as int32; through MIL's ``quantize`` where that is the same."""
    x = cast(b, b.var(op.inputs[0]), _precision(b, op))
    kind = b.type(op.outputs[0]).dtype
    if not kind.is_integer:
        b.refuse(op, f"Core ML has no {kind.name.lower()} tensors")
    low, high = _limits(kind)
    if max(-low, high) > _EXACT:
        b.refuse(op, f"fp32 cannot hold every value of {kind.name.lower()}")
    native = _native_parameters(b, op, x, kind)
    if native is not None:
        stored = b.mb.quantize(input=x, output_dtype=kind.name.lower(), **native)
        return cast(b, stored, np.int32, b.name(op))
    scale, zero = _operand(b, op, 1, x), _operand(b, op, 2, x)
    ratio = b.mb.real_div(x=x, y=cast_like(b, scale, x))
    level = b.mb.round(x=ratio)
    if kind.bits > 8:
        level = cast(b, level, np.float32)  # fp16 counts to 2048 only
    if zero is not None:
        level = b.mb.add(x=level, y=cast_like(b, zero, level))
    return cast(b, b.mb.clip(x=level, alpha=like(level, low), beta=like(level, high)), np.int32, b.name(op))


def cast_like(b: Emitter, value: Any, var: Any) -> Any:
    """An array or a var in the element type of ``var``."""
    return like(var, value) if isinstance(value, np.ndarray) else cast(b, value, np_type(var))


def _has_zero(op: Op) -> bool:
    return len(op.inputs) > 2 and bool(op.inputs[2])


def _check_output(b: Emitter, op: Op) -> None:
    declared = b.attr(op, "output_dtype")
    if declared and DType(declared) is not b.type(op.outputs[0]).dtype:
        b.refuse(op, f"output_dtype is {DType(declared).name.lower()}, but its result is {b.type(op.outputs[0])}")


def _precision(b: Emitter, op: Op) -> np.dtype[Any]:
    """The element type that ONNX divides in: what ``precision`` says, else the scale's."""
    from coregraft.lowering.emitter import canonical

    precision = b.attr(op, "precision")
    return canonical(DType(precision), op.label).numpy if precision else b.dtype(op.inputs[1]).numpy


def _limits(kind: DType) -> tuple[int, int]:
    """Least and greatest value of an integer type."""
    signed = kind.name.startswith("INT")
    return (-(1 << (kind.bits - 1)), (1 << (kind.bits - 1)) - 1) if signed else (0, (1 << kind.bits) - 1)


def _constant(b: Emitter, op: Op, weight: Array, scale: Array, zero: Array | None) -> Any:
    """A dequantised constant: kept compressed for a target that can, else computed now."""
    kind = b.type(op.inputs[0]).dtype
    result = b.dtype(op.outputs[0]).numpy
    axis = b.attr(op, "axis") % max(weight.ndim, 1)
    block = b.attr(op, "block_size")
    small = weight.size > 1 and _survives(scale, result)
    if small and kind in _AFFINE_TYPES and not block and b.since("iOS16"):
        zero = np.zeros(scale.shape, weight.dtype) if zero is None else zero
        scalar = scale.size == 1
        return b.mb.constexpr_affine_dequantize(
            quantized_data=weight,
            scale=scale.astype(result).reshape(() if scalar else (-1,))[()],
            zero_point=zero.reshape(() if scalar else (-1,))[()],
            axis=np.int32(axis),
            name=b.name(op),
        )
    if small and kind in _BLOCKWISE_TYPES and b.since("iOS18") and not (block and weight.shape[axis] % block):
        return _blockwise(b, op, weight, scale.astype(result), zero, axis)
    wide = weight.astype(np.float32)
    if zero is not None:
        wide = wide - _spread(zero, weight.shape, axis, block).astype(np.float32)
    folded = wide * _spread(scale, weight.shape, axis, block).astype(np.float32)
    return b.mb.const(val=folded.astype(result)[()], name=b.name(op))


def _survives(scale: Array, dtype: np.dtype[Any]) -> bool:
    """Whether the scales keep their precision in the element type of the result: fp16 has none left below 6e-5."""
    finite = np.abs(scale.astype(np.float64))
    limits = np.finfo(dtype)
    return bool(((finite == 0) | ((finite >= limits.tiny) & (finite <= limits.max))).all())


def _blockwise(b: Emitter, op: Op, weight: Array, scale: Array, zero: Array | None, axis: int) -> Any:
    """``constexpr_blockwise_shift_scale``: scales of the weight's own rank, one per block."""
    shape = scale.shape if scale.ndim == weight.ndim else [1] * weight.ndim
    if scale.ndim != weight.ndim and scale.size > 1:
        shape = [scale.size if i == axis else 1 for i in range(weight.ndim)]
    extra = {} if zero is None else {"offset": _storable(zero.reshape(shape))}
    return b.mb.constexpr_blockwise_shift_scale(
        data=_storable(weight), scale=scale.reshape(shape), **extra, name=b.name(op)
    )


def _storable(array: Array) -> Array:
    """An array in a numpy type that coremltools stores as it is: its 4-bit types carry their width as metadata."""
    from coremltools.converters.mil.mil import types

    if array.dtype.name not in ("int4", "uint4"):
        return array
    builtin = types.int4 if array.dtype.name == "int4" else types.uint4
    return array.astype(np.int8).astype(types.nptype_from_builtin(builtin))


def _spread(values: Array, shape: tuple[int, ...], axis: int, block: int) -> Array:
    """Scales or zero points so that they broadcast against data of ``shape``."""
    if values.ndim == 0 or values.size == 1:
        return values.reshape(())
    if not block:
        return values.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return np.repeat(values, block, axis=axis)[tuple(slice(0, n) for n in shape)]


def _operand(b: Emitter, op: Op, i: int, x: Any) -> Any:
    """Scale or zero point of an op on ``x``, shaped to broadcast; None when omitted."""
    if i >= len(op.inputs) or not op.inputs[i]:
        return None
    rank = x.rank
    axis = b.attr(op, "axis") % max(rank, 1)
    block = b.attr(op, "block_size")
    values = b.const(op.inputs[i])
    if values is not None:
        wide = values.astype(np.float32 if i == 1 else np.int32)
        return _spread(wide, b.shape(op.inputs[0]) if block else (0,) * rank, axis, block)
    var = b.var(op.inputs[i])
    if block:
        return _spread_var(b, var, b.shape(op.inputs[0]), axis, block)
    if var.rank == 0 or var.shape == (1,):
        return var if var.rank == 0 else b.mb.squeeze(x=var, axes=[0])
    return channel_var(b, var, rank, axis)


def _spread_var(b: Emitter, values: Any, shape: tuple[int, ...], axis: int, block: int) -> Any:
    """As :func:`_spread`, for blocks whose values are computed at run time: each is repeated along the axis."""
    before, after = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    n_blocks = int(values.shape[axis])
    column = reshape(b, values, (before, n_blocks, 1, after))
    wide = b.mb.tile(x=column, reps=np.array((1, 1, block, 1), np.int32))
    rows = reshape(b, wide, (before, n_blocks * block, after))
    if n_blocks * block > shape[axis]:
        end = np.array((before, shape[axis], after), np.int32)
        rows = b.mb.slice_by_index(x=rows, begin=np.zeros(3, np.int32), end=end)
    return reshape(b, rows, shape)


def _native_parameters(b: Emitter, op: Op, x: Any, kind: DType) -> dict[str, Any] | None:
    """The arguments of MIL's ``quantize`` and ``dequantize``; None where the op has to be composed."""
    scale = b.const(op.inputs[1])
    zero = b.const(op.inputs[2]) if _has_zero(op) else None
    known = scale is not None and (zero is not None or not _has_zero(op))
    if not known or kind not in _AFFINE_TYPES or b.attr(op, "block_size") or not b.since("iOS17") or x.rank == 0:
        return None
    assert scale is not None
    scale = scale.astype(_precision(b, op)) if op.type == "QuantizeLinear" else scale
    if scale.size == 1:
        found: dict[str, Any] = {"scale": scale.reshape(())[()]}
    else:
        found = {"scale": scale, "axis": np.int32(b.attr(op, "axis") % x.rank)}
    if zero is not None:
        found["zero_point"] = zero.reshape(())[()] if scale.size == 1 else zero
    return found


def _dequantize(b: Emitter, op: Op) -> Any:
    """Dequantise a value computed at run time; one that MIL's ``quantize`` made is taken before its cast to int32."""
    x = b.var(op.inputs[0])
    kind = b.type(op.inputs[0]).dtype
    result = b.dtype(op.outputs[0]).numpy
    stored = x.op.x if x.op is not None and x.op.op_type == "cast" else None
    if stored is not None and np_type(stored).name == kind.name.lower():
        native = _native_parameters(b, op, stored, kind)
        if native is not None:
            native["scale"] = native["scale"].astype(result)
            return b.mb.dequantize(input=stored, **native, name=b.name(op))
    wide = cast(b, x, np.float32)
    zero = _operand(b, op, 2, x)
    if zero is not None:
        wide = b.mb.sub(x=wide, y=cast_like(b, zero, wide))
    scale = cast_like(b, _operand(b, op, 1, x), wide)
    done = result == np_type(wide)
    y = b.mb.mul(x=wide, y=scale, **named(b.name(op) if done else None))
    return y if done else cast(b, y, result, b.name(op))
