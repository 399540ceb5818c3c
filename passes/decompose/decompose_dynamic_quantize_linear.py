"""DynamicQuantizeLinear as the arithmetic that it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.passes.decompose._base import Decomposition, need, scalar
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView
from coregraft.rewriter.types import DType


@dataclass(frozen=True)
class DecomposeDynamicQuantizeLinear(Decomposition):
    """Write DynamicQuantizeLinear out: range, scale, zero point, rounding.

    What it does
    ------------
    Takes the least and greatest element, 0 included; the scale is their distance over 255 (1 where all is 0), the zero
    point the rounded position of 0, the result ``clip(round(x / scale) + zero_point)``. Rounding is half to even, as
    ONNX says. Fires where the target has no lowering for the op.

    Why it matters
    --------------
    Core ML quantises with constant scales only.

    Example
    -------
    ``q, scale, zero = DynamicQuantizeLinear(x)`` becomes ReduceMin, ReduceMax, Sub, Div, Round, Clip and casts to
    uint8.

    Equivalence
    -----------
    Bit-exact: the operations of ONNX's own function body, in its order.

    Sources
    -------
    H4.28; ONNX DynamicQuantizeLinear-11.
    """

    code: ClassVar[str] = "CG415"
    equivalence: ClassVar[Equivalence] = Equivalence.BIT_EXACT
    roots: ClassVar[tuple[str, ...]] = ("DynamicQuantizeLinear",)
    when_unsupported: ClassVar[bool] = True

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x = need(node, 0)
        if x.dtype is None:
            return NoMatch("the type of the input is not known")
        zero, one, top = (scalar(op, v, x) for v in (0, 1, 255))
        low = op.Min(op.ReduceMin(x, keepdims=0), zero)
        high = op.Max(op.ReduceMax(x, keepdims=0), zero)
        span = op.Sub(high, low)
        scale = op.Where(op.Equal(span, zero), one, op.Div(span, top))
        offset = op.Round(op.Clip(op.Sub(zero, op.Div(low, scale)), zero, top))
        level = op.Clip(op.Add(op.Round(op.Div(x, scale)), offset), zero, top)
        results = (op.Cast(level, to=int(DType.UINT8)), scale, op.Cast(offset, to=int(DType.UINT8)))
        return tuple(result for result, name in zip(results, node.op.outputs, strict=False) if name)
