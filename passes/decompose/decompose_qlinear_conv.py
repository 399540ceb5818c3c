"""QLinearConv as DequantizeLinear, Conv and QuantizeLinear."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose._base import Decomposition, constant, operand
from coregraft.passes.decompose._qlinear import dequantized, plain_scales, quantized
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView


@dataclass(frozen=True)
class DecomposeQlinearConv(Decomposition):
    """Write QLinearConv as a float Conv between dequantised operands and a quantised result.

    What it does
    ------------
    Dequantises input and weights (whose scale may be one per output channel), convolves with the same attributes and
    quantises the result. The int32 bias is scaled by the product of both scales, which must be constant when there is
    one. Fires where the target has no lowering for the op.

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
        if not plain_scales(node, (1, 4, 6)):
            return NoMatch("the shape of a scale is not known, or it has more than one axis")
        bias = None
        if operand(node, 8) is not None:
            parts = [constant(node, i) for i in (8, 1, 4)]
            if any(part is None for part in parts):
                return NoMatch("its bias, or a scale that the bias takes, is computed at run time")
            integers, x_scale, w_scale = (np.asarray(part, np.float64) for part in parts)
            bias = op.const((integers * x_scale.reshape(-1) * w_scale.reshape(-1)).astype(np.float32))
        y = op.Conv(dequantized(op, node, 0, axis=1), dequantized(op, node, 3, axis=0), bias, **node.attrs)
        return quantized(op, node, y, 6, axis=1)
