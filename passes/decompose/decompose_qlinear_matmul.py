"""QLinearMatMul as DequantizeLinear, MatMul and QuantizeLinear."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.passes.decompose._base import Decomposition, need
from coregraft.passes.decompose._qlinear import dequantized, plain_scales, quantized
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView


@dataclass(frozen=True)
class DecomposeQlinearMatmul(Decomposition):
    """Write QLinearMatMul as a float MatMul between dequantised operands and a quantised result.

    What it does
    ------------
    Dequantises both operands (the left one's scale may be one per row, the right one's one per column), multiplies and
    quantises the result (one scale, or one per row). Fires where the target has no lowering for the op.

    Why it matters
    --------------
    Core ML computes with floats; between DequantizeLinear ops the weights stay 8-bit in the package.

    Example
    -------
    ``y = QLinearMatMul(a, as, az, b, bs, bz, ys, yz)`` becomes
    ``y = QuantizeLinear(MatMul(DequantizeLinear(a, as, az), DequantizeLinear(b, bs, bz)), ys, yz)``.

    Equivalence
    -----------
    Reassociating: the sum is rounded in float, so that a result half-way between two levels may go to the other one.

    Sources
    -------
    H4.15; ONNX QLinearMatMul-21.
    """

    code: ClassVar[str] = "CG415"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ("QLinearMatMul",)
    when_unsupported: ClassVar[bool] = True

    def build(self, op: OpBuilder, node: OpView) -> Any:
        a, b = need(node, 0), need(node, 3)
        if not plain_scales(node, (1, 4, 6)):
            return NoMatch("the shape of a scale is not known, or it has more than one axis")
        if a.rank is None or b.rank is None or min(a.rank, b.rank) < 2:
            return NoMatch("an operand is no matrix")
        y = op.MatMul(dequantized(op, node, 0, axis=a.rank - 2), dequantized(op, node, 3, axis=b.rank - 1))
        return quantized(op, node, y, 6, axis=max(a.rank, b.rank) - 2)
