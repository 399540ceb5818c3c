"""ConvInteger as an exact fp32 Conv."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose._base import Decomposition, computed, constant, need
from coregraft.passes.decompose._integers import centred, exact_product
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView


@dataclass(frozen=True)
class DecomposeConvInteger(Decomposition):
    """Compute a ConvInteger in fp32, exactly.

    What it does
    ------------
    Subtracts the zero points (that of the weights may be one per output channel), convolves in fp32 with the same
    attributes and casts to int32. ONNX pads with the zero point, which is 0 once it is subtracted. Accumulators
    stay below 2**24, where fp32 is exact: the bound is computed from the weights, and those that exceed it are
    convolved in two parts of four bits each. Weights must be constant. Fires where the target has no lowering.

    Why it matters
    --------------
    Core ML has no convolution of 8-bit integers.

    Example
    -------
    ``y = ConvInteger <pads = [1, 1, 1, 1]> (x, w, x_zero)`` becomes
    ``y = Cast <to = INT32> (Conv <pads = [1, 1, 1, 1]> (Cast(x) - Cast(x_zero), w'))``.

    Equivalence
    -----------
    Bit-exact in fp32. The accumulators do not fit in fp16: the convolution has to stay in fp32.

    Sources
    -------
    H1.16; ONNX ConvInteger-10.
    """

    code: ClassVar[str] = "CG116"
    equivalence: ClassVar[Equivalence] = Equivalence.BIT_EXACT
    roots: ClassVar[tuple[str, ...]] = ("ConvInteger",)
    when_unsupported: ClassVar[bool] = True

    def build(self, op: OpBuilder, node: OpView) -> Any:
        w = need(node, 1)
        if not w.is_const or computed(node, 3):
            return NoMatch("the weights are computed at run time")
        weights, zero = w.array().astype(np.int64), constant(node, 3)
        if zero is not None:
            weights = weights - zero.astype(np.int64).reshape([-1] + [1] * (weights.ndim - 1))
        x = centred(op, node, 0, 2)
        return exact_product(op, weights, tuple(range(1, weights.ndim)), lambda part: op.Conv(x, part, **node.attrs))
