"""Concat, Split, Slice and the choosing of elements by constant conditions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from coregraft.lowering.registry import lower
from coregraft.lowering.shaping import axis_of, from_int32, inner_name, slice_axis, via_int32
from coregraft.lowering.sizes import Size, is_known, run_time
from coregraft.lowering.vars import named, reshape, transpose
from coregraft.rewriter.graph import Op

if TYPE_CHECKING:
    from coregraft.lowering.emitter import Emitter

#: No axis is longer.
_MOST = int(np.iinfo(np.int32).max)


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
    given, n = b.need_const(op, 1, "split"), len(op.outputs)
    if given is None:
        (size,) = b.known_sizes(op.inputs[0], [axis])
        chunk = -(-size // n)
        sizes = [min(chunk, size - i * chunk) for i in range(n)]
    else:
        sizes, size = [int(s) for s in given], b.sizes(op.inputs[0])[axis]
    if len(sizes) != n or (is_known(size) and sum(sizes) != size):
        b.refuse(op, f"pieces of {sizes} are not {n} that make up the {size} of its axis")
    if min(sizes) < 1:
        b.refuse(op, "one of its pieces is empty, and Core ML has no empty tensors")
    if n == 1:
        return x
    return b.mb.split(x=x, split_sizes=np.array(sizes, np.int32), axis=axis, name=b.name(op))


@lower("Slice")
def slice_op(b: Emitter, op: Op) -> Any:
    """``slice_by_index``; an axis with a negative step is reversed before: MIL only steps forward."""
    sizes = b.sizes(op.inputs[0])
    cuts = _cuts(b, op, sizes)
    x = _sliced(b, op, sizes, [cut for cut in cuts if cut.is_known], last=all(cut.is_known for cut in cuts))
    loose = [cut for cut in cuts if not cut.is_known]
    for cut in loose:
        x = _sliced_at_run_time(b, x, cut, sizes[cut.axis], b.name(op) if cut is loose[-1] else None)
    return x


@dataclass(frozen=True, slots=True)
class _Cut:
    """What Slice takes of one axis; the ends are numbers or scalar vars.

    Attributes:
        is_known: whether it is known which places those are.
    """

    axis: int
    start: Size
    end: Size
    step: int
    is_known: bool


def _cuts(b: Emitter, op: Op, sizes: Sequence[Size]) -> list[_Cut]:
    """What is taken of the axes that the op names."""
    axes, steps = b.need_const(op, 3, "axes"), b.need_const(op, 4, "steps")
    starts, ends = b.const(op.inputs[1]), b.const(op.inputs[2])
    (count,) = b.shape(op.inputs[1])
    chosen = range(count) if axes is None else [axis_of(b, op, int(a), len(sizes)) for a in axes]
    found = []
    for i, axis in enumerate(chosen):
        step = 1 if steps is None else int(steps[i])
        if not step:
            b.refuse(op, "a step is 0")
        start, end = (
            b.mb.gather(x=b.var(value), indices=np.int32(i), axis=0) if known is None else int(known[i])
            for value, known in ((op.inputs[1], starts), (op.inputs[2], ends))
        )
        if step < 0 and is_known(end) and end >= _MOST:  # which onnxruntime takes for the front
            b.refuse(op, "it goes backwards from a start to beyond the end, and Core ML has no empty tensors")
        found.append(_Cut(axis, start, end, step, all(map(is_known, (start, end, sizes[axis])))))
    return found


def _sliced(b: Emitter, op: Op, sizes: Sequence[Size], cuts: Sequence[_Cut], *, last: bool) -> Any:
    """The operand without what is known to be cut off."""
    x = b.var(op.inputs[0])
    rank = x.rank
    begin, end, stride = np.zeros(rank, np.int32), np.zeros(rank, np.int32), np.ones(rank, np.int32)
    whole, flipped = np.ones(rank, bool), []
    for cut in cuts:
        axis, size = cut.axis, sizes[cut.axis]
        kept = _places(cut.start, cut.end, cut.step, size)
        if not kept:
            b.refuse(op, "its result is empty, and Core ML has no empty tensors")
        if cut.step < 0:
            flipped.append(axis)
            kept = range(size - 1 - kept[0], size - kept[-1], -kept.step)
        whole[axis] = len(kept) == size
        begin[axis], end[axis], stride[axis] = kept[0], kept[-1] + 1, min(kept.step, int(size))  # steps go up to 2^63
    if flipped:
        name = b.name(op) if last and whole.all() else None
        x = b.mb.reverse(x=x, axes=np.array(sorted(flipped), np.int32), **named(name))
    if whole.all():
        return x
    begin[whole], end[whole], stride[whole] = 0, 0, 1
    return b.mb.slice_by_index(
        x=x, begin=begin, end=end, stride=stride, begin_mask=whole, end_mask=whole.copy(),
        **named(b.name(op) if last else None),
    )  # fmt: skip


def _sliced_at_run_time(b: Emitter, x: Any, cut: _Cut, size: Size, name: str | None) -> Any:
    """``x`` without what is cut off an axis whose size, or whose ends, are only known at run time."""
    backwards = cut.step < 0
    begin, end = (_place(b, given, size, backwards) for given in (cut.start, cut.end))
    if backwards:  # a start before the front is the front: see _places
        last = b.mb.maximum(x=b.mb.sub(x=run_time(b, size), y=np.int32(1)), y=np.int32(0))
        begin = 0 if begin == 0 else b.mb.minimum(x=run_time(b, begin), y=last)
    whole = begin == 0 and end is size
    if backwards:
        named_here = named(name if whole and cut.step == -1 else None)
        x = b.mb.reverse(x=x, axes=np.array([cut.axis], np.int32), **named_here)
    if whole and abs(cut.step) == 1:
        return x
    if begin != 0 and end is not size:
        end = b.mb.maximum(x=run_time(b, end), y=run_time(b, begin))
    return slice_axis(b, x, cut.axis, begin, end, name, step=abs(cut.step))


def _place(b: Emitter, given: Size, size: Size, backwards: bool) -> Size:
    """An end of a slice within 0 … size, counted in the direction of the slice."""
    mb, n = b.mb, run_time(b, size)
    if not is_known(given):
        number = mb.sub(x=np.int32(-1), y=given) if backwards else given
        wrapped = mb.select(cond=mb.less(x=number, y=np.int32(0)), a=mb.add(x=number, y=n), b=number)
        return mb.maximum(x=mb.minimum(x=wrapped, y=n), y=np.int32(0))
    number = -1 - given if backwards else given
    if number < 0:
        return mb.maximum(x=mb.add(x=n, y=np.int32(max(number, -_MOST))), y=np.int32(0))
    if number >= _MOST:
        return size
    return mb.minimum(x=n, y=np.int32(number)) if number else 0


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
