"""DynamicQuantizeMatMul and MatMulIntegerToFloat as MatMulInteger with scales."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.passes.contrib._base import Contrib, flat, ms, one_scale
from coregraft.passes.decompose._base import need, operand
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView
from coregraft.rewriter.types import DType


@dataclass(frozen=True)
class UnfuseIntegerMatMul(Contrib):
    """Write DynamicQuantizeMatMul and MatMulIntegerToFloat with MatMulInteger.

    What it does
    ------------
    ``MatMulInteger(a, b) * (a_scale * b_scale) + bias``, where DynamicQuantizeMatMul takes ``a``, its scale and its
    zero point from DynamicQuantizeLinear. ``b`` has one scale and zero point, or one for each column; other shapes
    are refused.

    Why it matters
    --------------
    Core ML has no such ops; models that onnxruntime quantised dynamically consist of them.

    Example
    -------
    ``y = com.microsoft.DynamicQuantizeMatMul(a, b, sb, zb)`` becomes ``q, s, z = DynamicQuantizeLinear(a); y =
    Cast(MatMulInteger(q, b, z, zb)) * (s * sb)``.

    Equivalence
    -----------
    Reassociating: the integers are the same, scales are multiplied in another order.

    Sources
    -------
    H1.16; onnxruntime operator schemas DynamicQuantizeMatMul-1, MatMulIntegerToFloat-1.
    """

    code: ClassVar[str] = "CG116"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ms("DynamicQuantizeMatMul", "MatMulIntegerToFloat")
    defaults: ClassVar[Mapping[str, Any]] = {}

    def build(self, op: OpBuilder, node: OpView) -> Any:
        b, dynamic = need(node, 1), node.type.startswith("Dynamic")
        if dynamic:
            b_scale, b_zero, bias = need(node, 2), operand(node, 3), operand(node, 4)
        else:
            b_scale, b_zero, bias = need(node, 3), operand(node, 5), operand(node, 6)
            wrong = one_scale(need(node, 2), operand(node, 4))
            if wrong is not None:
                return wrong
        if any(v is not None and v.rank not in (0, 1) for v in (b_scale, b_zero)):
            return NoMatch("a scale or zero point of its matrix is neither one nor one for each column")
        if dynamic:
            a, a_scale, a_zero = op.DynamicQuantizeLinear(need(node, 0), _outputs=3)
        else:
            a, a_scale, a_zero = need(node, 0), flat(op, need(node, 2)), operand(node, 4)
            a_zero = None if a_zero is None else flat(op, a_zero)
        b_zero = None if b_zero is None else flat(op, b_zero)
        total = op.Cast(op.MatMulInteger(a, b, a_zero, b_zero), to=int(DType.FLOAT))
        y = op.Mul(total, op.Mul(a_scale, flat(op, b_scale)))
        return y if bias is None else op.Add(y, bias)
