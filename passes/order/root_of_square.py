"""The square root of a square."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.rewriter.passes import APPROXIMATE, Equivalence, OpBuilder, Rule


@dataclass(frozen=True)
class RootOfSquare(Rule):
    """Write ``sqrt(x^2)`` as ``abs(x)``.

    What it does
    ------------
    ``Sqrt(Pow(x, 2))`` and ``Sqrt(Mul(x, x))`` become ``Abs(x)``.

    Why it matters
    --------------
    A backend pass of coremltools 9.0 that cannot be switched off turns ``sqrt(pow(x, 2))`` into ``x``: the sign is lost
    (H2.04). Abs does not overflow either.

    Example
    -------
    ``Sqrt(Pow(x, 2))`` becomes ``Abs(x)``.

    Equivalence
    -----------
    Approximate within 1e-6 where the square neither overflows nor underflows; better where it does.

    Sources
    -------
    Hazard catalogue H2.04.
    """

    code: ClassVar[str] = "CG204"
    trouble: ClassVar[str] = "coremltools turns sqrt(x^2) into x: the sign is lost"
    equivalence: ClassVar[Equivalence] = APPROXIMATE
    bound: ClassVar[float] = 1e-6

    def pattern(self, op: Any, x: Any) -> Any:
        return op.Sqrt(op.any_of(op.Pow(x, 2), op.Mul(x, x)))

    def replacement(self, op: OpBuilder, m: Any) -> Any:
        return op.Abs(m.x)
