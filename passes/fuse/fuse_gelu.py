"""Every spelling of GELU into one op."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.rewriter.passes import REASSOCIATING, Equivalence, OpBuilder, Rule, RuleGroup

_SQRT_2 = 2.0**0.5
_TANH_GAIN = (2.0 / 3.141592653589793) ** 0.5
_CUBE = 0.044715


@dataclass(frozen=True)
class FuseGelu(RuleGroup):
    """Recognise GELU, exact and tanh-approximated, however it is written.

    What it does
    ------------
    ``0.5 x (1 + erf(x / sqrt 2))`` becomes Gelu, ``0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`` becomes Gelu with
    ``approximate="tanh"``: with the factors in any order and grouping, the division as a product, ``1 - erf(-x)``, and
    the cube as Pow, as products, or factored out.

    Why it matters
    --------------
    coremltools recognises three of these spellings. Left alone, ``x^3`` overflows half precision at 41 (H3.15).
    Mixing up the two kinds is an error of 5e-4 (H2.13), so each keeps its kind.

    Example
    -------
    ``Mul(Mul(x, 0.5), Add(Erf(Div(x, 1.41421356)), 1))`` becomes ``Gelu(x)``.

    Equivalence
    -----------
    Reassociating.

    Sources
    -------
    Hazard catalogue H2.13, H3.15.
    """

    code: ClassVar[str] = "CG213"
    equivalence: ClassVar[Equivalence] = REASSOCIATING

    def rules(self) -> list[Rule]:
        return [_Erf(), _Tanh()]


def _half_product(op: Any, x: Any, s: Any) -> Any:
    """``0.5 * x * s`` in every grouping."""
    return op.any_of(
        op.Mul(op.Mul(x, s), 0.5),
        op.Div(op.Mul(x, s), 2.0),
        op.Mul(op.any_of(op.Mul(x, 0.5), op.Div(x, 2.0)), s),
        op.Mul(x, op.any_of(op.Mul(s, 0.5), op.Div(s, 2.0))),
    )


@dataclass(frozen=True)
class _Erf(Rule):
    """GELU by erf is computed step by step."""

    code: ClassVar[str] = "CG213"
    equivalence: ClassVar[Equivalence] = REASSOCIATING

    def pattern(self, op: Any, x: Any) -> Any:
        scaled = op.any_of(op.Div(x, _SQRT_2), op.Mul(x, 1 / _SQRT_2))
        negated = op.any_of(op.Div(x, -_SQRT_2), op.Mul(x, -1 / _SQRT_2), op.Neg(scaled))
        one_plus = op.any_of(op.Add(op.Erf(scaled), 1.0), op.Sub(1.0, op.Erf(negated)))
        return _half_product(op, x, one_plus)

    def replacement(self, op: OpBuilder, m: Any) -> Any:
        return op.Gelu(m.x)


@dataclass(frozen=True)
class _Tanh(Rule):
    """GELU by tanh is computed step by step; its cube overflows half precision at 41."""

    code: ClassVar[str] = "CG213"
    equivalence: ClassVar[Equivalence] = REASSOCIATING

    def pattern(self, op: Any, x: Any) -> Any:
        square = op.any_of(op.Mul(x, x), op.Pow(x, 2))
        cube = op.any_of(op.Pow(x, 3), op.Mul(square, x))
        scaled_cube = op.any_of(
            op.Mul(cube, _CUBE), op.Mul(op.Mul(x, _CUBE), square), op.Mul(x, op.Mul(square, _CUBE))
        )
        summed = op.Add(x, scaled_cube)
        factored = op.Add(op.any_of(op.Mul(square, _CUBE), op.Mul(op.Mul(x, _CUBE), x)), 1.0)
        inside = op.any_of(
            op.Mul(summed, _TANH_GAIN),
            op.Mul(op.Mul(x, _TANH_GAIN), factored),
            op.Mul(op.Mul(x, factored), _TANH_GAIN),
            op.Mul(x, op.Mul(factored, _TANH_GAIN)),
        )
        return _half_product(op, x, op.Add(op.Tanh(inside), 1.0))

    def replacement(self, op: OpBuilder, m: Any) -> Any:
        return op.Gelu(m.x, approximate="tanh")
