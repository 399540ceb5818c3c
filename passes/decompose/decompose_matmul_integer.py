"""MatMulInteger as an exact fp32 MatMul."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose._base import Decomposition, computed, constant, need, operand
from coregraft.passes.decompose._integers import centred, exact_computed_product, exact_product, reach
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView
from coregraft.rewriter.types import Dim


@dataclass(frozen=True)
class DecomposeMatmulInteger(Decomposition):
    """Compute a MatMulInteger in fp32, exactly.

    What it does
    ------------
    Subtracts the zero points (scalar, by row of the left operand, by column of the right one), multiplies in fp32 and
    casts to int32. An fp32 accumulator of whole numbers is exact below 2**24; the bound is computed from the weights,
    or from the length of the inner axis where both operands are computed at run time, and right operands that exceed
    it are multiplied in parts of four or two bits each. Fires where the target has no lowering for the op.

    Why it matters
    --------------
    Core ML has no product of 8-bit integers; every dynamically quantised model is made of them.

    Example
    -------
    ``y = MatMulInteger(a, w, a_zero)`` becomes ``y = Cast <to = INT32> (MatMul(Cast(a) - Cast(a_zero), w'))``.

    Equivalence
    -----------
    Bit-exact in fp32. The accumulators do not fit in fp16: the product has to stay in fp32.

    Sources
    -------
    H4.15; ONNX MatMulInteger-10.
    """

    code: ClassVar[str] = "CG415"
    equivalence: ClassVar[Equivalence] = Equivalence.BIT_EXACT
    roots: ClassVar[tuple[str, ...]] = ("MatMulInteger",)
    when_unsupported: ClassVar[bool] = True

    def build(self, op: OpBuilder, node: OpView) -> Any:
        a, b, a_zero = need(node, 0), need(node, 1), operand(node, 2)
        if a.shape is None or not b.shape or a.dtype is None or (a_zero is not None and a_zero.shape is None):
            return NoMatch("the rank of an operand is not known, or it has no axes")
        left = centred(op, node, 0, 2, _row_shape(None if a_zero is None else a_zero.shape))
        reached, inner = reach(node, 0, 2), max(len(b.shape) - 2, 0)
        if b.is_const and not computed(node, 3):
            zero = constant(node, 3)
            weights = b.array().astype(np.int64) - (0 if zero is None else zero.astype(np.int64))
            return exact_product(op, weights, (inner,), reached, lambda part: op.MatMul(left, part))
        terms = b.shape[inner]
        if not isinstance(terms, int):
            return NoMatch("the length of its sums is not known")
        return exact_computed_product(
            op, centred(op, node, 1, 3), terms, (reach(node, 1, 3), reached), lambda part: op.MatMul(left, part)
        )


def _row_shape(zero: tuple[Dim, ...] | None) -> tuple[int, ...] | None:
    """The shape that makes a zero point by row broadcast against rows; None for one that broadcasts as it is."""
    return (-1, 1) if zero is not None and len(zero) == 1 and zero[0] != 1 else None
