"""Reductions over axes, arg-reductions, running sums and TopK."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from coregraft.lowering import integers
from coregraft.lowering.registry import lower
from coregraft.lowering.shaping import axis_of, full, slice_axis, to_shape
from coregraft.lowering.sizes import is_known, product, run_time
from coregraft.lowering.vars import like, named, np_type
from coregraft.rewriter.graph import Op
from coregraft.rewriter.types import Array

if TYPE_CHECKING:
    from coregraft.lowering.emitter import Emitter

_ATTRS = "keepdims noop_with_empty_axes"
_DIRECT = {
    "ReduceSum": "reduce_sum", "ReduceMax": "reduce_max", "ReduceMin": "reduce_min", "ReduceProd": "reduce_prod",
    "ReduceMean": "reduce_mean", "ReduceL1": "reduce_l1_norm", "ReduceSumSquare": "reduce_sum_square",
    "ReduceL2": "reduce_l2_norm",
}  # fmt: skip


@lower(*_DIRECT, "ReduceLogSum", "ReduceLogSumExp", attrs=_ATTRS)
def reduction(b: Emitter, op: Op) -> Any:
    """One MIL reduction where there is one that says the same; scalars and empty axes get the steps around it only."""
    x = b.var(op.inputs[0])
    if 0 in b.sizes(op.inputs[0]):
        b.refuse(op, "it reduces an empty tensor, and Core ML has none")
    axes, keep = _axes(b, op, x.rank), bool(b.attr(op, "keepdims"))
    if x.rank == 0:
        return to_shape(b, _reduce(b, op, to_shape(b, x, (1,)), np.array([0], np.int32), True, None), (), b.name(op))
    if not axes.size:
        return _reduce(b, op, x, axes, True, b.name(op))
    if keep or axes.size < x.rank:
        return _reduce(b, op, x, axes, keep, b.name(op))
    return to_shape(b, _reduce(b, op, x, axes, True, None), (), b.name(op))


def _axes(b: Emitter, op: Op, rank: int) -> Array:
    given = b.need_const(op, 1, "axes")
    if given is not None and given.size:
        return np.array(sorted({axis_of(b, op, int(a), rank) for a in given.ravel()}), np.int32)
    return np.arange(0 if b.attr(op, "noop_with_empty_axes") else rank, dtype=np.int32)


def _reduce(b: Emitter, op: Op, x: Any, axes: Array, keep: bool, name: str | None) -> Any:
    """The op over ``axes``; over none, what it does to each element."""
    kind = np_type(x).kind
    if kind == "f":
        return _reduce_floats(b, op.type, x, axes, keep, name)
    if kind == "b":  # ReduceMax and ReduceMin alone take bools
        found = _fold(b, _DIRECT[op.type], b.mb.cast(x=x, dtype="int32"), axes, keep)
        return b.mb.cast(x=found, dtype="bool", **named(name))
    if op.type == "ReduceMean":
        return _integer_mean(b, op, x, axes, keep, name)
    if op.type in ("ReduceL2", "ReduceLogSum", "ReduceLogSumExp"):
        real = _reduce_floats(b, op.type, b.mb.cast(x=x, dtype="fp32"), axes, keep, None)
        return b.mb.cast(x=real, dtype="int32", **named(name))
    return _integers(b, op.type, x, axes, keep, name)


def _integers(b: Emitter, op_type: str, x: Any, axes: Array, keep: bool, name: str | None) -> Any:
    if op_type == "ReduceL1":
        x, op_type = b.mb.abs(x=x), "ReduceSum"
    elif op_type == "ReduceSumSquare":
        x, op_type = b.mb.mul(x=x, y=x), "ReduceSum"
    return _fold(b, _DIRECT[op_type], x, axes, keep, name)


def _integer_mean(b: Emitter, op: Op, x: Any, axes: Array, keep: bool, name: str | None) -> Any:
    """The sum divided toward zero: ``reduce_mean`` leaves inexact integer means open."""
    sizes = b.sizes(op.inputs[0])
    count = product(b, [sizes[a] for a in axes])
    total = _fold(b, "reduce_sum", x, axes, keep, name if count == 1 else None)
    if count == 1:
        return total
    signed = not integers.is_non_negative(b, op.inputs[0])
    return integers.truncating_div(b, total, run_time(b, count), signed, name or b.names.take("mean"))


def _reduce_floats(b: Emitter, op_type: str, x: Any, axes: Array, keep: bool, name: str | None) -> Any:
    mb, zero = b.mb, like(x, 0)[()]
    if op_type == "ReduceLogSum":
        return mb.log(x=_fold(b, "reduce_sum", x, axes, keep), epsilon=zero, **named(name))
    if op_type == "ReduceLogSumExp":
        return _log_sum_exp(b, x, axes, keep, name)
    if axes.size:
        return _fold(b, _DIRECT[op_type], x, axes, keep, name)
    if op_type in ("ReduceL1", "ReduceL2"):  # |x| is √(x²) without the overflow
        return mb.abs(x=x, **named(name))
    return mb.mul(x=x, y=x, **named(name)) if op_type == "ReduceSumSquare" else x


def _log_sum_exp(b: Emitter, x: Any, axes: Array, keep: bool, name: str | None) -> Any:
    """``m + log Σ exp(x - m)`` with m the greatest, kept finite so that rows of one infinity stay that (H3.11)."""
    mb, zero = b.mb, like(x, 0)[()]
    if not axes.size:
        return mb.add(x=x, y=zero, **named(name))
    bound = float(np.finfo(np_type(x)).max) * 0.9
    top = mb.clip(x=_fold(b, "reduce_max", x, axes, True), alpha=like(x, -bound)[()], beta=like(x, bound)[()])
    total = mb.log(x=_fold(b, "reduce_sum", mb.exp(x=mb.sub(x=x, y=top)), axes, keep), epsilon=zero)
    return mb.add(x=total, y=top if keep else mb.squeeze(x=top, axes=axes.copy()), **named(name))


def _fold(b: Emitter, mil_op: str, x: Any, axes: Array, keep: bool, name: str | None = None) -> Any:
    if not axes.size:
        return b.mb.identity(x=x, name=name) if name else x
    return getattr(b.mb, mil_op)(x=x, axes=axes.copy(), keep_dims=keep, **named(name))


# ---------------------------------------------------------------- along one axis

@lower("ArgMax", "ArgMin", attrs="axis keepdims select_last_index")
def arg_reduction(b: Emitter, op: Op) -> Any:
    """``reduce_argmax``/``reduce_argmin``, which take the first of equals; for the last, on the reversed axis."""
    mb, x = b.mb, b.var(op.inputs[0])
    axis, keep = axis_of(b, op, b.attr(op, "axis"), x.rank), bool(b.attr(op, "keepdims"))
    emit = mb.reduce_argmax if op.type == "ArgMax" else mb.reduce_argmin
    shape = [size for i, size in enumerate(b.sizes(op.inputs[0])) if i != axis]
    if not b.attr(op, "select_last_index"):
        if keep or shape:
            return emit(x=x, axis=axis, keep_dims=keep, name=b.name(op))
        return to_shape(b, emit(x=x, axis=axis, keep_dims=True), shape, b.name(op))
    size = b.sizes(op.inputs[0])[axis]
    last = np.int32(size - 1) if is_known(size) else mb.sub(x=run_time(b, size), y=np.int32(1))
    backwards = emit(x=mb.reverse(x=x, axes=np.array([axis], np.int32)), axis=axis, keep_dims=True)
    found = mb.sub(x=last, y=backwards, **named(b.name(op) if keep else None))
    return found if keep else to_shape(b, found, shape, b.name(op))


@lower("CumSum", attrs="exclusive reverse")
def cumsum(b: Emitter, op: Op) -> Any:
    """``cumsum``. A constant operand is summed here: coremltools cannot fold an exclusive sum."""
    x = b.var(op.inputs[0])
    given = b.need_const(op, 1, "axis")
    assert given is not None  # not optional
    axis = axis_of(b, op, int(given.reshape(())), x.rank)
    exclusive, backwards = bool(b.attr(op, "exclusive")), bool(b.attr(op, "reverse"))
    if exclusive and x.val is not None:
        return b.mb.const(val=_exclusive_sum(x.val, axis, backwards), name=b.name(op))
    return b.mb.cumsum(x=x, axis=axis, exclusive=exclusive, reverse=backwards, name=b.name(op))


def _exclusive_sum(values: Array, axis: int, backwards: bool) -> Array:
    ordered = np.flip(values, axis) if backwards else values
    shifted = np.concatenate([np.zeros_like(np.take(ordered, [0], axis)), np.delete(ordered, -1, axis)], axis)
    sums = np.cumsum(shifted, axis, dtype=values.dtype)
    return np.flip(sums, axis) if backwards else sums


@lower("CumProd", attrs="exclusive reverse")
def cumprod(b: Emitter, op: Op) -> Any:
    """Each element times the one 1, 2, 4, … before it: log n products, as MIL has no running product."""
    x = b.var(op.inputs[0])
    given = b.need_const(op, 1, "axis")
    assert given is not None  # not optional
    axis, shape = axis_of(b, op, int(given.reshape(())), x.rank), b.shape(op.inputs[0])
    backwards, size = bool(b.attr(op, "reverse")), shape[axis]
    reach = 1
    while reach < size:
        x = b.mb.mul(x=x, y=_shifted(b, x, shape, axis, reach, backwards))
        reach *= 2
    # Last, since coremltools takes what is sliced off these ones again for integers.
    return _shifted(b, x, shape, axis, 1, backwards) if b.attr(op, "exclusive") else x


def _shifted(b: Emitter, x: Any, shape: tuple[int, ...], axis: int, by: int, backwards: bool) -> Any:
    """``x`` moved along an axis, ones where nothing is moved to."""
    ones = full(b, (*shape[:axis], by, *shape[axis + 1 :]), 1, np_type(x))
    if by == shape[axis]:
        return ones
    if backwards:
        return b.mb.concat(values=[slice_axis(b, x, axis, by, shape[axis]), ones], axis=axis)
    return b.mb.concat(values=[ones, slice_axis(b, x, axis, 0, shape[axis] - by)], axis=axis)


@lower("TopK", attrs="axis largest sorted")
def topk(b: Emitter, op: Op) -> Any:
    """``topk``. The result is sorted in any case; which of equals comes first is up to the device (H4.19).

    Where K depends on the data, the first K of all in order.
    """
    x = b.var(op.inputs[0])
    axis = axis_of(b, op, b.attr(op, "axis"), x.rank)
    size = b.sizes(op.inputs[0])[axis]
    given = b.const(op.inputs[1])
    if given is None:
        return _first_in_order(b, op, x, axis, to_shape(b, b.var(op.inputs[1]), ()))
    k = int(given.reshape(()))
    if k < 1 or (is_known(size) and k > size):
        b.refuse(op, f"K is {k}" + (f", and the axis has {size} elements" if is_known(size) else ""))
    return b.mb.topk(x=x, k=k, axis=axis, ascending=not b.attr(op, "largest"), name=b.name(op))


def _first_in_order(b: Emitter, op: Op, x: Any, axis: int, k: Any) -> list[Any]:
    order = b.mb.argsort(x=x, axis=axis, ascending=not b.attr(op, "largest"))
    indices = slice_axis(b, order, axis, 0, k, b.name(op, 1))
    return [b.mb.gather_along_axis(x=x, indices=indices, axis=axis, name=b.name(op)), indices]
