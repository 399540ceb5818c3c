"""Ops that make tensors: filled, counted, padded, masked, one-hot."""

from __future__ import annotations

from typing import Any

import numpy as np

from coregraft.lowering.lift.lift_elementwise import chosen
from coregraft.lowering.lift.lifter import Lifter, Operand, carried_type
from coregraft.lowering.lift.operands import scalar
from coregraft.lowering.lift.registry import lifts
from coregraft.lowering.lift.spec import MilOp
from coregraft.rewriter.types import Const, DType

_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}


def _of_result(l: Lifter, op: MilOp, value: Any) -> Any:
    """A number in the element type of the result."""
    return np.asarray(value).astype(carried_type(l.out_type(op)).dtype.numpy)


@lifts("fill", "fill_like", moves=True)
def fill(l: Lifter, op: MilOp) -> None:
    shape = l.index(op, "shape") if op.type == "fill" else l.emit("Shape", [l.operand(op, "ref_tensor")])
    value = Const.of(_of_result(l, op, scalar(l, op, "value", 0.0)).reshape(1))
    l.emit("ConstantOfShape", [shape], {"value": value}, [l.out(op)])


@lifts("range_1d")
def range_1d(l: Lifter, op: MilOp) -> None:
    l.emit("Range", [l.operand(op, key) for key in ("start", "end", "step")], None, [l.out(op)])


@lifts("one_hot", moves=True)
def one_hot(l: Lifter, op: MilOp) -> None:
    """By comparison with 0, 1, 2, …: an index out of range, where MIL says nothing, gives all ``off_value``."""
    rank = l.rank(op, "indices")
    axis = int(scalar(l, op, "axis", -1)) % (rank + 1)
    depth = l.emit("Cast", [l.operand(op, "one_hot_vector_size")], {"to": int(DType.INT32)})
    if l.type(op, "one_hot_vector_size").rank:
        depth = l.emit("Squeeze", [depth])
    places = l.emit("Range", [np.int32(0), depth, np.int32(1)])
    places = l.emit("Reshape", [places, np.array([-1] + [1] * (rank - axis), np.int64)])
    indices = l.emit("Cast", [l.operand(op, "indices")], {"to": int(DType.INT32)})
    hot = l.emit("Equal", [l.emit("Unsqueeze", [indices, np.array([axis], np.int64)]), places])
    on, off = (_of_result(l, op, scalar(l, op, key, value)) for key, value in (("on_value", 1), ("off_value", 0)))
    chosen(l, hot, on, off, l.out_type(op).dtype, l.out(op))


@lifts("non_zero")
def non_zero(l: Lifter, op: MilOp) -> None:
    found = l.emit("Transpose", [l.emit("NonZero", [l.operand(op, "x")])], {"perm": (1, 0)})
    l.emit("Cast", [found], {"to": int(l.out_type(op).dtype)}, [l.out(op)])


@lifts("band_part", moves=True)
def band_part(l: Lifter, op: MilOp) -> None:
    """The lower bound and the upper one, each a triangle unless it is negative."""
    dtype = carried_type(l.type(op, "x")).dtype
    x = l.operand(op, "x")
    if dtype is DType.INT32:  # onnxruntime has no Trilu for it
        x = l.emit("Cast", [x], {"to": int(DType.INT64)})
    for upper, key, sign in ((1, "lower", -1), (0, "upper", 1)):
        bound = int(scalar(l, op, key, -1))
        if bound >= 0:
            x = l.emit("Trilu", [x, np.int64(sign * bound)], {"upper": upper})
    l.emit("Cast", [x], {"to": int(dtype)}, [l.out(op)])


@lifts("pad", moves=True)
def pad(l: Lifter, op: MilOp) -> None:
    """``pad`` covers the last axes; [before, after] by axis becomes all befores, then all afters."""
    mode = scalar(l, op, "mode", "constant")
    if mode not in _MODES:
        l.refuse(op, f"mode {mode} is unknown")
    rank, known = l.rank(op, "x"), l.const(op, "pad")
    if known is None:
        by_axis = l.emit("Reshape", [l.index(op, "pad"), np.array([-1, 2], np.int64)])
        flipped = l.emit("Transpose", [by_axis], {"perm": (1, 0)})
        pads: Operand = l.emit("Reshape", [flipped, np.array([-1], np.int64)])
        first = 0
    else:
        pads = np.asarray(known, np.int64).reshape(-1, 2).T.ravel()
        first = rank - len(known) // 2
    value = _of_result(l, op, scalar(l, op, "constant_val", 0.0)) if mode == "constant" else None
    axes = np.arange(first, rank, dtype=np.int64)
    l.emit("Pad", [l.operand(op, "x"), pads, value, axes], {"mode": _MODES[mode]}, [l.out(op)])
