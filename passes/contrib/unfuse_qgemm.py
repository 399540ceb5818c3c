"""QGemm as DequantizeLinear, Gemm and QuantizeLinear."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.passes.contrib._base import Contrib, dequantized, ms, one_scale, quantized
from coregraft.passes.decompose._base import need, operand
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView
from coregraft.rewriter.types import DType


@dataclass(frozen=True)
class UnfuseQgemm(Contrib):
    """Write a quantised Gemm with DequantizeLinear and QuantizeLinear.

    What it does
    ------------
    ``alpha * a @ b`` of the dequantised operands (both transpositions; one scale for ``b``, or one for each output
    feature) plus the int32 bias, whose scale is ``alpha`` times both others; the result is quantised where there is a
    scale for it, and stays a float where there is none.

    Why it matters
    --------------
    Core ML computes with floats; between DequantizeLinear ops the weights stay 8-bit in the package.

    Example
    -------
    ``y = com.microsoft.QGemm(a, sa, za, b, sb, zb, c, sy, zy)`` becomes ``y = QuantizeLinear(Gemm(DequantizeLinear(a,
    sa, za), DequantizeLinear(b, sb, zb), c * (sa * sb)), sy, zy)``.

    Equivalence
    -----------
    Reassociating: the sum is rounded in float, so that a result half-way between two levels may go to the other one.

    Sources
    -------
    H1.16; onnxruntime operator schema QGemm-1.
    """

    code: ClassVar[str] = "CG116"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ms("QGemm")
    defaults: ClassVar[Mapping[str, Any]] = {"alpha": 1.0, "transA": 0, "transB": 0}

    def build(self, op: OpBuilder, node: OpView) -> Any:
        a_scale, b_scale, y_scale = need(node, 1), need(node, 4), operand(node, 7)
        wrong = one_scale(a_scale, operand(node, 2), y_scale, operand(node, 8))
        if wrong is not None:
            return wrong
        if b_scale.rank not in (0, 1):
            return NoMatch("the scale of its weights is neither one nor one for each feature")
        alpha, swapped = float(self.get(node, "alpha")), self.get(node, "transB")
        a = dequantized(op, need(node, 0), a_scale, operand(node, 2))
        b = dequantized(op, need(node, 3), b_scale, operand(node, 5), axis=0 if swapped else 1)
        c = operand(node, 6)
        if c is not None:
            step = op.Mul(a_scale, b_scale)
            c = op.Mul(op.Cast(c, to=int(DType.FLOAT)), step if alpha == 1 else op.Mul(step, alpha))
        y = op.Gemm(a, b, c, **self.kept(node, "alpha", "transA", "transB"))
        dtype = need(node, 0).dtype
        if y_scale is None or dtype is None:
            return y
        return quantized(op, y, y_scale, operand(node, 8), dtype)
