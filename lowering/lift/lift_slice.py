"""Slices by position, updates of slices, windows and reversal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coregraft.lowering.lift.lifter import Lifter, Operand
from coregraft.lowering.lift.operands import scalar, static
from coregraft.lowering.lift.registry import lifts
from coregraft.lowering.lift.spec import MilOp
from coregraft.rewriter.types import Array

_FIRST, _LAST = np.iinfo(np.int64).min, np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class _Slices:
    """Operands of ONNX Slice for all axes, and the axes to be squeezed afterwards."""

    starts: Operand
    ends: Operand
    steps: Array
    squeezed: Array


def _slices(l: Lifter, op: MilOp) -> _Slices:
    """Begin, end, stride and masks of ``slice_by_index`` in ONNX's terms."""
    rank = l.rank(op, "x")

    def per_axis(key: str, default: int) -> Array:
        return np.full(rank, default) if not l.has(op, key) else np.asarray(l.need(op, key)).reshape(rank)

    squeezed, steps = per_axis("squeeze_mask", 0).astype(bool), per_axis("stride", 1).astype(np.int64)
    from_edge, to_edge = (per_axis(key, 0).astype(bool) & ~squeezed for key in ("begin_mask", "end_mask"))
    if np.any((from_edge | to_edge) & (steps < 0)):
        l.undefined(op, "a mask stands on an axis with a negative stride; the far end of the axis is assumed")
    steps = np.where(squeezed, 1, steps)
    begin_edge, end_edge = np.where(steps < 0, _LAST, 0), np.where(steps < 0, _FIRST, _LAST)
    known = [l.const(op, key) for key in ("begin", "end")]
    if known[0] is not None and known[1] is not None:
        begin, end = (np.asarray(v, np.int64).reshape(rank) for v in known)
        after = np.where(begin == -1, _LAST, begin + 1)
        ends = np.where(to_edge, end_edge, np.where(squeezed, after, end))
        return _Slices(np.where(from_edge, begin_edge, begin), ends, steps, np.flatnonzero(squeezed))
    first, last = l.index(op, "begin"), l.index(op, "end")
    if squeezed.any():
        wraps = l.emit("Equal", [first, np.int64(-1)])
        after_one = l.emit("Where", [wraps, np.int64(_LAST), l.emit("Add", [first, np.int64(1)])])
        last = l.emit("Where", [squeezed, after_one, last])
    if from_edge.any():
        first = l.emit("Where", [from_edge, begin_edge, first])
    if to_edge.any():
        last = l.emit("Where", [to_edge, end_edge, last])
    return _Slices(first, last, steps, np.flatnonzero(squeezed))


def _sliced(l: Lifter, x: str, s: _Slices, outputs: list[str] | None = None) -> str:
    return l.emit("Slice", [x, s.starts, s.ends, np.arange(len(s.steps)), s.steps], None, outputs)


@lifts("slice_by_index", moves=True)
def slice_by_index(l: Lifter, op: MilOp) -> None:
    s = _slices(l, op)
    if not s.squeezed.size:
        _sliced(l, l.operand(op, "x"), s, [l.out(op)])
        return
    l.emit("Squeeze", [_sliced(l, l.operand(op, "x"), s), s.squeezed], None, [l.out(op)])


@lifts("slice_update", moves=True)
def slice_update(l: Lifter, op: MilOp) -> None:
    """The slice is taken of the elements' flat positions, and the update written there."""
    x, flat = l.operand(op, "x"), np.array([-1], np.int64)
    shape = l.emit("Shape", [x])
    count = l.emit("ReduceProd", [shape], {"keepdims": 0})
    positions = l.emit("Reshape", [l.emit("Range", [np.int64(0), count, np.int64(1)]), shape])
    chosen = l.emit("Reshape", [_sliced(l, positions, _slices(l, op)), flat])
    update = l.emit("Reshape", [l.operand(op, "update"), flat])
    written = l.emit("ScatterElements", [l.emit("Reshape", [x, flat]), chosen, update], {"axis": 0})
    l.emit("Reshape", [written, shape], None, [l.out(op)])


@lifts("slice_by_size", moves=True)
def slice_by_size(l: Lifter, op: MilOp) -> None:
    rank = l.rank(op, "x")
    begin, size, shape = l.index(op, "begin"), l.index(op, "size"), l.emit("Shape", [l.operand(op, "x")])
    known = l.const(op, "begin")
    if known is None or np.any(np.asarray(known) < 0):
        negative = l.emit("Less", [begin, np.int64(0)])
        begin = l.emit("Where", [negative, l.emit("Add", [begin, shape]), begin])
    rest = l.emit("Equal", [size, np.int64(-1)])
    end = l.emit("Where", [rest, shape, l.emit("Add", [begin, size])])
    l.emit("Slice", [l.operand(op, "x"), begin, end, np.arange(rank)], None, [l.out(op)])


@lifts("sliding_windows", moves=True)
def sliding_windows(l: Lifter, op: MilOp) -> None:
    axis, size, stride = int(l.need(op, "axis")), int(l.need(op, "size")), int(scalar(l, op, "stride", 1))
    starts = np.arange((static(l, op, "x", axis) - size) // stride + 1, dtype=np.int64) * stride
    windows = starts[:, None] + np.arange(size, dtype=np.int64)
    l.emit("Gather", [l.operand(op, "x"), windows], {"axis": axis}, [l.out(op)])


@lifts("reverse", moves=True)
def reverse(l: Lifter, op: MilOp) -> None:
    axes = np.array(l.ints(op, "axes") if l.has(op, "axes") else range(l.rank(op, "x")), np.int64)
    if not axes.size:
        l.emit("Identity", [l.operand(op, "x")], None, [l.out(op)])
        return
    starts, ends = np.full(axes.size, _LAST), np.full(axes.size, _FIRST)
    l.emit("Slice", [l.operand(op, "x"), starts, ends, axes, np.full(axes.size, -1)], None, [l.out(op)])


@lifts("reverse_sequence", moves=True)
def reverse_sequence(l: Lifter, op: MilOp) -> None:
    """ONNX wants batch and sequence among the first two axes: they are brought there, and back."""
    rank = l.rank(op, "x")
    batch, time = (int(scalar(l, op, key, 0)) % max(rank, 1) for key in ("batch_axis", "seq_axis"))
    if rank < 2 or batch == time:
        l.refuse(op, "batch_axis and seq_axis are the same")
    perm = [batch, time, *(a for a in range(rank) if a not in (batch, time))]
    moved = l.emit("Transpose", [l.operand(op, "x")], {"perm": tuple(perm)})
    attrs = {"batch_axis": 0, "time_axis": 1}
    turned = l.emit("ReverseSequence", [moved, l.index(op, "lengths")], attrs)
    l.emit("Transpose", [turned], {"perm": tuple(perm.index(a) for a in range(rank))}, [l.out(op)])
