"""Slice with bounds that are computed at run time, where the shape of its result is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.passes.decompose._base import computed, need
from coregraft.passes.shapes._index import Slicing
from coregraft.passes.shapes._trusting import Trusting
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView
from coregraft.rewriter.target import Target


@dataclass(frozen=True)
class GatherSlice(Trusting):
    """Write a Slice with starts, axes or steps computed at run time as Gather, where the shape of the result is known.

    What it does
    ------------
    The model declares how large the result is, so what is left to compute is where it starts: an index is
    ``start + step * i``, with the start counted from the front and held within the axis as ONNX has it. Axes that
    stay whole are left alone where the steps are known to be positive. The ends are not read. Fires for Core ML
    targets only.

    Why it matters
    --------------
    Shapes are fixed when Core ML compiles a model, and a slice with computed bounds has none.

    Example
    -------
    ``y: float[2] = Slice(x: float[8], start, end)`` becomes ``y = Gather(x, start + [0, 1])``.

    Equivalence
    -----------
    Bit-exact where the run-time values agree with the declared shape, as ONNX demands.

    Sources
    -------
    H4.30, H5.08; ONNX Slice-13.
    """

    code: ClassVar[str] = "CG508"
    equivalence: ClassVar[Equivalence] = Equivalence.BIT_EXACT
    roots: ClassVar[tuple[str, ...]] = ("Slice",)

    def wanted(self, node: OpView, target: Target) -> bool:
        return target.ops is not None and any(computed(node, i) for i in (1, 2, 3, 4))

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x, y = need(node, 0), node.outputs[0]
        assert y is not None
        sizes, wanted, given = x.static_shape, y.static_shape, need(node, 1).static_shape
        if sizes is None or wanted is None or given is None:
            return NoMatch("the shape of its result is not known")
        slicing = Slicing.of(op, node, len(sizes))
        result: Any = x
        for axis, (size, length) in enumerate(zip(sizes, wanted, strict=True)):
            if size != length or not slicing.forward:
                result = op.Gather(result, slicing.places(op, axis, size, length), axis=axis)
        return result if result is not x else op.Identity(x)
