"""What is cut out of a tensor that was padded to a size which only the run time knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose._base import computed, constant, ints, need, operand
from coregraft.passes.shapes._index import Padding, Slicing, at, count_up
from coregraft.passes.shapes._trusting import Trusting
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView
from coregraft.rewriter.target import Target


@dataclass(frozen=True)
class GatherPadded(Trusting):
    """Write Slice and Shape of a Pad of unknown size in terms of what is padded.

    What it does
    ------------
    Where a Pad has pads computed at run time and a result of unknown size, a Slice of it that has a declared shape
    fetches its elements from the operand of the Pad: the place in the padded tensor less what was put before, and the
    padding's value where that lies outside. Its Shape is computed: the operand's and both pads added. With both gone
    the Pad is dead. Fires for Core ML targets only.

    Why it matters
    --------------
    Core ML has no tensor whose size is computed, not even in between: padding to at least a size and then cropping to
    it, which is what CenterCropPad does, needs none.

    Example
    -------
    ``y: float[4] = Slice(Pad(x: float[6], pads), start, end)`` becomes
    ``y = Where(0 <= p < 6, Gather(x, p), 0)`` with ``p = start + [0, 1, 2, 3] - pads[0]``.

    Equivalence
    -----------
    Bit-exact where the run-time values agree with the declared shape, as ONNX demands.

    Sources
    -------
    H4.13, H5.08; ONNX Pad-24, Slice-13.
    """

    code: ClassVar[str] = "CG508"
    equivalence: ClassVar[Equivalence] = Equivalence.BIT_EXACT
    roots: ClassVar[tuple[str, ...]] = ("Shape", "Slice")

    def trusts(self, node: OpView) -> bool:
        return node.type != "Shape"  # which is computed, whatever is declared

    def wanted(self, node: OpView, target: Target) -> bool:
        pad = need(node, 0).producer
        return target.ops is not None and pad is not None and (pad.domain, pad.type) == ("", "Pad") and computed(pad, 1)

    def build(self, op: OpBuilder, node: OpView) -> Any:
        padded = need(node, 0)
        assert padded.producer is not None
        x, padding = need(padded.producer, 0), Padding.of(op, padded.producer)
        if x.static_shape is None or padding is None or padded.static_shape is not None:
            return NoMatch("the shape of its operand is known, or that of what is padded is not")
        rank = len(x.static_shape)
        sizes = op.Add(op.Add(ints(op, x.static_shape), padding.before), padding.after)
        if node.type == "Shape":
            first, end, _ = slice(node.attr("start"), node.attrs.get("end")).indices(rank)
            return op.Slice(sizes, ints(op, [first]), ints(op, [max(first, end)]))
        y = node.outputs[0]
        if y is None or y.static_shape is None:
            return NoMatch("the shape of its result is not known")
        slicing, cut = Slicing.of(op, node, rank), _axes(node, rank)
        places = {
            axis: slicing.places(op, axis, at(op, sizes, axis) if axis in padding.axes else size, length)
            if axis in cut else count_up(op, length)
            for axis, (size, length) in enumerate(zip(x.static_shape, y.static_shape, strict=True))
            if axis in cut or axis in padding.axes
        }  # fmt: skip
        return padding.fetched(op, x, places)


def _axes(node: OpView, rank: int) -> tuple[int, ...]:
    """The axes that a Slice may cut."""
    starts = need(node, 1).static_shape
    if operand(node, 3) is not None:
        axes = constant(node, 3)
    else:
        axes = None if starts is None else np.arange(starts[0])
    return tuple(range(rank)) if axes is None else tuple(int(a) % rank for a in axes)
