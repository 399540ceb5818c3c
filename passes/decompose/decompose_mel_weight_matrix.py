"""MelWeightMatrix with operands that are computed at run time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose._base import computed, ints, need, scalar
from coregraft.passes.shapes._trusting import Trusting
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView
from coregraft.rewriter.types import DType


@dataclass(frozen=True)
class DecomposeMelWeightMatrix(Trusting):
    """Write MelWeightMatrix as arithmetic on the edges of its triangles, where the shape of the result is known.

    What it does
    ------------
    The model declares how many frequencies and triangles there are. The edges lie evenly on the mel scale, which is
    ``log(1 + f / 700)`` but for a factor, a step being one part in ``num_mel_bins + 2`` of the range; each is brought
    back to a frequency and down to the bin below it, as in onnxruntime. With constant operands the matrix is folded
    before. Fires where the target has no lowering for the op.

    Why it matters
    --------------
    Core ML has no such op; shapes are fixed when it compiles a model.

    Example
    -------
    ``y: float[9,8] = MelWeightMatrix(n, length, rate, low, high)`` becomes ``edges = Floor((length + 1) * 700 *
    (Exp(…) - 1) / rate)`` and two slopes between them.

    Equivalence
    -----------
    Reassociating: an edge that lies within rounding of a bin's border may fall to either side.

    Sources
    -------
    H3.21, H5.08; ONNX MelWeightMatrix-17.
    """

    code: ClassVar[str] = "CG508"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ("MelWeightMatrix",)
    when_unsupported: ClassVar[bool] = True

    def trusts(self, node: OpView) -> bool:
        return computed(node, 0) or computed(node, 1)

    def build(self, op: OpBuilder, node: OpView) -> Any:
        y = node.outputs[0]
        assert y is not None
        if y.static_shape is None:
            return NoMatch("the size of its result is computed at run time; declare the shape of the model's output")
        (frequencies, triangles), kind = y.static_shape, DType.FLOAT
        length, rate, low, high = (
            op.Cast(op.Reshape(need(node, i), ints(op, [1])), to=int(kind)) for i in range(1, 5)
        )
        one = scalar(op, 1, length)
        first, last = (op.Log(op.Add(op.Div(f, scalar(op, 700, f)), one)) for f in (low, high))
        places = op.const(np.arange(triangles + 2, dtype=np.float32))
        step = op.Div(op.Sub(last, first), scalar(op, triangles + 2, first))
        hertz = op.Mul(op.Sub(op.Exp(op.Add(first, op.Mul(step, places))), one), scalar(op, 700, first))
        edges = op.Floor(op.Div(op.Mul(op.Add(length, one), hertz), rate))
        lower, centre, upper = (
            op.Slice(edges, ints(op, [i]), ints(op, [i + triangles]), ints(op, [0])) for i in range(3)
        )
        found = _triangles(op, op.const(np.arange(frequencies, dtype=np.float32)[:, None]), lower, centre, upper)
        return found if y.dtype is kind else op.Cast(found, to=node.attr("output_datatype"))


def _triangles(op: OpBuilder, at: Any, lower: Any, centre: Any, upper: Any) -> Any:
    """1 at the centre, falling to 0 on both sides; where the centre is the lower edge, nothing below it."""
    one, zero = scalar(op, 1, at), scalar(op, 0, at)
    width = op.Sub(centre, lower)
    rising = op.Div(op.Sub(at, lower), op.Max(width, one))
    rising = op.Where(op.Equal(width, zero), one, rising)
    falling = op.Div(op.Sub(upper, at), op.Max(op.Sub(upper, centre), one))
    in_front = op.And(op.GreaterOrEqual(at, lower), op.LessOrEqual(at, centre))
    behind = op.And(op.Greater(at, centre), op.Less(at, upper))
    return op.Where(in_front, rising, op.Where(behind, falling, zero))
