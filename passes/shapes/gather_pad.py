"""Pad with pads that are computed at run time, where the shape of its result is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose._base import Decomposition, computed, constant, ints, need, operand, scalar
from coregraft.passes.shapes._index import at, clipped, count_up, number, per_axis
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView
from coregraft.rewriter.target import Target


@dataclass(frozen=True)
class GatherPad(Decomposition):
    """Write a Pad with pads computed at run time as Gather, where the shape of the result is known.

    What it does
    ------------
    The model declares how large the result is, so what is left to compute is where the data lies in it. Along each
    axis the element for place ``i`` is that at ``i - before``: held within the axis (edge), mirrored (reflect), modulo
    its size (wrap), or the fill value outside of it (constant). Negative pads crop. The pads at the end are not read.
    Fires for Core ML targets only.

    Why it matters
    --------------
    Shapes are fixed when Core ML compiles a model, and a padding with computed sizes has none.

    Example
    -------
    ``y: float[6] = Pad<mode="edge">(x: float[4], pads)`` becomes
    ``y = Gather(x, Min(Max([0, 1, 2, 3, 4, 5] - pads[0], 0), 3))``.

    Equivalence
    -----------
    Bit-exact where the run-time values agree with the declared shape, as ONNX demands.

    Sources
    -------
    H4.13, H5.08; ONNX Pad-24.
    """

    code: ClassVar[str] = "CG508"
    equivalence: ClassVar[Equivalence] = Equivalence.BIT_EXACT
    roots: ClassVar[tuple[str, ...]] = ("Pad",)

    def wanted(self, node: OpView, target: Target) -> bool:
        return target.ops is not None and (computed(node, 1) or computed(node, 3))

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x, y, pads = need(node, 0), node.outputs[0], need(node, 1)
        assert y is not None
        sizes, wanted, given = x.static_shape, y.static_shape, pads.static_shape
        if sizes is None or wanted is None or given is None or x.dtype is None:
            return NoMatch("the shape of its result is not known")
        axes, rank, mode = operand(node, 3), len(sizes), node.attr("mode")
        before = per_axis(op, op.Slice(pads, ints(op, [0]), ints(op, [given[0] // 2])), axes, rank)
        fixed = constant(node, 3) if axes is not None else np.arange(given[0] // 2)
        padded = range(rank) if fixed is None else sorted({int(a) % rank for a in fixed})
        result: Any = x
        inside: Any = None
        for axis in padded:
            size, places = sizes[axis], op.Sub(count_up(op, wanted[axis]), at(op, before, axis))
            if mode == "constant":
                low, high = number(op, 0), number(op, size)
                valid = op.And(op.GreaterOrEqual(places, low), op.Less(places, high))
                valid = op.Reshape(valid, ints(op, [-1 if i == axis else 1 for i in range(rank)]))
                inside = valid if inside is None else op.And(inside, valid)
            result = op.Gather(result, _source(op, places, size, mode), axis=axis)
        if inside is None:
            return result
        fill = operand(node, 2)
        filled = scalar(op, 0, x) if fill is None else op.Reshape(fill, op.const(np.zeros(0, np.int64)))
        return op.Where(inside, result, filled)


def _source(op: OpBuilder, places: Any, size: int, mode: str) -> Any:
    """The element of an axis that lies at ``places``."""
    if mode == "wrap":
        return op.Mod(places, number(op, size))
    if mode == "reflect" and size > 1:
        last = number(op, size - 1)
        around = op.Mod(places, number(op, 2 * (size - 1)))
        return op.Sub(last, op.Abs(op.Sub(around, last)))
    return clipped(op, places, 0, size - 1)
