"""Squares by multiplication."""

from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.rewriter.passes import REASSOCIATING, Equivalence, OpBuilder, Rule


@dataclass(frozen=True)
class SquareToMul(Rule):
    """Write ``x^2`` as ``x * x``.

    What it does
    ------------
    ``Pow(x, 2)`` becomes ``Mul(x, x)``.

    Why it matters
    --------------
    It is the smallest rule that does something.

    Example
    -------
    ``Pow(x, 2)`` becomes ``Mul(x, x)``.

    Equivalence
    -----------
    Reassociating.

    Sources
    -------
    None: an example.
    """

    equivalence: ClassVar[Equivalence] = REASSOCIATING

    def pattern(self, op: Any, x: Any) -> Any:
        return op.Pow(x, 2)

    def replacement(self, op: OpBuilder, m: Any) -> Any:
        return op.Mul(m.x, m.x)
