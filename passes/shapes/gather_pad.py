"""Pad with pads that are computed at run time, where the shape of its result is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.passes.decompose._base import computed, need
from coregraft.passes.shapes._index import Padding, count_up
from coregraft.passes.shapes._trusting import Trusting
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView
from coregraft.rewriter.target import Target


@dataclass(frozen=True)
class GatherPad(Trusting):
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
        x, y = need(node, 0), node.outputs[0]
        assert y is not None
        wanted, padding = y.static_shape, Padding.of(op, node)
        if x.static_shape is None or wanted is None or padding is None:
            return NoMatch("the shape of its result is not known")
        return padding.fetched(op, x, {axis: count_up(op, wanted[axis]) for axis in padding.axes})
