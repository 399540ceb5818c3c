"""``x * sigmoid(a x)`` into one op."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.rewriter.passes import REASSOCIATING, Equivalence, OpBuilder, Rule


@dataclass(frozen=True)
class FuseSwish(Rule):
    """Recognise Swish: SiLU, and the sigmoid approximation of GELU.

    What it does
    ------------
    ``x * sigmoid(x)`` becomes Swish; ``x * sigmoid(a x)`` with a constant ``a`` (1.702 for the quick GELU) becomes
    Swish with that alpha.

    Why it matters
    --------------
    One op for one activation; coremltools 9.0 fuses the first form for ML Programs only and the second not at all.

    Example
    -------
    ``Mul(x, Sigmoid(Mul(x, 1.702)))`` becomes ``Swish(x, alpha=1.702)``.

    Equivalence
    -----------
    Reassociating.

    Sources
    -------
    Hazard catalogue H2.13 and the fusion table of section 2.0.
    """

    code: ClassVar[str] = "CG213"
    trouble: ClassVar[str] = "a sigmoid and a product; coremltools 9.0 fuses one spelling, for ML Programs only"
    equivalence: ClassVar[Equivalence] = REASSOCIATING

    def pattern(self, op: Any, x: Any, a: Any = None) -> Any:
        return op.any_of(op.Mul(x, op.Sigmoid(x)), op.Mul(x, op.Sigmoid(op.Mul(x, a))))

    def where(self, m: Any) -> Any:
        return m.a is None or m.a.is_scalar or m.no("the factor is not one constant")

    def replacement(self, op: OpBuilder, m: Any) -> Any:
        return op.Swish(m.x, alpha=None if m.a is None else float(m.a.scalar()))
