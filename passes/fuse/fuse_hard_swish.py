"""Every spelling of HardSwish into one op."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.rewriter.passes import REASSOCIATING, Equivalence, OpBuilder, Rule, RuleGroup


@dataclass(frozen=True)
class FuseHardSwish(RuleGroup):
    """Recognise HardSigmoid and HardSwish written with Clip.

    What it does
    ------------
    ``clip(x + 3, 0, 6) / 6`` becomes HardSigmoid with alpha 1/6 and beta 0.5, and ``x`` times that, or
    ``x clip(x + 3, 0, 6) / 6`` in any grouping, becomes HardSwish. ``min(relu(x), 6)`` counts as the clip.

    Why it matters
    --------------
    coremltools 9.0 fuses none of these forms (section 2.0 of the catalogue); mobile networks are full of them.

    Example
    -------
    ``Div(Mul(x, Clip(Add(x, 3), 0, 6)), 6)`` becomes ``HardSwish(x)``.

    Equivalence
    -----------
    Reassociating.

    Sources
    -------
    Hazard catalogue H2.13.
    """

    code: ClassVar[str] = "CG213"
    equivalence: ClassVar[Equivalence] = REASSOCIATING

    def rules(self) -> list[Rule]:
        return [_HardSwish(), _HardSigmoid(), _Combine()]


def _relu6(op: Any, x: Any) -> Any:
    shifted = op.Add(x, 3.0)
    return op.any_of(op.Clip(shifted, 0.0, 6.0), op.Min(op.Relu(shifted), 6.0))


@dataclass(frozen=True)
class _HardSwish(Rule):
    """HardSwish is computed step by step."""

    code: ClassVar[str] = "CG213"
    equivalence: ClassVar[Equivalence] = REASSOCIATING
    benefit: ClassVar[int] = 2

    def pattern(self, op: Any, x: Any) -> Any:
        clip = _relu6(op, x)
        return op.any_of(
            op.Div(op.Mul(x, clip), 6.0),
            op.Mul(op.Mul(x, clip), 1 / 6),
            op.Mul(op.any_of(op.Div(x, 6.0), op.Mul(x, 1 / 6)), clip),
        )

    def replacement(self, op: OpBuilder, m: Any) -> Any:
        return op.HardSwish(m.x)


@dataclass(frozen=True)
class _HardSigmoid(Rule):
    """HardSigmoid is computed step by step."""

    code: ClassVar[str] = "CG213"
    equivalence: ClassVar[Equivalence] = REASSOCIATING

    def pattern(self, op: Any, x: Any) -> Any:
        clip = _relu6(op, x)
        return op.any_of(op.Div(clip, 6.0), op.Mul(clip, 1 / 6))

    def replacement(self, op: OpBuilder, m: Any) -> Any:
        return op.HardSigmoid(m.x, alpha=1 / 6, beta=0.5)


@dataclass(frozen=True)
class _Combine(Rule):
    """A value times its own HardSigmoid is HardSwish."""

    code: ClassVar[str] = "CG213"
    equivalence: ClassVar[Equivalence] = REASSOCIATING

    def pattern(self, op: Any, x: Any) -> Any:
        return op.Mul(x, op.HardSigmoid(x, alpha=lambda a: abs(a - 1 / 6) < 1e-7, beta=0.5))

    def replacement(self, op: OpBuilder, m: Any) -> Any:
        return op.HardSwish(m.x)
