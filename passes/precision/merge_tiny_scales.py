"""Constant factors that half precision cannot hold, merged with their neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.precision import _half
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.passes import APPROXIMATE, Context, Equivalence, Finding, OpBuilder, Rule
from coregraft.rewriter.types import DType


@dataclass(frozen=True)
class MergeTinyScales(Rule):
    """Merge two constant factors into one when half precision cannot hold one of them.

    What it does
    ------------
    ``(x * a) * b``, with divisions too, becomes one product, computed in float64, when ``a`` or ``b`` (or the
    reciprocal of a divisor) is outside the normal half-precision range and their product is inside. ``check`` also
    reports the constants that no neighbour can take; ``assign-precision`` keeps their ops in fp32.

    Why it matters
    --------------
    coremltools raises non-zero constants below 6e-8 to 6e-8: ``x * 1e-9`` comes out 60 times too large, and the guard
    ``clip(p, 1e-7, 1 - 1e-7)`` is lost (H3.02).

    Example
    -------
    ``Mul(Div(x, 1e9), 1e9)`` becomes ``Mul(x, 1)``.

    Equivalence
    -----------
    Approximate within 1e-6: one rounding less, and no underflow in between.

    Sources
    -------
    Hazard catalogue H3.02.
    """

    code: ClassVar[str] = "CG302"
    equivalence: ClassVar[Equivalence] = APPROXIMATE
    bound: ClassVar[float] = 1e-6

    def pattern(self, op: Any, x: Any, a: Any, b: Any) -> Any:
        inner = op.any_of(op.Mul(x, a, _name="inner"), op.Div(x, a, _name="inner"))
        return op.any_of(op.Mul(inner, b), op.Div(inner, b))

    def where(self, m: Any) -> Any:
        if not (m.a.is_scalar and m.b.is_scalar):
            return m.no("not two constant factors")
        if m.a.dtype is not DType.FLOAT:
            return m.no("not fp32")
        if m.x.rank is None or max(m.a.rank, m.b.rank) > m.x.rank:
            return m.no("a factor raises the rank")
        a, b = _factor(m.a, m.inner.type), _factor(m.b, m.root.type)
        if _safe(a) and _safe(b):
            return m.no("both factors are safe")
        return _safe(a * b) or m.no("the merged factor is not safe either")

    def replacement(self, op: OpBuilder, m: Any) -> Any:
        factor = _factor(m.a, m.inner.type) * _factor(m.b, m.root.type)
        return op.Mul(m.x, op.const(np.asarray(factor, np.float32)))

    def check(self, g: Graph, ctx: Context) -> list[Finding]:
        found = []
        for op_id, op in sorted(g.ops()):
            for value in op.inputs:
                const = g.const(value) if value else None
                if const is None or const.dtype is not DType.FLOAT or const.size > 64:
                    continue
                if _half.loses(const.numpy()):
                    text = f"constant {value} is below the half-precision range"
                    found.append(Finding(self.code, self.name, g.op(op_id).label, text))
        return found


def _factor(c: Any, kind: str) -> float:
    value = float(c.scalar())
    if kind == "Mul":
        return value
    return 1.0 / value if value else float("inf")


def _safe(value: float) -> bool:
    """Zero, or within the normal half-precision range."""
    return value == 0 or _half.MIN_NORMAL <= abs(value) <= _half.MAX
