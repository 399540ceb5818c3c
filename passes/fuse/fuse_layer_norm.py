"""A decomposed layer normalisation into one op."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.passes.fuse._norms import (
    from_behind,
    inverse_root_times,
    inverse_roots,
    is_ones,
    normalised_shape,
    per_feature,
    scale_of,
    trailing_axis,
)
from coregraft.rewriter.passes import REASSOCIATING, Equivalence, NoMatch, OpBuilder, Rule, RuleGroup


@dataclass(frozen=True)
class FuseLayerNorm(RuleGroup):
    """Recognise layer normalisation written out in primitive ops.

    What it does
    ------------
    ``(x - mean) / sqrt(var + eps)`` over the last axes becomes LayerNormalization, in any of the usual spellings:
    the square as Pow or Mul, the root as Sqrt, Pow or Reciprocal, the variance also as ``E[x^2] - E[x]^2``, kept from
    falling below zero or not. A multiplication and an addition by constants over the normalised dims become scale and
    bias, whether they follow it, or are distributed over it as TensorFlow writes them: with
    ``s = gamma / sqrt(var + eps)``, ``x * s + (beta - mean * s)``.

    Why it matters
    --------------
    coremltools 9.0 never fuses the form over the last axis, so the squares run in half precision by themselves and
    overflow where ``|x - mean|`` exceeds 255 (H3.05); ``E[x^2] - E[x]^2`` cancels catastrophically there (H3.07).

    Example
    -------
    ``Div(d, Sqrt(ReduceMean(d * d) + 1e-5))`` with ``d = x - ReduceMean(x)`` becomes ``LayerNormalization(x, 1)``.

    Equivalence
    -----------
    Reassociating.

    Sources
    -------
    Hazard catalogue H3.05, H3.07 and the fusion table of section 2.0.
    """

    code: ClassVar[str] = "CG305"
    equivalence: ClassVar[Equivalence] = REASSOCIATING

    def rules(self) -> list[Rule]:
        return [_Normalise(), _NormaliseDistributed(), _Scale(), _Shift()]


def _statistics(op: Any, x: Any, axes: Any, axes2: Any) -> tuple[Any, Any, Any]:
    """The patterns of mean, centred value and variance."""
    mean = op.ReduceMean(x, axes, keepdims=1, noop_with_empty_axes=0)
    delta = op.Sub(x, mean)
    square = op.any_of(op.Mul(delta, delta), op.Pow(delta, 2))
    x_square = op.any_of(op.Mul(x, x), op.Pow(x, 2))
    mean_square = op.any_of(op.Mul(mean, mean), op.Pow(mean, 2))
    difference = op.Sub(op.ReduceMean(x_square, axes2, keepdims=1, noop_with_empty_axes=0), mean_square)
    centred = op.ReduceMean(square, axes2, keepdims=1, noop_with_empty_axes=0)
    return mean, delta, op.any_of(centred, difference, op.Max(difference, 0.0))


def _is_normalisation(m: Any) -> bool | NoMatch:
    """Whether the statistics of a match are those of a layer normalisation."""
    if m.x.dtype is None or not m.x.dtype.is_float:
        return NoMatch("not floating point")
    if not m.eps.is_scalar:
        return NoMatch("epsilon is not one constant")
    axis = trailing_axis(m.axes, m.x.rank)
    if axis is None or axis != trailing_axis(m.axes2, m.x.rank):
        return NoMatch("mean and variance are not over the same last axes")
    return normalised_shape(m.x, axis) is not None or NoMatch("a normalised dim is not static")


def _layer_norm(op: OpBuilder, m: Any, beta: Any = None) -> Any:
    """LayerNormalization of a match's ``x``, scaled by its ``gamma``; ``beta``, a value, is its bias."""
    axis = trailing_axis(m.axes, m.x.rank)
    assert axis is not None  # _is_normalisation is asked first
    operands = [scale_of(m.gamma, m.x, axis)]
    if beta is not None:
        operands.append(per_feature(beta, m.x, axis))
    for operand in operands:
        if isinstance(operand, NoMatch):
            return operand
    return op.LayerNormalization(m.x, *operands, axis=axis, epsilon=float(m.eps.scalar()))


@dataclass(frozen=True)
class _Normalise(Rule):
    """Layer normalisation is computed step by step; one LayerNormalization is exact and safe in half precision."""

    code: ClassVar[str] = "CG305"
    equivalence: ClassVar[Equivalence] = REASSOCIATING
    benefit: ClassVar[int] = 2  # before RMS normalisation, which fits the second half of this

    def pattern(
        self, op: Any, x: Any, eps: Any, axes: Any = None, axes2: Any = None, gamma: Any = None
    ) -> Any:
        _, delta, variance = _statistics(op, x, axes, axes2)
        return op.any_of(*inverse_root_times(op, delta, op.Add(variance, eps), gamma))

    def where(self, m: Any) -> Any:
        return _is_normalisation(m)

    def replacement(self, op: OpBuilder, m: Any) -> Any:
        return _layer_norm(op, m)


@dataclass(frozen=True)
class _NormaliseDistributed(Rule):
    """Layer normalisation is computed step by step; one LayerNormalization is exact and safe in half precision."""

    code: ClassVar[str] = "CG305"
    equivalence: ClassVar[Equivalence] = REASSOCIATING

    def pattern(
        self, op: Any, x: Any, eps: Any, beta: Any, axes: Any = None, axes2: Any = None, gamma: Any = None
    ) -> Any:
        mean, _, variance = _statistics(op, x, axes, axes2)
        inverses = inverse_roots(op, op.Add(variance, eps))[1]
        scales = [*inverses, op.Mul(op.any_of(*inverses), gamma)]
        return op.any_of(*(op.Add(op.Mul(x, scale), op.Sub(beta, op.Mul(mean, scale))) for scale in scales))

    def where(self, m: Any) -> Any:
        return _is_normalisation(m)

    def replacement(self, op: OpBuilder, m: Any) -> Any:
        return _layer_norm(op, m, m.beta)


@dataclass(frozen=True)
class _Scale(Rule):
    """A constant factor after layer normalisation is its scale."""

    equivalence: ClassVar[Equivalence] = REASSOCIATING

    def pattern(self, op: Any, x: Any, scale: Any, gamma: Any) -> Any:
        return op.Mul(op.LayerNormalization(x, scale, axis=op.attr("axis"), _name="norm"), gamma)

    def where(self, m: Any) -> Any:
        return is_ones(m.scale) or m.no("there is a scale already")

    def replacement(self, op: OpBuilder, m: Any) -> Any:
        gamma = per_feature(m.gamma, m.x, from_behind(m.axis, m.x))
        return gamma if isinstance(gamma, NoMatch) else op.LayerNormalization(m.x, gamma, **m.norm.attrs)


@dataclass(frozen=True)
class _Shift(Rule):
    """A constant added after layer normalisation is its bias."""

    equivalence: ClassVar[Equivalence] = REASSOCIATING

    def pattern(self, op: Any, x: Any, scale: Any, beta: Any) -> Any:
        return op.Add(op.LayerNormalization(x, scale, axis=op.attr("axis"), _name="norm"), beta)

    def replacement(self, op: OpBuilder, m: Any) -> Any:
        beta = per_feature(m.beta, m.x, from_behind(m.axis, m.x))
        return beta if isinstance(beta, NoMatch) else op.LayerNormalization(m.x, m.scale, beta, **m.norm.attrs)
