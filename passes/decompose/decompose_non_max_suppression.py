"""NonMaxSuppression step by step: pick the best box, drop what overlaps it, again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose._base import Decomposition, ints, need, operand
from coregraft.passes.shapes._index import count_up, number, true_places
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView, ValueView
from coregraft.rewriter.types import DType, TensorType

#: What is left of the score of a box that is kept or dropped, and the least that a box has before that.
_GONE = np.finfo(np.float32).min
_LEAST = np.nextafter(_GONE, np.float32(0))
#: Keeps a union of nothing from dividing by zero.
_TINY = np.finfo(np.float32).tiny

#: Most steps to write out. A loop takes a few ops for its own ends, and runs on the CPU.
MAX_UNROLLED = 16


@dataclass(frozen=True)
class DecomposeNonMaxSuppression(Decomposition):
    """Write NonMaxSuppression as one step per box that it may keep, for all classes and images at once.

    What it does
    ------------
    A step takes the best score that is left of each class, notes the box, and drops the boxes that overlap it by more
    than the threshold: a box is compared with the one that is kept, never all with all. There may be as many steps as
    boxes may be kept of a class: the op's limit, the number of boxes, or the declared size of the result, whichever is
    least. Up to ``max-unrolled`` are written out; more become a ``Loop`` that ends when no class has a box left. The
    rows of real boxes are gathered in the end; where the result has no declared size, its size depends on the data and
    the gathering is left to the CPU. Limit and thresholds may be computed at run time. Fires where the target has no
    lowering for the op.

    Why it matters
    --------------
    MIL's own ``non_maximum_suppression`` picks by the best class of a box, leaves open with what it pads its result,
    which of equal scores comes first, and what it gives when no box is left, and has no score threshold from iOS 17 on.
    Masking what it leaves open takes the comparisons it was meant to save, so it is not used.

    Example
    -------
    With a limit of one box, ``y = NonMaxSuppression(boxes, scores, 1)`` becomes the ArgMax of the scores, beside the
    numbers of image and class, where the score is above the threshold.

    Equivalence
    -----------
    The rows that onnxruntime gives, in its order: by image, by class, by falling score, the first of equal scores
    first. Overlaps are computed in its order of operations too, but in floating point, where a compiler may contract
    a product and a sum.

    Options
    -------
    ``max-unrolled``: most steps to write out; a step is about 25 ops.

    Sources
    -------
    H4.20; ONNX NonMaxSuppression-11.
    """

    code: ClassVar[str] = "CG420"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ("NonMaxSuppression",)
    when_unsupported: ClassVar[bool] = True
    max_unrolled: int = MAX_UNROLLED

    def build(self, op: OpBuilder, node: OpView) -> Any:
        y = node.outputs[0]
        assert y is not None
        kept = y.static_shape[0] if y.static_shape is not None else None
        found = select(
            op, (need(node, 0), need(node, 1), *(operand(node, i) for i in (2, 3, 4))), y.name,
            centred=node.attr("center_point_box") == 1, kept=kept, max_unrolled=self.max_unrolled,
        )  # fmt: skip
        if isinstance(found, NoMatch):
            return found
        owners, picked, real = found
        rows = op.Concat(owners, op.Reshape(picked, ints(op, [-1, 1])), axis=1)
        if kept is not None:
            return op.Gather(rows, true_places(op, real, kept), axis=0)
        return op.Gather(rows, op.Squeeze(op.NonZero(real), ints(op, [0])), axis=0)


def select(
    op: OpBuilder, operands: Sequence[ValueView | None], name: str, *, centred: bool, kept: int | None = None,
    max_unrolled: int = MAX_UNROLLED, valid: ValueView | None = None,
) -> tuple[Any, Any, Any] | NoMatch:  # fmt: skip
    """Every box that a NonMaxSuppression could give, in the order of its result.

    Args:
        operands: boxes, scores, limit, overlap and least score, as the op has them.
        name: of its result.
        kept: how many boxes it gives in all, where that is known.
        max_unrolled: from how many steps on they are a loop.
        valid: which boxes are any, bool [boxes]; all where None.

    Returns:
        The image and class of each, int64 [n, 2]; the box, int64 [n]; and whether it is given, bool [n].
    """
    boxes, scores, limit, overlap, least = operands
    assert boxes is not None and scores is not None
    if boxes.static_shape is None or scores.static_shape is None or (boxes.rank, scores.rank) != (3, 3):
        return NoMatch("the number of boxes is not known")
    images, classes, count = scores.static_shape
    bounds = [count, *([] if kept is None else [kept])]
    if limit is not None and limit.is_const:
        bounds.append(limit.scalar())
    steps = 0 if limit is None else min(bounds)
    if steps <= 0 or images * classes == 0:
        return NoMatch("it keeps no box, and Core ML has no empty tensor")
    suppression = _Suppression.of(op, boxes, scores, overlap, least, centred=centred, valid=valid)
    if steps <= max_unrolled:
        picked, real = suppression.unrolled(op, steps)
    else:
        picked, real = suppression.looped(op, steps, f"{name}/step")
    if limit is not None and not limit.is_const:
        real = op.And(real, op.Less(count_up(op, steps), op.Reshape(limit, ints(op, [1]))))
    owners = np.indices((images, classes, steps))[:2].reshape(2, -1).T
    flat = ints(op, [-1])
    return op.const(owners.astype(np.int64)), op.Reshape(picked, flat), op.Reshape(real, flat)


@dataclass(frozen=True)
class _Suppression:
    """What does not change from step to step.

    Attributes:
        left: scores, [images, classes, boxes], ``_GONE`` where a box is not above the threshold.
        sides: top, bottom, left and right of each box, and its area: [images, 1, boxes] each.
        flat: the same as vectors, to fetch from.
        first: where in the vectors the boxes of each image begin, int64 [images, 1, 1].
        most: the overlap from which on a box is dropped, [1].
    """

    left: Any
    sides: Sequence[Any]
    flat: Sequence[Any]
    first: Any
    most: Any

    @classmethod
    def of(
        cls, op: OpBuilder, boxes: ValueView, scores: ValueView, overlap: ValueView | None, least: ValueView | None,
        *, centred: bool, valid: ValueView | None,
    ) -> _Suppression:  # fmt: skip
        assert scores.static_shape is not None
        images, _, count = scores.static_shape
        left, gone = op.Max(scores, _constant(op, _LEAST)), _constant(op, _GONE)
        if least is not None:
            left = op.Where(op.Greater(scores, op.Reshape(least, ints(op, [1]))), left, gone)
        if valid is not None:
            left = op.Where(valid, left, gone)
        sides = _corners(op, boxes, centred)
        sides = [*sides, op.Mul(op.Sub(sides[1], sides[0]), op.Sub(sides[3], sides[2]))]
        return cls(
            left, sides, [op.Reshape(side, ints(op, [-1])) for side in sides],
            op.const(np.arange(0, images * count, count, dtype=np.int64).reshape(images, 1, 1)),
            op.const(np.zeros(1, np.float32)) if overlap is None else op.Reshape(overlap, ints(op, [1])),
        )  # fmt: skip

    def unrolled(self, op: OpBuilder, steps: int) -> tuple[Any, Any]:
        """The boxes picked, int64 [images, classes, steps], and whether each is one: what is not is some box all the
        same."""
        left, picked, there = self.left, [], []
        numbers = count_up(op, left.static_shape[2])
        while True:
            at, is_box = _best(op, left)
            picked.append(at)
            there.append(op.Cast(is_box, to=int(DType.INT32)))
            if len(picked) == steps:
                break
            left = self.following(op, left, at, numbers)
        flags = _joined(op, there)
        return _joined(op, picked), op.Cast(flags, to=int(DType.BOOL))

    def looped(self, op: OpBuilder, steps: int, stem: str) -> tuple[Any, Any]:
        """The same, in a loop that ends when no class has a box left; its values are called after ``stem``."""
        images, classes, _ = self.left.static_shape
        nothing = op.const(np.full((images, classes, steps), -1, np.int64))
        turns = op.const(np.array(steps, np.int64))
        body = self._body(op, stem, steps)
        _, picked = op.Loop(turns, _any_left(op, self.left), self.left, nothing, body=body, _outputs=2)
        zero = number(op, 0)
        return op.Max(picked, zero), op.GreaterOrEqual(picked, zero)

    def _body(self, op: OpBuilder, stem: str, steps: int) -> Graph:
        """One step as the body of a loop: what is left and what was picked, before and after."""
        step = op.body(stem, (*self.sides, *self.flat, self.first, self.most))
        turn = step.input("turn", TensorType(DType.INT64, ()))
        step.input("holds", TensorType(DType.BOOL, ()))
        shape = self.left.static_shape
        left = step.input("left", TensorType(DType.FLOAT, shape))
        picked = step.input("picked", TensorType(DType.INT64, (*shape[:2], steps)))
        at, is_box = _best(step, left)
        here = step.Equal(count_up(step, steps), turn)
        picked = step.Where(step.And(here, is_box), at, picked)
        left = self.following(step, left, at, count_up(step, shape[2]))
        step.graph.set_outputs([v.name for v in (_any_left(step, left), left, picked)])
        return step.graph

    def following(self, op: OpBuilder, left: Any, at: Any, numbers: Any) -> Any:
        """The scores left after box ``at`` of each class has been picked; ``numbers`` are those of the boxes."""
        flat = op.Add(at, self.first)
        top, bottom, first, last, area = (op.Gather(values, flat, axis=0) for values in self.flat)
        zero = _constant(op, 0)
        height = op.Sub(op.Min(self.sides[1], bottom), op.Max(self.sides[0], top))
        width = op.Sub(op.Min(self.sides[3], last), op.Max(self.sides[2], first))
        common = op.Mul(op.Max(height, zero), op.Max(width, zero))
        union = op.Max(op.Sub(op.Add(self.sides[4], area), common), _constant(op, _TINY))
        gone = op.Or(op.Equal(numbers, at), op.Greater(op.Div(common, union), self.most))
        return op.Where(gone, _constant(op, _GONE), left)


def _corners(op: OpBuilder, boxes: ValueView, centred: bool) -> list[Any]:
    """Least and greatest y and x of each box: [images, 1, boxes] each."""
    columns = op.Split(op.Transpose(boxes, perm=[0, 2, 1]), ints(op, [1, 1, 1, 1]), axis=1, _outputs=4)
    if not centred:
        top, left, bottom, right = columns
        return [op.Min(top, bottom), op.Max(top, bottom), op.Min(left, right), op.Max(left, right)]
    x, y, width, height = columns
    half_height, half_width = op.Mul(height, 0.5), op.Mul(width, 0.5)
    return [op.Sub(y, half_height), op.Add(y, half_height), op.Sub(x, half_width), op.Add(x, half_width)]


def _best(op: OpBuilder, left: Any) -> tuple[Any, Any]:
    """The box of the best score left of each class, [images, classes, 1], and whether there was one."""
    best = op.ReduceMax(left, ints(op, [2]))
    return op.ArgMax(left, axis=2, keepdims=1), op.Greater(best, _constant(op, _GONE))


def _any_left(op: OpBuilder, left: Any) -> Any:
    return op.Greater(op.ReduceMax(left, keepdims=0), _constant(op, _GONE))


def _constant(op: OpBuilder, value: Any) -> Any:
    return op.const(np.array(value, np.float32))


def _joined(op: OpBuilder, parts: list[Any]) -> Any:
    return op.Concat(*parts, axis=2) if len(parts) > 1 else parts[0]
