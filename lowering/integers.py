"""Integer arithmetic as ONNX has it, on MIL's only wide integer: int32.

Narrow types (int8, uint16, …) are held in int32 and wrapped to their width after an op that can leave it.
32- and 64-bit types are taken to stay within int32, as all of Core ML takes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from coregraft.lowering.sizes import Size, is_known, run_time, vector
from coregraft.lowering.vars import named, np_type
from coregraft.rewriter.graph import Op
from coregraft.rewriter.types import DType

if TYPE_CHECKING:
    from coregraft.lowering.emitter import Emitter

#: Ops whose result is never negative, whatever they are given, by the result's number.
_NON_NEGATIVE = frozenset(
    {("ArgMax", 0), ("ArgMin", 0), ("TopK", 1), ("NonZero", 0), ("Shape", 0), ("Size", 0), ("Abs", 0), ("Relu", 0)}
)
#: Ops that only move or select the elements of these operands.
_MOVES = {
    "Identity": (0,), "Reshape": (0,), "Squeeze": (0,), "Unsqueeze": (0,), "Flatten": (0,), "Transpose": (0,),
    "Expand": (0,), "Tile": (0,), "Slice": (0,), "Gather": (0,), "GatherElements": (0,), "GatherND": (0,),
    "Split": (0,), "Where": (1, 2), "Cast": (0,),
}  # fmt: skip
#: Bits of an integer that fp32 holds exactly.
_FLOAT_BITS = 24
_ALL_OPERANDS = frozenset({"Add", "Mul", "Concat", "Min", "Sum", "ReduceSum", "ReduceMax", "ReduceMin"})


def is_unsigned(dtype: DType) -> bool:
    """Whether an integer type has no negative numbers."""
    return dtype.name.startswith("UINT")


def limits(dtype: DType) -> tuple[int, int]:
    """The least and the greatest number of an integer type."""
    return (0, 2**dtype.bits - 1) if is_unsigned(dtype) else (-(2 ** (dtype.bits - 1)), 2 ** (dtype.bits - 1) - 1)


def is_narrow(dtype: DType) -> bool:
    """Whether an integer type is narrower than the int32 that holds it."""
    return dtype.is_integer and dtype.bits < 32


def wrap(b: Emitter, var: Any, dtype: DType, low: int, high: int, name: str | None = None) -> Any:
    """An int32 var with values in ``low … high``, reduced to the width of a narrow type as two's complement does.

    The number given to ``mod`` is never negative, so that its rule of signs does not matter.
    """
    least, greatest = limits(dtype)
    if least <= low and high <= greatest:
        return b.mb.identity(x=var, name=name) if name else var
    size = 2**dtype.bits
    lift = -least + size * max(0, -((low - least) // size))
    lifted = b.mb.add(x=var, y=np.int32(lift)) if lift else var
    if not least:
        return b.mb.mod(x=lifted, y=np.int32(size), **named(name))
    return b.mb.add(x=b.mb.mod(x=lifted, y=np.int32(size)), y=np.int32(least), **named(name))


def need_bits(b: Emitter, op: Op, bits: int) -> None:
    """Check that integers of so many bits are computed exactly.

    Raises:
        UnsupportedError: ``op-unsupported``: a neuralnetwork computes in fp32, whatever the element type.
    """
    if b.target.format == "neuralnetwork" and bits > _FLOAT_BITS:
        b.refuse(op, f"a neuralnetwork holds integers in fp32, which has {_FLOAT_BITS} bits, not {bits}",
                 "--format mlprogram")  # fmt: skip


def product(b: Emitter, x: Any, y: Any, dtype: DType, name: str) -> Any:
    """``x·y`` of a narrow integer type; nothing on the way leaves int32."""
    low, high = limits(dtype)
    if dtype is not DType.UINT16:
        corners = (low * low, low * high, high * high)
        return wrap(b, b.mb.mul(x=x, y=y), dtype, min(corners), max(corners), name)
    # 65535² does not fit: multiply by the two bytes of y, modulo 2^16 in between.
    upper = b.mb.mod(x=b.mb.mul(x=x, y=b.mb.floor_div(x=y, y=np.int32(256))), y=np.int32(2**16))
    lower = b.mb.mul(x=x, y=b.mb.mod(x=y, y=np.int32(256)))
    return b.mb.mod(x=b.mb.add(x=lower, y=b.mb.mul(x=upper, y=np.int32(256))), y=np.int32(2**16), name=name)


def truncating_div(b: Emitter, x: Any, y: Any, signed: bool, name: str | None = None) -> Any:
    """Integer division toward zero; ``floor_div`` is only ever given non-negative numbers (H4.14)."""
    if not signed:
        return b.mb.floor_div(x=x, y=y, **named(name))
    sign = b.mb.mul(x=b.mb.sign(x=x), y=b.mb.sign(x=y))
    return b.mb.mul(x=sign, y=b.mb.floor_div(x=b.mb.abs(x=x), y=b.mb.abs(x=y)), **named(name))


def is_non_negative(b: Emitter, value: str, depth: int = 8) -> bool:
    """Whether every element of an ONNX value is provably at least 0 (overflow of int32 aside)."""
    const = b.const(value)
    if const is not None:
        return not const.size or bool((const >= 0).all())
    kind = b.type(value).dtype
    if kind is DType.BOOL or is_unsigned(kind):
        return True
    op = b.producer(value)
    if op is None or op.domain or not depth:
        return False
    if (op.type, op.outputs.index(value)) in _NON_NEGATIVE:
        return True
    if op.type == "Range":
        sources: tuple[str, ...] = (op.inputs[0], op.inputs[2])
    elif op.type in ("Max", "Clip", "Mod"):
        return _bounded_below(b, op, depth)
    elif op.type in _ALL_OPERANDS:
        # The second operand of a reduction is its axes.
        sources = op.inputs[:1] if op.type.startswith("Reduce") else op.inputs
    else:
        sources = tuple(op.inputs[i] for i in _MOVES.get(op.type, ()))
    return bool(sources) and all(is_non_negative(b, source, depth - 1) for source in sources)


def _bounded_below(b: Emitter, op: Op, depth: int) -> bool:
    if op.type == "Max":
        return any(is_non_negative(b, source, depth - 1) for source in op.inputs)
    if op.type == "Mod":  # its sign is the divisor's; with fmod, the dividend's
        return is_non_negative(b, op.inputs[0 if b.attr(op, "fmod") else 1], depth - 1)
    if len(op.inputs) > 2 and op.inputs[2] and not is_non_negative(b, op.inputs[2], depth - 1):
        return False  # Clip gives max where max < min
    low = op.inputs[1] if len(op.inputs) > 1 else ""
    return is_non_negative(b, low or op.inputs[0], depth - 1)


def indices(b: Emitter, value: str, sizes: Size | Sequence[Size]) -> Any:
    """The var of an index operand without negatives: ``i + size`` where ``i < 0`` (H4.08).

    Args:
        value: ONNX value of the indices; a constant is normalised at compile time where the sizes are numbers.
        sizes: length of the axis indexed, or the lengths of those that the last axis of the indices runs over.
    """
    lengths = list(sizes) if isinstance(sizes, Sequence) else [sizes]
    const = b.const(value)
    if const is not None and (all(map(is_known, lengths)) or bool((const >= 0).all())):
        size = np.array([n if is_known(n) else 0 for n in lengths])
        fixed = np.where(const < 0, const + (size if isinstance(sizes, Sequence) else size[0]), const).astype(np.int32)
        return b.mb.const(val=fixed if fixed.ndim else fixed[()])
    var = b.var(value)
    if is_non_negative(b, value):
        return var
    length = vector(b, lengths) if isinstance(sizes, Sequence) else run_time(b, sizes)
    return b.mb.select(cond=b.mb.less(x=var, y=np.int32(0)), a=b.mb.add(x=var, y=length), b=var)


def as_int32(b: Emitter, var: Any) -> Any:
    """A numeric var truncated to int32; an int32 var itself."""
    return var if np_type(var) == np.int32 else b.mb.cast(x=var, dtype="int32")
