"""QLinearConv as DequantizeLinear, Conv and QuantizeLinear."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose._base import Decomposition, constant, need, operand
from coregraft.passes.decompose._qlinear import dequantized, has_scale, quantized
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView
from coregraft.rewriter.types import DType


@dataclass(frozen=True)
class DecomposeQlinearConv(Decomposition):
    """Write QLinearConv as a float Conv between dequantised operands and a quantised result.

    What it does
    ------------
    Dequantises input and weights (whose scale may be one per output channel), convolves with the same attributes and
    quantises the result. The int32 bias is scaled by the product of both scales. Fires where the target has no
    lowering for the op.

    Why it matters
    --------------
    Core ML computes with floats; between DequantizeLinear ops the weights stay 8-bit in the package.

    Example
    -------
    ``y = QLinearConv(x, xs, xz, w, ws, wz, ys, yz)`` becomes
    ``y = QuantizeLinear(Conv(DequantizeLinear(x, xs, xz), DequantizeLinear(w, ws, wz)), ys, yz)``.

    Equivalence
    -----------
    Reassociating: the sum is rounded in float, so that a result half-way between two levels may go to the other one.

    Sources
    -------
    H1.16; ONNX QLinearConv-10.
    """

    code: ClassVar[str] = "CG116"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ("QLinearConv",)
    when_unsupported: ClassVar[bool] = True

    def build(self, op: OpBuilder, node: OpView) -> Any:
        if not all(has_scale(node, index, axis) for index, axis in ((1, None), (4, 0), (6, None))):
            return NoMatch("a scale is neither one number nor, for the weights, one for each channel")
        y = op.Conv(dequantized(op, node, 0, None), dequantized(op, node, 3, axis=0), _bias(op, node), **node.attrs)
        return quantized(op, node, y, 6, None)


def _bias(op: OpBuilder, node: OpView) -> Any:
    """The bias in float, [channels]: its scale is the product of the other two. None where there is none."""
    bias = operand(node, 8)
    if bias is None:
        return None
    parts = [constant(node, i) for i in (8, 1, 4)]
    if all(part is not None for part in parts):
        integers, x_scale, w_scale = (np.asarray(part, np.float64).reshape(-1) for part in parts)
        return op.const((integers * x_scale * w_scale).astype(np.float32))
    return op.Mul(op.Cast(bias, to=int(DType.FLOAT)), op.Mul(need(node, 1), need(node, 4)))
