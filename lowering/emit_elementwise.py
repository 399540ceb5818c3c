"""Element-wise math, comparison, logic, selection and casts."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from coregraft.lowering import integers
from coregraft.lowering.emitter import CANONICAL, MIL_NAMES
from coregraft.lowering.registry import lower
from coregraft.lowering.shaping import broadcast_to, operand
from coregraft.lowering.sizes import broadcast_sizes, is_known
from coregraft.lowering.vars import folded, inverse, is_compressed, is_float, like, np_type
from coregraft.rewriter.graph import Op
from coregraft.rewriter.types import DType

if TYPE_CHECKING:
    from coregraft.lowering.emitter import Emitter

# ---------------------------------------------------------------- one operand

_UNARY = {
    "Acos": "acos", "Asin": "asin", "Atan": "atan", "Atanh": "atanh", "Ceil": "ceil", "Cos": "cos", "Cosh": "cosh",
    "Erf": "erf", "Exp": "exp", "Floor": "floor", "Round": "round", "Sign": "sign", "Sin": "sin", "Sinh": "sinh",
    "Sqrt": "sqrt", "Tan": "tan", "Tanh": "tanh", "Not": "logical_not",
}  # fmt: skip


@lower(*_UNARY)
def unary(b: Emitter, op: Op) -> Any:
    """The MIL op of the same meaning. ``round`` goes to even, as ONNX asks."""
    return getattr(b.mb, _UNARY[op.type])(x=b.var(op.inputs[0]), name=b.name(op))


@lower("Abs", "Neg")
def abs_neg(b: Emitter, op: Op) -> Any:
    """``abs``; ``mul`` by -1. The least number of a narrow integer type stays itself."""
    x, dtype = b.var(op.inputs[0]), b.type(op.inputs[0]).dtype
    if not integers.is_narrow(dtype):
        return b.mb.abs(x=x, name=b.name(op)) if op.type == "Abs" else b.mb.mul(x=x, y=like(x, -1)[()], name=b.name(op))
    low, high = integers.limits(dtype)
    if op.type == "Abs":
        return integers.wrap(b, b.mb.abs(x=x), dtype, 0, max(-low, high), b.name(op))
    return integers.wrap(b, b.mb.mul(x=x, y=np.int32(-1)), dtype, -high, -low, b.name(op))


@lower("Reciprocal")
def reciprocal(b: Emitter, op: Op) -> Any:
    """One over it, without a hidden epsilon (H3.04)."""
    return inverse(b, b.var(op.inputs[0]), b.name(op))


@lower("Log")
def log(b: Emitter, op: Op) -> Any:
    """``log`` without its hidden epsilon (H3.04)."""
    x = b.var(op.inputs[0])
    return b.mb.log(x=x, epsilon=like(x, 0)[()], name=b.name(op))


@lower("Asinh")
def asinh(b: Emitter, op: Op) -> Any:
    """``atanh(x/√(1+x²))`` up to 1, else, ``log|x| + log(1+√(1+1/x²))``, which never overflows."""
    mb, x = b.mb, b.var(op.inputs[0])
    one, zero = like(x, 1)[()], like(x, 0)[()]
    size = mb.abs(x=x)
    near = mb.minimum(x=size, y=one)
    small = mb.atanh(x=mb.real_div(x=near, y=mb.sqrt(x=mb.add(x=mb.mul(x=near, y=near), y=one))))
    far = mb.maximum(x=size, y=one)
    part = inverse(b, far)
    root = mb.sqrt(x=mb.add(x=mb.mul(x=part, y=part), y=one))
    large = mb.add(x=mb.log(x=far, epsilon=zero), y=mb.log(x=mb.add(x=root, y=one), epsilon=zero))
    return mb.mul(x=mb.sign(x=x), y=mb.select(cond=mb.less(x=size, y=one), a=small, b=large), name=b.name(op))


@lower("Acosh")
def acosh(b: Emitter, op: Op) -> Any:
    """``2·atanh(√(x-1)/√(x+1))`` up to 2; beyond, ``log x + log(1+√(1-1/x²))``: nothing overflows."""
    mb, x = b.mb, b.var(op.inputs[0])
    one, two, zero = like(x, 1)[()], like(x, 2)[()], like(x, 0)[()]
    near = mb.minimum(x=x, y=two)
    ratio = mb.real_div(x=mb.sqrt(x=mb.sub(x=near, y=one)), y=mb.sqrt(x=mb.add(x=near, y=one)))
    small = mb.mul(x=mb.atanh(x=ratio), y=two)
    far = mb.maximum(x=x, y=two)
    part = inverse(b, far)
    root = mb.sqrt(x=mb.sub(x=one, y=mb.mul(x=part, y=part)))
    large = mb.add(x=mb.log(x=far, epsilon=zero), y=mb.log(x=mb.add(x=root, y=one), epsilon=zero))
    return mb.select(cond=mb.less(x=x, y=two), a=small, b=large, name=b.name(op))


@lower("IsNaN")
def is_nan(b: Emitter, op: Op) -> Any:
    """Only NaN differs from itself."""
    x = b.var(op.inputs[0])
    return b.mb.not_equal(x=x, y=x, name=b.name(op))


@lower("IsInf", attrs="detect_negative detect_positive")
def is_inf(b: Emitter, op: Op) -> Any:
    """Comparison with the infinities asked for; where none is, with a size that nothing has."""
    mb, x = b.mb, b.var(op.inputs[0])
    negative, positive = bool(b.attr(op, "detect_negative")), bool(b.attr(op, "detect_positive"))
    if negative == positive:
        size = mb.abs(x=x)
        return mb.equal(x=size, y=like(x, np.inf if negative else -1)[()], name=b.name(op))
    return mb.equal(x=x, y=like(x, -np.inf if negative else np.inf)[()], name=b.name(op))


# ---------------------------------------------------------------- two and more operands

_ARITHMETIC = {"Add": "add", "Sub": "sub", "Mul": "mul"}
_COMPARE = {"Greater": "greater", "GreaterOrEqual": "greater_equal", "Less": "less", "LessOrEqual": "less_equal"}
_LOGIC = {"And": "logical_and", "Or": "logical_or", "Xor": "logical_xor"}


@lower(*_COMPARE, *_LOGIC)
def binary(b: Emitter, op: Op) -> Any:
    """The MIL op of the same meaning."""
    found = (_COMPARE | _LOGIC)[op.type]
    return getattr(b.mb, found)(x=b.var(op.inputs[0]), y=b.var(op.inputs[1]), name=b.name(op))


@lower(*_ARITHMETIC)
def arithmetic(b: Emitter, op: Op) -> Any:
    """``add``, ``sub``, ``mul``; narrow integers wrap around."""
    x, y = b.var(op.inputs[0]), b.var(op.inputs[1])
    dtype = b.type(op.inputs[0]).dtype
    emit = getattr(b.mb, _ARITHMETIC[op.type])
    if not integers.is_narrow(dtype):
        return emit(x=x, y=y, name=b.name(op))
    if op.type == "Mul":
        integers.need_bits(b, op, 2 * dtype.bits)
        return integers.product(b, x, y, dtype, b.name(op))
    low, high = integers.limits(dtype)
    reach = (2 * low, 2 * high) if op.type == "Add" else (low - high, high - low)
    return integers.wrap(b, emit(x=x, y=y), dtype, *reach, b.name(op))


@lower("Div")
def div(b: Emitter, op: Op) -> Any:
    """``real_div``; integers are divided toward zero (H4.14). Narrow ones wrap around: the least by -1 is itself."""
    x, y = b.var(op.inputs[0]), b.var(op.inputs[1])
    if is_float(x):
        return b.mb.real_div(x=x, y=y, name=b.name(op))
    signed = not all(integers.is_non_negative(b, value) for value in op.inputs)
    dtype = b.type(op.inputs[0]).dtype
    if not signed or not integers.is_narrow(dtype):
        return integers.truncating_div(b, x, y, signed, b.name(op))
    low, _ = integers.limits(dtype)
    return integers.wrap(b, integers.truncating_div(b, x, y, signed), dtype, low, -low, b.name(op))


@lower("Mod", attrs="fmod")
def mod(b: Emitter, op: Op) -> Any:
    """Right whichever sign MIL's ``mod`` gives (H4.14): the divisor's sign, or with ``fmod`` the dividend's."""
    mb, x, y = b.mb, b.var(op.inputs[0]), b.var(op.inputs[1])
    if all(integers.is_non_negative(b, value) for value in op.inputs):
        return mb.mod(x=x, y=y, name=b.name(op))
    if b.attr(op, "fmod"):
        rest = mb.mod(x=folded(b, "abs", x), y=folded(b, "abs", y))
        return mb.mul(x=folded(b, "sign", x), y=rest, name=b.name(op))
    rest = mb.mod(x=x, y=y)
    # Adding y everywhere would round, overflow, and make NaN of an infinite divisor.
    zero = like(x, 0)[()]
    crossed = mb.logical_xor(x=mb.less(x=rest, y=zero), y=mb.less(x=y, y=zero))
    other_sign = mb.logical_and(x=mb.not_equal(x=rest, y=zero), y=crossed)
    return mb.select(cond=other_sign, a=mb.add(x=rest, y=y), b=rest, name=b.name(op))


@lower("Equal")
def equal(b: Emitter, op: Op) -> Any:
    """``equal``, which does not take bools: those are equal where they do not differ."""
    x, y = b.var(op.inputs[0]), b.var(op.inputs[1])
    if np_type(x).kind == "b":
        return b.mb.logical_not(x=b.mb.logical_xor(x=x, y=y), name=b.name(op))
    return b.mb.equal(x=x, y=y, name=b.name(op))


@lower("Max", "Min", "Sum", "Mean")
def nary(b: Emitter, op: Op) -> Any:
    """A chain of two-operand ops; a mean divides the sum."""
    names = {"Max": "maximum", "Min": "minimum"}
    emit: Callable[..., Any] = getattr(b.mb, names.get(op.type, "add"))
    operands = [b.var(value) for value in op.inputs]
    if len(operands) == 1:
        return operands[0]
    if op.type == "Mean":
        total = reduce(lambda x, y: emit(x=x, y=y), operands)
        return b.mb.real_div(x=total, y=like(total, len(operands))[()], name=b.name(op))
    return emit(x=reduce(lambda x, y: emit(x=x, y=y), operands[:-1]), y=operands[-1], name=b.name(op))


# ---------------------------------------------------------------- selection

#: Elements up to which a constant condition is written out in full.
_MAX_FOLDED = 2**16


@lower("Clip")
def clip(b: Emitter, op: Op) -> Any:
    """``relu``, ``relu6`` or ``clip`` for constant float bounds in order; else ``maximum`` and ``minimum``.

    Where min exceeds max the result is max, which the order of the two gives.
    """
    mb, x = b.mb, b.var(op.inputs[0])
    low, high = _bound(b, op, 1), _bound(b, op, 2)
    if low is None and high is None:
        return x
    known = [None if v is None or v.val is None else float(np.reshape(v.val, ())) for v in (low, high)]
    if is_float(x) and known == [0.0, None] and high is None:
        return mb.relu(x=x, name=b.name(op))
    if is_float(x) and known == [0.0, 6.0]:
        return mb.relu6(x=x, name=b.name(op))
    if is_float(x) and known[0] is not None and known[1] is not None and known[0] < known[1]:
        return mb.clip(x=x, alpha=like(x, known[0])[()], beta=like(x, known[1])[()], name=b.name(op))
    if high is None:
        return mb.maximum(x=x, y=low, name=b.name(op))
    return mb.minimum(x=x if low is None else mb.maximum(x=x, y=low), y=high, name=b.name(op))


def _bound(b: Emitter, op: Op, i: int) -> Any:
    """The var of a bound of Clip; None where there is none, or where it is the infinity on its side."""
    value = operand(op, i)
    const = b.const(value)
    if const is not None and const.size == 1 and const.reshape(()) == (-np.inf, np.inf)[i - 1]:
        return None
    return b.var(value)


@lower("Where")
def where(b: Emitter, op: Op) -> Any:
    """``select``; operands are broadcast before it, since its inference ignores the condition's shape."""
    cond, x, y = (b.var(value) for value in op.inputs)
    shapes = [tuple(v.shape) for v in (cond, x, y)]
    if shapes[0] == shapes[1] == shapes[2] or shapes[1:] == [shapes[0], ()] or shapes[1:] == [(), shapes[0]]:
        return b.mb.select(cond=cond, a=x, b=y, name=b.name(op))
    shape = broadcast_sizes(b, (cond, x, y))
    if not all(map(is_known, (*shapes[1], *shapes[2]))):
        x, y = broadcast_to(b, x, shape), broadcast_to(b, y, shape)
    elif np.broadcast_shapes(*shapes[1:]) != tuple(shape):
        x = broadcast_to(b, x, shape)
    if cond.val is None or (all(map(is_known, shape)) and math.prod(shape) <= _MAX_FOLDED):
        cond = broadcast_to(b, cond, shape)
    else:  # coremltools would fold the repeats of a constant mask into the package; select broadcasts equal ranks
        cond = broadcast_to(b, cond, (1,) * (len(shape) - len(shapes[0])) + shapes[0])
    return b.mb.select(cond=cond, a=x, b=y, name=b.name(op))


# ---------------------------------------------------------------- types

@lower("Cast", attrs="to saturate round_mode")
def cast_op(b: Emitter, op: Op) -> Any:
    """``cast`` by ONNX's rules: truncation toward zero, narrow integers wrap, anything but zero is true (H4.27).

    ``saturate`` and ``round_mode`` speak of 8-bit floats only, which Core ML does not have.
    """
    return _cast_to(b, op, DType(b.attr(op, "to")))


@lower("CastLike", attrs="saturate round_mode")
def cast_like(b: Emitter, op: Op) -> Any:
    """As Cast, to the element type of the second operand."""
    return _cast_to(b, op, b.type(op.inputs[1]).dtype)


def _cast_to(b: Emitter, op: Op, target: DType) -> Any:
    x, source = b.var(op.inputs[0]), b.type(op.inputs[0]).dtype
    if target not in CANONICAL:
        b.refuse(op, f"Core ML has no {target.name.lower()}")
    wanted = b.canonical(target, op.label)
    if target is DType.BFLOAT16 and source is not DType.BFLOAT16:
        b.refuse(op, "Core ML cannot round to bfloat16", "cast to float or float16 instead")
    if wanted is DType.BOOL and np_type(x).kind != "b":
        return b.mb.not_equal(x=x, y=like(x, 0)[()], name=b.name(op))
    if integers.is_narrow(target) and source.is_integer:
        bounds = integers.limits(source) if integers.is_narrow(source) else (-(2**31), 2**31 - 1)
        return _rewrap(b, x, target, *bounds, b.name(op))
    if np_type(x) == wanted.numpy:
        return x
    if is_compressed(x):  # a cast of it would be no constant any more, which weights have to be
        return b.mb.const(val=x.op.materialized_val_inference().astype(wanted.numpy), name=b.name(op))
    return b.mb.cast(x=x, dtype=MIL_NAMES[wanted], name=b.name(op))


def _rewrap(b: Emitter, x: Any, target: DType, low: int, high: int, name: str) -> Any:
    """An integer in the width of a narrower type. Lifting all of int32 would overflow: take the remainder first."""
    size = 2**target.bits
    least, greatest = integers.limits(target)
    if least <= low and high <= greatest:
        return x
    return integers.wrap(b, b.mb.mod(x=x, y=np.int32(size)), target, -size, size, name)
