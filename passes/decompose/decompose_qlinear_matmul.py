"""QLinearMatMul as DequantizeLinear, MatMul and QuantizeLinear."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.passes.decompose._base import Decomposition, need
from coregraft.passes.decompose._qlinear import dequantized, has_scale, quantized
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView


@dataclass(frozen=True)
class DecomposeQlinearMatmul(Decomposition):
    """Write QLinearMatMul as a float MatMul between dequantised operands and a quantised result.

    What it does
    ------------
    Dequantises both operands (the left one's scale may be one per row, the right one's one per column), multiplies and
    quantises the result (one scale, or one per row). Scales of matrices in a batch, which have as many axes as the
    operand, broadcast. Fires where the target has no lowering for the op.

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
        if a.rank is None or b.rank is None:
            return NoMatch("the rank of an operand is not known")
        rank = max(a.rank, b.rank)
        rows = a.rank - 2 if a.rank > 1 else None
        columns = b.rank - 1 if b.rank > 1 else None
        of_result = rank - 2 if min(a.rank, b.rank) > 1 else None
        for index, axis, axes in ((1, rows, a.rank), (4, columns, b.rank), (6, of_result, rank)):
            if not has_scale(node, index, axis, axes):
                return NoMatch("a scale is not one number, nor one for each row or column of matrices")
        y = op.MatMul(dequantized(op, node, 0, rows), dequantized(op, node, 3, columns))
        return quantized(op, node, y, 6, of_result)
