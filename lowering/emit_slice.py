"""Concat, Split, Slice and the choosing of elements by constant conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from coregraft.lowering.registry import lower
from coregraft.lowering.shaping import axis_of, from_int32, inner_name, via_int32
from coregraft.lowering.vars import named, reshape, transpose
from coregraft.rewriter.graph import Op

if TYPE_CHECKING:
    from coregraft.lowering.emitter import Emitter


@lower("Concat", attrs="axis")
def concat(b: Emitter, op: Op) -> Any:
    """``concat`` of the operands that are not empty."""
    present = [value for value in op.inputs if 0 not in (b.type(value).shape or ())]
    if not present:
        b.refuse(op, "all of its operands are empty, and Core ML has no empty tensors")
    operands = [b.var(value) for value in present]
    if len(operands) == 1:
        return operands[0]
    axis = axis_of(b, op, b.attr(op, "axis"), operands[0].rank)
    return b.mb.concat(values=operands, axis=axis, interleave=False, name=b.name(op))


@lower("Split", attrs="axis num_outputs")
def split(b: Emitter, op: Op) -> Any:
    """``split`` into the sizes given, or into equal chunks with a smaller last one."""
    x = b.var(op.inputs[0])
    axis = axis_of(b, op, b.attr(op, "axis"), x.rank)
    size, n = b.shape(op.inputs[0])[axis], len(op.outputs)
    given = b.need_const(op, 1, "split")
    chunk = -(-size // n)
    sizes = [int(s) for s in given] if given is not None else [min(chunk, size - i * chunk) for i in range(n)]
    if len(sizes) != n or sum(sizes) != size:
        b.refuse(op, f"pieces of {sizes} are not {n} that make up the {size} of its axis")
    if min(sizes) < 1:
        b.refuse(op, "one of its pieces is empty, and Core ML has no empty tensors")
    if n == 1:
        return x
    return b.mb.split(x=x, split_sizes=np.array(sizes, np.int32), axis=axis, name=b.name(op))


@lower("Slice")
def slice_op(b: Emitter, op: Op) -> Any:
    """``slice_by_index``; an axis with a negative step is reversed before: MIL only steps forward."""
    x = b.var(op.inputs[0])
    rank = x.rank
    starts, ends = b.need_const(op, 1, "starts"), b.need_const(op, 2, "ends")
    axes, steps = b.need_const(op, 3, "axes"), b.need_const(op, 4, "steps")
    assert starts is not None and ends is not None  # not optional
    steps = np.ones_like(starts) if steps is None else steps
    chosen = range(len(starts)) if axes is None else [axis_of(b, op, int(a), rank) for a in axes]
    begin, end, stride = np.zeros(rank, np.int32), np.zeros(rank, np.int32), np.ones(rank, np.int32)
    whole, flipped = np.ones(rank, bool), []
    for axis, first, last, step in zip(chosen, starts, ends, steps, strict=True):
        size = x.shape[axis]
        if not isinstance(size, (int, np.integer)):
            b.refuse(op, f"axis {axis} has no known size", "pin the input shapes (--dim NAME=VALUE)")
        if not step:
            b.refuse(op, "a step is 0")
        kept = _places(int(first), int(last), int(step), int(size))
        if not kept:
            b.refuse(op, "its result is empty, and Core ML has no empty tensors")
        if step < 0:
            flipped.append(axis)
            kept = range(size - 1 - kept[0], size - kept[-1], -kept.step)
        whole[axis] = len(kept) == size
        begin[axis], end[axis], stride[axis] = kept[0], kept[-1] + 1, min(kept.step, int(size))  # steps go up to 2^63
    if flipped:
        name = b.name(op) if whole.all() else None
        x = b.mb.reverse(x=x, axes=np.array(sorted(flipped), np.int32), **named(name))
    if whole.all():
        return x
    begin[whole], end[whole], stride[whole] = 0, 0, 1
    return b.mb.slice_by_index(
        x=x, begin=begin, end=end, stride=stride, begin_mask=whole, end_mask=whole.copy(), name=b.name(op)
    )  # fmt: skip


def _places(first: int, last: int, step: int, size: int) -> range:
    """The indices that ONNX's Slice takes. Going backwards, a start before the front is the front: unlike numpy's."""
    low, high = (0, size) if step > 0 else (-1, size - 1)
    start, end = (i + size if i < 0 else i for i in (first, last))
    return range(min(max(start, 0), high), min(max(end, low), high), step)


@lower("ReverseSequence", attrs="batch_axis time_axis")
def reverse_sequence(b: Emitter, op: Op) -> Any:
    """``reverse_sequence``."""
    return b.mb.reverse_sequence(
        x=b.var(op.inputs[0]), lengths=b.var(op.inputs[1]),
        seq_axis=b.attr(op, "time_axis"), batch_axis=b.attr(op, "batch_axis"), name=b.name(op),
    )  # fmt: skip


@lower("NonZero")
def non_zero(b: Emitter, op: Op) -> Any:
    """``non_zero``, transposed: ONNX has one row an axis. How many columns there are depends on the data."""
    return transpose(b, b.mb.non_zero(x=b.var(op.inputs[0])), (1, 0), b.name(op))


@lower("Compress", attrs="axis")
def compress(b: Emitter, op: Op) -> Any:
    """``gather`` of the places where a constant condition holds."""
    source = b.var(op.inputs[0])
    condition = b.need_const(op, 1, "condition")
    assert condition is not None  # not optional
    places = np.flatnonzero(condition).astype(np.int32)
    if not places.size:
        b.refuse(op, "its result is empty, and Core ML has no empty tensors")
    axis = b.attr(op, "axis")
    x = via_int32(b, source)
    x = reshape(b, x, (-1,)) if axis is None else x
    name = inner_name(b, op, source)
    axis = 0 if axis is None else axis_of(b, op, axis, source.rank)
    found = b.mb.gather(x=x, indices=places, axis=axis, **name)
    return from_int32(b, op, found, source)
