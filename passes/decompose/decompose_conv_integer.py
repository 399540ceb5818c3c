"""ConvInteger as an exact fp32 Conv."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose._base import Decomposition, computed, constant, need
from coregraft.passes.decompose._integers import centred, exact_computed_product, exact_product, reach
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView


@dataclass(frozen=True)
class DecomposeConvInteger(Decomposition):
    """Compute a ConvInteger in fp32, exactly.

    What it does
    ------------
    Subtracts the zero points (that of the weights may be one per output channel), convolves in fp32 with the same
    attributes and casts to int32. ONNX pads with the zero point, which is 0 once it is subtracted. Accumulators
    stay below 2**24, where fp32 is exact: the bound is computed from the weights, or where they are computed at run
    time from their number, and weights that exceed it are convolved in parts of four or two bits each. Fires where
    the target has no lowering.

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
        if w.static_shape is None or need(node, 0).dtype is None:
            return NoMatch("the shape of the weights is not known")
        x, reached = centred(op, node, 0, 2), reach(node, 0, 2)
        by_channel = (-1, *(1 for _ in w.static_shape[1:]))

        def product(part: Any) -> Any:
            return op.Conv(x, part, **node.attrs)

        if w.is_const and not computed(node, 3):
            zero = constant(node, 3)
            weights = w.array().astype(np.int64) - (0 if zero is None else zero.astype(np.int64).reshape(by_channel))
            return exact_product(op, weights, tuple(range(1, weights.ndim)), reached, product)
        terms = math.prod(w.static_shape[1:])
        return exact_computed_product(
            op, centred(op, node, 1, 3, by_channel), terms, (reach(node, 1, 3), reached), product
        )
