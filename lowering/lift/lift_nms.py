"""Non-maximum suppression: ONNX selects, the rest is what Core ML makes of a selection that is too short."""

from __future__ import annotations

import numpy as np

from coregraft.lowering.lift.lifter import Lifter
from coregraft.lowering.lift.operands import scalar
from coregraft.lowering.lift.registry import lifts
from coregraft.lowering.lift.spec import MilOp

_LOWEST = np.finfo(np.float32).min


@lifts("non_maximum_suppression", moves=True)
def non_maximum_suppression(l: Lifter, op: MilOp) -> None:
    """Boxes by falling score, each dropped that overlaps a kept one (of its own class, with per_class_suppression).

    A box's score is its best class's, and that is its class. Up to iOS 16 boxes are ``[n, B, 4]``, there is a score
    threshold and the number of boxes is a result; from iOS 17 on they are ``[n, 4, B]``.
    """
    last = l.since("iOS17")
    boxes, scores = l.operand(op, "boxes"), l.operand(op, "scores")
    count, classes = l.shape(op, "scores")[0], l.shape(op, "scores")[1 if last else 2]
    if last:
        boxes, scores = (l.emit("Transpose", [v], {"perm": (0, 2, 1)}) for v in (boxes, scores))
    l.undefined(op, "how a selection is padded is documented for neural networks only; 0, and index -1, is assumed")
    if not last:
        l.undefined(op, "what is given when no box is left is documented for neural networks only; "
                        "the best box is assumed")  # fmt: skip
    selected = [_selected(l, op, _item(l, boxes, i), _item(l, scores, i), classes) for i in range(count)]
    size = int(l.need(op, "max_boxes"))
    rows = [_padded(l, chosen, size) for chosen in selected]
    indices = l.emit("Concat", rows, {"axis": 0})  # [n, max_boxes], -1 where there is no box
    missing = l.emit("Unsqueeze", [l.emit("Less", [indices, np.int64(0)]), np.array([-1], np.int64)])
    there = l.emit("Unsqueeze", [l.emit("Max", [indices, np.int64(0)]), np.array([-1], np.int64)])
    for i, source in enumerate((boxes, scores)):
        taken = l.emit("Where", [missing, np.float32(0), l.emit("GatherND", [source, there], {"batch_dims": 1})])
        if last:
            l.emit("Transpose", [taken], {"perm": (0, 2, 1)}, [l.out(op, i)])
        else:
            l.emit("Identity", [taken], None, [l.out(op, i)])
    l.emit("Cast", [indices], {"to": int(l.out_type(op, 2).dtype)}, [l.out(op, 2)])
    if not last:
        found = [l.emit("Shape", [chosen]) for chosen in selected]
        limited = l.emit("Min", [l.emit("Concat", found, {"axis": 0}), np.int64(size)])
        l.emit("Cast", [limited], {"to": int(l.out_type(op, 3).dtype)}, [l.out(op, 3)])


def _item(l: Lifter, batch: str, i: int) -> str:
    """One item of a batch, as a batch of one."""
    return l.emit("Gather", [batch, np.array([i], np.int64)], {"axis": 0})


def _selected(l: Lifter, op: MilOp, boxes: str, scores: str, classes: int) -> str:
    """The indices of the boxes kept of one item, by falling score: INT64 [m]."""
    best = l.emit("ReduceMax", [scores, np.array([2], np.int64)], {"keepdims": 0})  # [1, B]
    eligible = l.emit("Unsqueeze", [best, np.array([1], np.int64)])  # [1, 1, B]
    threshold = scalar(l, op, "score_threshold")
    if threshold is not None:
        high = l.emit("GreaterOrEqual", [eligible, np.float32(threshold)])
        eligible = l.emit("Where", [high, eligible, np.float32(-np.inf)])
    if scalar(l, op, "per_class_suppression", False):
        own = l.emit("Unsqueeze", [l.emit("ArgMax", [scores], {"axis": 2, "keepdims": 0}), np.array([1], np.int64)])
        of_class = l.emit("Equal", [own, np.arange(classes, dtype=np.int64).reshape(1, classes, 1)])
        eligible = l.emit("Where", [of_class, eligible, np.float32(-np.inf)])
    limit, iou = np.array([int(l.need(op, "max_boxes"))], np.int64), np.array([l.need(op, "iou_threshold")], np.float32)
    picked = l.emit(
        "NonMaxSuppression", [boxes, eligible, limit, iou, np.array([_LOWEST], np.float32)], {"center_point_box": 1}
    )
    of_box = l.emit("Gather", [picked, np.int64(2)], {"axis": 1})
    values = l.emit("Gather", [l.emit("Reshape", [best, np.array([-1], np.int64)]), of_box])
    _, order = l.emit_many("TopK", [values, l.emit("Shape", [values])], 2, {"axis": 0})
    chosen = l.emit("Gather", [of_box, order])
    if l.since("iOS17"):
        return chosen
    top = l.emit("ArgMax", [best], {"axis": 1, "keepdims": 0})  # [1]: taken when no box is left
    either = l.emit("Concat", [chosen, top], {"axis": 0})
    kept = l.emit("Max", [l.emit("Shape", [chosen]), np.array([1], np.int64)])
    return l.emit("Slice", [either, np.array([0], np.int64), kept])


def _padded(l: Lifter, chosen: str, size: int) -> str:
    """The first ``size`` indices as a row, with -1 where there are fewer."""
    filled = l.emit("Concat", [chosen, np.full(size, -1, np.int64)], {"axis": 0})
    row = l.emit("Slice", [filled, np.array([0], np.int64), np.array([size], np.int64)])
    return l.emit("Unsqueeze", [row, np.array([0], np.int64)])
