"""NonMaxSuppression step by step: pick the best box, drop what overlaps it, again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose._base import Decomposition, constant, ints, need, operand
from coregraft.passes.shapes._index import true_places
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView, ValueView
from coregraft.rewriter.types import DType

_GONE = -np.inf
#: Below every score that a box can have; in fp16 it is minus infinity, which compares the same.
_LOWEST = float(np.finfo(np.float32).min)


@dataclass(frozen=True)
class DecomposeNonMaxSuppression(Decomposition):
    """Write NonMaxSuppression as one step per box that it may keep, for all classes and images at once.

    What it does
    ------------
    A step takes the best score that is left, notes the box, and drops the boxes that overlap it by more than the
    threshold. As many steps are written out as boxes may be kept of a class: the op's limit, the number of boxes, or
    the declared size of the result, whichever is least. The rows of real boxes are gathered in the end; where the
    result has no declared size, its size depends on the data and the gathering is left to the CPU. Thresholds may be
    computed at run time. Fires where the target has no lowering for the op, for at most ``max-boxes`` steps.

    Why it matters
    --------------
    MIL's own op picks by the best class of a box, pads its result, and leaves open with what.

    Example
    -------
    With a limit of one box, ``y = NonMaxSuppression(boxes, scores, 1)`` becomes the ArgMax of the scores, beside the
    numbers of image and class, where the score is above the threshold.

    Equivalence
    -----------
    Bit-exact but for the overlap of two boxes, which is computed in another order. Of equal scores the first is taken.

    Options
    -------
    ``max-boxes``: most steps to write out; a step is about 25 ops.

    Sources
    -------
    H4.20; ONNX NonMaxSuppression-11.
    """

    code: ClassVar[str] = "CG420"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ("NonMaxSuppression",)
    when_unsupported: ClassVar[bool] = True
    max_boxes: int = 64

    def build(self, op: OpBuilder, node: OpView) -> Any:
        boxes, scores, y = need(node, 0), need(node, 1), node.outputs[0]
        assert y is not None
        if boxes.static_shape is None or scores.static_shape is None:
            return NoMatch("the number of boxes is not known")
        images, classes, count = scores.static_shape
        kept = y.static_shape[0] if y.static_shape is not None else None
        steps = self._steps(node, count, kept)
        if isinstance(steps, NoMatch):
            return steps
        picked, there = _pick(op, node, _corners(op, boxes, node.attr("center_point_box") == 1), scores, steps)
        limit = operand(node, 2)
        if limit is not None and not limit.is_const:
            order = op.const(np.arange(steps, dtype=np.int64))
            there = op.And(there, op.Less(order, op.Reshape(limit, ints(op, [1]))))
        places = [(i, c) for i in range(images) for c in range(classes) for _ in range(steps)]
        rows = op.Concat(op.const(np.array(places, np.int64)), op.Reshape(picked, ints(op, [-1, 1])), axis=1)
        real = op.Reshape(there, ints(op, [-1]))
        if kept is not None:
            return op.Gather(rows, true_places(op, real, kept), axis=0)
        return op.Gather(rows, op.Squeeze(op.NonZero(real), ints(op, [0])), axis=0)

    def _steps(self, node: OpView, count: int, kept: int | None) -> int | NoMatch:
        limit = operand(node, 2)
        bounds = [count, *([] if kept is None else [kept])]
        if limit is None:
            return NoMatch("it keeps no box")
        fixed = constant(node, 2)
        if fixed is not None:
            bounds.append(int(fixed.reshape(())))
        steps = min(bounds)
        if steps <= 0:
            return NoMatch("it keeps no box")
        if steps > self.max_boxes:
            return NoMatch("{} steps are more than max-boxes={}", steps, self.max_boxes)
        return steps


def _corners(op: OpBuilder, boxes: ValueView, centred: bool) -> list[Any]:
    """Least and greatest y and x of each box: [images, 1, boxes] each."""
    columns = op.Split(op.Transpose(boxes, perm=[0, 2, 1]), ints(op, [1, 1, 1, 1]), axis=1, _outputs=4)
    if not centred:
        top, left, bottom, right = columns
        return [op.Min(top, bottom), op.Max(top, bottom), op.Min(left, right), op.Max(left, right)]
    x, y, width, height = columns
    half_height, half_width = op.Mul(height, 0.5), op.Mul(width, 0.5)
    return [op.Sub(y, half_height), op.Add(y, half_height), op.Sub(x, half_width), op.Add(x, half_width)]


def _pick(op: OpBuilder, node: OpView, corners: list[Any], scores: ValueView, steps: int) -> tuple[Any, Any]:
    """The boxes picked by image, class and step, int64 [images, classes, steps]; and whether each is one."""
    assert scores.static_shape is not None
    overlap, least = (operand(node, i) for i in (3, 4))
    gone = op.const(np.array(_GONE, np.float32))
    left: Any = scores
    if least is not None:
        left = op.Where(op.Greater(scores, op.Reshape(least, ints(op, [1]))), scores, gone)
    most = op.const(np.zeros(1, np.float32)) if overlap is None else op.Reshape(overlap, ints(op, [1]))
    numbers = op.const(np.arange(scores.static_shape[2], dtype=np.int64))
    area = op.Mul(op.Sub(corners[1], corners[0]), op.Sub(corners[3], corners[2]))
    picked, there = [], []
    for _ in range(steps):
        at = op.ArgMax(left, axis=2, keepdims=1)
        there.append(op.Greater(op.ReduceMax(left, ints(op, [2])), op.const(np.array(_LOWEST, np.float32))))
        picked.append(at)
        if len(picked) == steps:
            break
        here = op.Equal(numbers, at)
        left = op.Where(op.Or(here, _overlaps(op, corners, area, here, most)), gone, left)
    flags = _joined(op, [op.Cast(t, to=int(DType.INT32)) for t in there])
    return _joined(op, picked), op.Cast(flags, to=int(DType.BOOL))


def _joined(op: OpBuilder, parts: list[Any]) -> Any:
    return op.Concat(*parts, axis=2) if len(parts) > 1 else parts[0]


def _overlaps(op: OpBuilder, corners: list[Any], area: Any, here: Any, most: Any) -> Any:
    """Which boxes overlap the one that is ``here`` by more than ``most`` of their union."""
    zero = op.const(np.array(0, np.float32))

    def chosen(values: Any) -> Any:
        return op.ReduceSum(op.Where(here, values, zero), ints(op, [2]))

    top, bottom, first, last = (chosen(c) for c in corners)
    height = op.Sub(op.Min(corners[1], bottom), op.Max(corners[0], top))
    width = op.Sub(op.Min(corners[3], last), op.Max(corners[2], first))
    common = op.Mul(op.Max(height, zero), op.Max(width, zero))
    union = op.Sub(op.Add(area, chosen(area)), common)
    return op.Greater(common, op.Mul(most, union))

