"""Pow with constants as products, roots and exponentials."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.passes.decompose._base import Decomposition, need, scalar
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView, ValueView
from coregraft.rewriter.target import Target


@dataclass(frozen=True)
class DecomposePow(Decomposition):
    """Write a power with a constant exponent or base without Pow.

    What it does
    ------------
    A constant exponent that is a whole number up to ``max-exponent`` becomes products by repeated squaring, a
    negative one their reciprocal; 0.5 becomes Sqrt, -0.5 the reciprocal of Sqrt, 1.5 ``x * Sqrt(x)``. A constant base
    c > 0 becomes ``Exp(y * ln c)``. Exponents with more than one element, and all others, stay. Fires for every Core
    ML target and floats.

    Why it matters
    --------------
    Core ML has computed ``pow(2, y)`` as y², deviates for ``pow(x, 2)``, and where it goes by exp and log a negative
    base becomes NaN; under a square root its own passes take ``pow(x, 2)`` for ``x``.

    Example
    -------
    ``y = Pow(x, 3.0)`` becomes ``y = x * (x * x)``.

    Equivalence
    -----------
    Reassociating: the square is exact as before, other products round once per factor.

    Options
    -------
    max-exponent: largest whole exponent to write as products.

    Sources
    -------
    H3.14, H2.04 (coremltools issues 2628, 2601).
    """

    code: ClassVar[str] = "CG314"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ("Pow",)
    max_exponent: int = 8

    def wanted(self, node: OpView, target: Target) -> bool:
        return target.ops is not None

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x, y = need(node, 0), need(node, 1)
        if x.dtype is None or not x.dtype.is_float:
            return NoMatch("the base is not known to be a float")
        if y.is_scalar and y.rank is not None and x.rank is not None and y.rank <= x.rank:
            return self._of_constant_exponent(op, x, float(y.scalar()))
        if x.is_scalar and x.scalar() > 0 and y.dtype is x.dtype and (x.rank or 0) <= (y.rank or 0):
            return op.Exp(op.Mul(y, scalar(op, math.log(x.scalar()), y)))
        return NoMatch("neither exponent nor base is one constant")

    def _of_constant_exponent(self, op: OpBuilder, x: ValueView, exponent: float) -> Any:
        if exponent == 0.5:
            return op.Sqrt(x)
        if exponent == -0.5:
            return op.Reciprocal(op.Sqrt(x))
        if exponent == 1.5:
            return op.Mul(x, op.Sqrt(x))
        if not 1 <= abs(exponent) <= self.max_exponent or exponent != int(exponent):
            return NoMatch("exponent {} is no whole number up to max-exponent={}", exponent, self.max_exponent)
        product = _product(op, x, abs(int(exponent)))
        return product if exponent > 0 else op.Reciprocal(product)


def _product(op: OpBuilder, x: Any, n: int) -> Any:
    if n == 1:
        return x
    half = _product(op, x, n // 2)
    square = op.Mul(half, half)
    return op.Mul(x, square) if n % 2 else square
