"""A decomposed RMS normalisation into one op."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.passes.fuse._norms import (
    from_behind,
    inverse_root_times,
    is_ones,
    normalised_shape,
    per_feature,
    scale_of,
    trailing_axis,
)
from coregraft.rewriter.passes import REASSOCIATING, Equivalence, NoMatch, OpBuilder, Rule, RuleGroup


@dataclass(frozen=True)
class FuseRmsNorm(RuleGroup):
    """Recognise RMS normalisation written out in primitive ops.

    What it does
    ------------
    ``x / sqrt(mean(x^2) + eps)`` over the last axes becomes RMSNormalization, in the usual spellings of square and
    root; a constant factor over the normalised dims, after it or of the reciprocal root, becomes its scale.

    Why it matters
    --------------
    Seen as one op its range can be controlled: squares overflow half precision above 255, and language models have
    channels of a thousand (H3.06).

    Example
    -------
    ``Mul(x, Reciprocal(Sqrt(ReduceMean(x * x) + 1e-6)))`` becomes ``RMSNormalization(x, 1)``.

    Equivalence
    -----------
    Reassociating.

    Sources
    -------
    Hazard catalogue H3.06.
    """

    code: ClassVar[str] = "CG306"
    equivalence: ClassVar[Equivalence] = REASSOCIATING

    def rules(self) -> list[Rule]:
        return [_Normalise(), _Scale()]


@dataclass(frozen=True)
class _Normalise(Rule):
    """RMS normalisation is computed step by step; its squares overflow half precision above 255."""

    code: ClassVar[str] = "CG306"
    equivalence: ClassVar[Equivalence] = REASSOCIATING

    def pattern(self, op: Any, x: Any, eps: Any, axes: Any = None, gamma: Any = None) -> Any:
        square = op.any_of(op.Mul(x, x), op.Pow(x, 2))
        mean = op.ReduceMean(square, axes, keepdims=1, noop_with_empty_axes=0)
        return op.any_of(*inverse_root_times(op, x, op.Add(mean, eps), gamma))

    def where(self, m: Any) -> Any:
        if m.x.dtype is None or not m.x.dtype.is_float:
            return m.no("not floating point")
        if not m.eps.is_scalar:
            return m.no("epsilon is not one constant")
        axis = trailing_axis(m.axes, m.x.rank)
        if axis is None:
            return m.no("the mean is not over the last axes")
        return normalised_shape(m.x, axis) is not None or m.no("a normalised dim is not static")

    def replacement(self, op: OpBuilder, m: Any) -> Any:
        axis = trailing_axis(m.axes, m.x.rank)
        assert axis is not None  # where has asked
        scale = scale_of(m.gamma, m.x, axis)
        if isinstance(scale, NoMatch):
            return scale
        return op.RMSNormalization(m.x, scale, axis=axis, epsilon=float(m.eps.scalar()))


@dataclass(frozen=True)
class _Scale(Rule):
    """A constant factor after RMS normalisation is its scale."""

    equivalence: ClassVar[Equivalence] = REASSOCIATING

    def pattern(self, op: Any, x: Any, scale: Any, gamma: Any) -> Any:
        return op.Mul(op.RMSNormalization(x, scale, axis=op.attr("axis"), _name="norm"), gamma)

    def where(self, m: Any) -> Any:
        return is_ones(m.scale) or m.no("there is a scale already")

    def replacement(self, op: OpBuilder, m: Any) -> Any:
        gamma = per_feature(m.gamma, m.x, from_behind(m.axis, m.x))
        return gamma if isinstance(gamma, NoMatch) else op.RMSNormalization(m.x, gamma, **m.norm.attrs)
