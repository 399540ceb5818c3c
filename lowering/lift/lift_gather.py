"""Gathers and scatters.

From iOS 17 on, a negative index is out of bounds, and what happens then is undefined. Indices that are constants are
checked here; computed ones are counted from the end, as ONNX does it, and one out of range stops onnxruntime.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from coregraft.lowering.lift.lifter import Lifter, carried_type
from coregraft.lowering.lift.operands import scalar, sizes
from coregraft.lowering.lift.registry import lifts
from coregraft.lowering.lift.spec import MilOp

_REDUCTIONS = {"update": "none", "add": "add", "sub": "add", "mul": "mul", "div": "mul", "max": "max", "min": "min"}


def _indices(l: Lifter, op: MilOp, data: str, axes: Sequence[int]) -> str:
    """The indices as INT64. ``axes`` are the axes of ``data`` that they run over: one, or one per last element."""
    known = l.const(op, "indices")
    if known is not None:
        values = np.asarray(known, np.int64)
        dims = [d if isinstance(d, int) else None for d in sizes(l, op, data)]
        limits = [np.iinfo(np.int32).max if (d := dims[a]) is None else d for a in axes]
        bound: int | np.ndarray[tuple[int], np.dtype[np.int64]] = limits[0] if len(limits) == 1 else np.array(limits)
        low = 0 if l.since("iOS17") else -bound
        if np.any((values < low) | (values >= bound)):
            l.undefined(op, "an index is out of bounds; one below 0 is assumed to count from the end")
    return l.index(op, "indices")


@lifts("gather", moves=True)
def gather(l: Lifter, op: MilOp) -> None:
    rank = l.rank(op, "x")
    axis, batch = int(scalar(l, op, "axis", 0)) % max(rank, 1), int(scalar(l, op, "batch_dims", 0))
    indices = _indices(l, op, "x", [axis])
    if not batch:
        l.emit("Gather", [l.operand(op, "x"), indices], {"axis": axis}, [l.out(op)])
        return
    inner = l.rank(op, "indices") - batch
    if axis < batch:
        l.refuse(op, "its axis is one of the batch dims")
    between, after = range(batch, axis), range(axis + 1, rank)
    moved = l.emit("Transpose", [l.operand(op, "x")], {"perm": (*range(batch), axis, *between, *after)})
    tuples = l.emit("Unsqueeze", [indices, np.array([-1], np.int64)])
    found = l.emit("GatherND", [moved, tuples], {"batch_dims": batch})
    # Now: batch, the indices' own dims, the dims before the axis, those after it.
    middle = batch + inner
    perm = (*range(batch), *range(middle, middle + len(between)), *range(batch, middle),
            *range(middle + len(between), middle + len(between) + len(after)))  # fmt: skip
    l.emit("Transpose", [found], {"perm": perm}, [l.out(op)])


@lifts("gather_along_axis", moves=True)
def gather_along_axis(l: Lifter, op: MilOp) -> None:
    axis = int(scalar(l, op, "axis", 0)) % l.rank(op, "x")
    l.emit("GatherElements", [l.operand(op, "x"), _indices(l, op, "x", [axis])], {"axis": axis}, [l.out(op)])


def _tuple_axes(l: Lifter, op: MilOp, batch: int) -> list[int]:
    depth = sizes(l, op, "indices")[-1]
    if not isinstance(depth, int):
        l.refuse(op, "the length of its index tuples is not fixed")
    return list(range(batch, batch + depth))


@lifts("gather_nd", moves=True)
def gather_nd(l: Lifter, op: MilOp) -> None:
    batch = int(scalar(l, op, "batch_dims", 0))
    indices = _indices(l, op, "x", _tuple_axes(l, op, batch))
    l.emit("GatherND", [l.operand(op, "x"), indices], {"batch_dims": batch}, [l.out(op)])


def _mode(l: Lifter, op: MilOp) -> str:
    mode = scalar(l, op, "mode")
    if mode is None:
        if op.type == "scatter":
            l.undefined(op, 'mode is absent: "update" by MIL\'s text, "add" by its code, which is assumed')
        mode = "add"
    if mode not in _REDUCTIONS:
        l.refuse(op, f"mode {mode} is unknown")
    return str(mode)


def _updates(l: Lifter, op: MilOp, mode: str) -> str:
    """What is added for a difference, or multiplied for a quotient."""
    updates = l.operand(op, "updates")
    if mode == "sub":
        return l.emit("Neg", [updates])
    if mode == "div":
        if not carried_type(l.type(op, "updates")).dtype.is_float:
            l.refuse(op, "it divides integers")
        return l.emit("Reciprocal", [updates])
    return updates


@lifts("scatter")
def scatter(l: Lifter, op: MilOp) -> None:
    """Whole slices along an axis, which is brought to the front and back."""
    rank, mode = l.rank(op, "data"), _mode(l, op)
    axis = int(scalar(l, op, "axis", 0)) % rank
    tuples = l.emit("Unsqueeze", [_indices(l, op, "data", [axis]), np.array([-1], np.int64)])
    data, updates, attrs = l.operand(op, "data"), _updates(l, op, mode), {"reduction": _REDUCTIONS[mode]}
    if axis == 0:
        l.emit("ScatterND", [data, tuples, updates], attrs, [l.out(op)])
        return
    perm = (axis, *(a for a in range(rank) if a != axis))
    front, parts = (l.emit("Transpose", [v], {"perm": perm}) for v in (data, updates))
    written = l.emit("ScatterND", [front, tuples, parts], attrs)
    l.emit("Transpose", [written], {"perm": tuple(perm.index(a) for a in range(rank))}, [l.out(op)])


@lifts("scatter_along_axis")
def scatter_along_axis(l: Lifter, op: MilOp) -> None:
    axis, mode = int(scalar(l, op, "axis", 0)) % l.rank(op, "data"), _mode(l, op)
    operands = [l.operand(op, "data"), _indices(l, op, "data", [axis]), _updates(l, op, mode)]
    l.emit("ScatterElements", operands, {"axis": axis, "reduction": _REDUCTIONS[mode]}, [l.out(op)])


@lifts("scatter_nd")
def scatter_nd(l: Lifter, op: MilOp) -> None:
    mode = _mode(l, op)
    operands = [l.operand(op, "data"), _indices(l, op, "data", _tuple_axes(l, op, 0)), _updates(l, op, mode)]
    l.emit("ScatterND", operands, {"reduction": _REDUCTIONS[mode]}, [l.out(op)])
