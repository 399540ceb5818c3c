"""Reductions, scans, sorting, and the class label of a classifier."""

from __future__ import annotations

import numpy as np

from coregraft.lowering.lift.lifter import Lifter, carried_type
from coregraft.lowering.lift.operands import scalar
from coregraft.lowering.lift.registry import lifts
from coregraft.lowering.lift.spec import MilOp
from coregraft.rewriter.types import Const, DType

_REDUCE = {
    "reduce_l1_norm": "ReduceL1", "reduce_l2_norm": "ReduceL2", "reduce_log_sum": "ReduceLogSum",
    "reduce_log_sum_exp": "ReduceLogSumExp", "reduce_mean": "ReduceMean", "reduce_prod": "ReduceProd",
    "reduce_sum": "ReduceSum", "reduce_sum_square": "ReduceSumSquare",
}  # fmt: skip
_REDUCE_EXACT = {"reduce_max": "ReduceMax", "reduce_min": "ReduceMin"}
#: Reductions whose result is not a whole number, though MIL gives it the type of x.
_FRACTIONAL = ("reduce_l2_norm", "reduce_log_sum", "reduce_log_sum_exp", "reduce_mean")


def _reduced(l: Lifter, op: MilOp, onnx_type: str, x: str, outputs: list[str] | None) -> str:
    axes = np.asarray(l.need(op, "axes"), np.int64).reshape(-1) if l.has(op, "axes") else None
    if axes is not None and not axes.size:
        l.refuse(op, "axes is an empty list")
    return l.emit(onnx_type, [x, axes], {"keepdims": int(scalar(l, op, "keep_dims", False))}, outputs)


@lifts(*_REDUCE)
def reduce(l: Lifter, op: MilOp) -> None:
    x = l.operand(op, "x")
    if l.type(op, "x").dtype.is_float or op.type not in _FRACTIONAL:
        _reduced(l, op, _REDUCE[op.type], x, [l.out(op)])
        return
    l.undefined(op, "its result is typed as integer; the fraction is assumed to be dropped")
    wide = _reduced(l, op, _REDUCE[op.type], l.emit("Cast", [x], {"to": int(DType.DOUBLE)}), None)
    l.emit("Cast", [wide], {"to": int(l.out_type(op).dtype)}, [l.out(op)])


@lifts(*_REDUCE_EXACT, moves=True)
def reduce_exact(l: Lifter, op: MilOp) -> None:
    _reduced(l, op, _REDUCE_EXACT[op.type], l.operand(op, "x"), [l.out(op)])


@lifts("reduce_argmax", "reduce_argmin")
def reduce_arg(l: Lifter, op: MilOp) -> None:
    """Of equal elements the first is taken; Core ML does not promise which."""
    attrs = {"axis": int(scalar(l, op, "axis", -1)), "keepdims": int(scalar(l, op, "keep_dims", False))}
    found = l.emit("ArgMax" if op.type == "reduce_argmax" else "ArgMin", [l.operand(op, "x")], attrs)
    l.emit("Cast", [found], {"to": int(l.out_type(op).dtype)}, [l.out(op)])


@lifts("cumsum")
def cumsum(l: Lifter, op: MilOp) -> None:
    attrs = {key: int(scalar(l, op, key, False)) for key in ("exclusive", "reverse")}
    l.emit("CumSum", [l.operand(op, "x"), np.int64(scalar(l, op, "axis", 0))], attrs, [l.out(op)])


def _sorted(l: Lifter, op: MilOp, k: str, axis: int, ascending: bool) -> tuple[str, str]:
    """Values and INT64 indices of the first ``k`` elements in order, in a type that onnxruntime sorts."""
    x, dtype = l.operand(op, "x"), carried_type(l.type(op, "x")).dtype
    if dtype not in (DType.FLOAT, DType.INT32):
        x = l.emit("Cast", [x], {"to": int(DType.INT32)})
    values, indices = l.emit_many("TopK", [x, k], 2, {"axis": axis, "largest": int(not ascending), "sorted": 1})
    return values, indices


def _whole_axis(l: Lifter, op: MilOp, axis: int) -> str:
    """The size of an axis of x, as TopK wants it."""
    shape = l.emit("Shape", [l.operand(op, "x")])
    return l.emit("Gather", [shape, np.array([axis], np.int64)])


@lifts("topk", moves=True)
def topk(l: Lifter, op: MilOp) -> None:
    """Always sorted, which ``sort=False`` allows; of equal elements those with the lower index come first."""
    axis, k = int(scalar(l, op, "axis", -1)), int(scalar(l, op, "k", 1))
    count = _whole_axis(l, op, axis) if k == -1 else l.literal(np.array([k], np.int64))
    values, indices = _sorted(l, op, count, axis, bool(scalar(l, op, "ascending", False)))
    l.emit("Cast", [values], {"to": int(carried_type(l.out_type(op)).dtype)}, [l.out(op)])
    if len(op.outputs) > 1:
        l.emit("Cast", [indices], {"to": int(l.out_type(op, 1).dtype)}, [l.out(op, 1)])


@lifts("argsort")
def argsort(l: Lifter, op: MilOp) -> None:
    axis = int(scalar(l, op, "axis", -1))
    _, indices = _sorted(l, op, _whole_axis(l, op, axis), axis, bool(scalar(l, op, "ascending", False)))
    l.emit("Cast", [indices], {"to": int(l.out_type(op).dtype)}, [l.out(op)])


@lifts("classify")
def classify(l: Lifter, op: MilOp) -> None:
    """The label as a tensor, and in place of Core ML's dictionary the probabilities in the order of the classes."""
    classes = op.inputs["classes"][0]
    if not isinstance(classes, Const):
        l.refuse(op, "its classes are not written in the op")
    flat = l.emit("Reshape", [l.operand(op, "probabilities"), np.array([-1], np.int64)])
    best = l.emit("ArgMax", [flat], {"axis": 0, "keepdims": 0})
    l.emit("Gather", [classes.numpy(), best], None, [l.out(op)])
    l.warn(op, f'"{op.outputs[1].name}" is a dictionary in Core ML; here it is a vector in the order of the classes')
    l.emit("Identity", [flat], None, [l.out(op, 1)])
