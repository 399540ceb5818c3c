"""Matrix products with constant weights into ``coregraft.Linear``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.precision.assign_precision import FEATURE_RULES
from coregraft.rewriter.dialect import DOMAIN
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.passes import (
    REASSOCIATING,
    Context,
    Equivalence,
    Match,
    NoMatch,
    OpBuilder,
    Rule,
    RuleGroup,
    ValueView,
)
from coregraft.rewriter.types import Array, Const


@dataclass(frozen=True)
class FormLinear(RuleGroup):
    """Form ``Linear(x, w, b) = x w^T + b`` from Gemm, and from MatMul with a bias.

    What it does
    ------------
    Gemm with constant ``B`` (alpha, beta, both transpositions, any legal shape of ``C``) and ``MatMul(x, W) + b``,
    ``MatMul(x, W) - b`` and ``b - MatMul(x, W)`` with a constant matrix ``W`` and a bias per output feature become one
    op with the weight as (out, in). Constants are computed in float64. Products of integers stay.

    Why it matters
    --------------
    coremltools' own fusion turns ``c - x W`` into ``x W - c`` and adds the bias of ``W x + c`` along the wrong axis
    (H2.02); it is kept out of the pipeline. A ``linear`` can run on the Neural Engine and be quantised per channel
    (H2.14).

    Example
    -------
    ``Add(MatMul(x, W), b)`` becomes ``coregraft.Linear(x, W^T, b)``.

    Equivalence
    -----------
    Reassociating.

    Sources
    -------
    Hazard catalogue H2.02, H2.14, H7.06.
    """

    code: ClassVar[str] = "CG214"
    equivalence: ClassVar[Equivalence] = REASSOCIATING

    def rules(self) -> list[Rule]:
        return [_FromGemm(), _FromMatMul(), _FoldAffine()]

    def run(self, g: Graph, ctx: Context) -> None:
        *products, affine = self.rules()
        ctx.rewrite(g, products)
        ctx.rewrite(g, [affine])  # only now is it known which weights have several users


def linear(op: OpBuilder, x: ValueView, w: Any, b: Any) -> ValueView:
    """Build ``coregraft.Linear``."""
    result: ValueView = op.domain(DOMAIN).Linear(x, w, b)
    return result


def feature_vector(c: ValueView, features: int, rank: int) -> Array | None:
    """A constant as one float64 value per output feature (the last axis of ``rank`` dims), else None."""
    if not c.is_const or c.rank is None or c.rank > rank:
        return None
    array = np.asarray(c.array(), np.float64)
    if array.size == 1:
        return np.full(features, array.reshape(-1)[0])
    return array.reshape(-1) if array.size == features and array.shape[-1] == features else None


def weight_of(w: ValueView) -> NoMatch | None:
    """Why a constant cannot be the weight of a linear op, or None."""
    if not w.is_const or w.rank != 2:
        return NoMatch("{} is not a constant matrix", w.name)
    if w.dtype is None or not w.dtype.is_float:
        return NoMatch("{} is not floating point", w.name)
    if any(user.type not in ("MatMul", "Gemm", "Linear") for user in w.users):
        return NoMatch("{} is shared with an op that needs it as it is", w.name)
    return None


def transposed(op: OpBuilder, w: ValueView) -> ValueView:
    """The transposed constant: one for all users of the original (tied weights stay tied)."""
    name = f"{w.name}/transposed"
    original = w.const
    assert original is not None
    known = w.graph.const(name) if name in w.graph else None
    if known is not None and known.shape == original.shape[::-1]:
        return ValueView(w.graph, name)
    # A view of the original: a copy of every weight, held until the package is written, would double the memory.
    return op.const(Const(original.dtype, original.shape[::-1], lambda: original.numpy().T), name)


@dataclass(frozen=True)
class _FromGemm(Rule):
    """A Gemm with constant weights is a linear op."""

    code: ClassVar[str] = "CG214"
    equivalence: ClassVar[Equivalence] = REASSOCIATING

    def pattern(self, op: Any, a: Any, w: Any, c: Any = None) -> Any:
        return op.Gemm(a, w, c, _name="gemm")

    def where(self, m: Any) -> Any:
        reason = weight_of(m.w)
        return reason if reason is not None else True

    def replacement(self, op: OpBuilder, m: Any) -> Any:
        alpha, beta = m.gemm.attr("alpha"), m.gemm.attr("beta")
        x = op.Transpose(m.a, perm=(1, 0)) if m.gemm.attr("transA") else m.a
        w = m.w if m.gemm.attr("transB") else transposed(op, m.w)
        if alpha != 1:
            w = op.const((w.array().astype(np.float64) * alpha).astype(w.array().dtype))
        features, dtype = m.w.const.shape[0 if m.gemm.attr("transB") else 1], m.w.const.dtype.numpy
        if m.c is None:
            return linear(op, x, w, np.zeros(features, dtype))
        bias = feature_vector(m.c, features, 2)
        if bias is not None:
            return linear(op, x, w, (bias * beta).astype(dtype))
        product = linear(op, x, w, np.zeros(features, dtype))
        scaled = m.c if beta == 1 else op.Mul(m.c, float(beta))
        return op.Add(product, scaled)


@dataclass(frozen=True)
class _FromMatMul(Rule):
    """A matrix product and its bias are one linear op; coremltools fuses some of these wrongly."""

    code: ClassVar[str] = "CG202"
    equivalence: ClassVar[Equivalence] = REASSOCIATING

    def pattern(self, op: Any, x: Any, w: Any, b: Any) -> Any:
        product = op.MatMul(x, w, _name="product")
        return op.any_of(op.Add(product, b), op.Sub(product, b), op.Sub(b, product))

    def where(self, m: Any) -> Any:
        reason = weight_of(m.w)
        if reason is not None:
            return reason
        origin = m.product.op.origin
        if origin is not None and origin.rule in FEATURE_RULES:
            return m.no("it was made of an op of ai.onnx.ml, which has to be seen when precision is assigned")
        if m.x.rank is None or m.x.rank < 2:
            return m.no("the rank of {} is not 2 or more", m.x.name)
        features = m.w.const.shape[1]
        return feature_vector(m.b, features, m.x.rank) is not None or m.no("{} is not one value per feature", m.b.name)

    def replacement(self, op: OpBuilder, m: Any) -> Any:
        w = transposed(op, m.w)
        dtype = m.w.const.dtype.numpy
        bias = feature_vector(m.b, m.w.const.shape[1], m.x.rank)
        assert bias is not None
        if m.root.type == "Sub" and m.root.inputs[1] == m.b:
            bias = -bias
        elif m.root.type == "Sub":
            w = op.const(-w.array())
        return linear(op, m.x, w, bias.astype(dtype))


@dataclass(frozen=True)
class _FoldAffine(Rule):
    """Constants per feature after a linear op belong into its weights."""

    code: ClassVar[str] = "CG214"
    equivalence: ClassVar[Equivalence] = REASSOCIATING

    def pattern(self, op: Any, x: Any, w: Any, b: Any, c: Any) -> Any:
        y = op.domain(DOMAIN).Linear(x, w, b)
        return op.any_of(op.Mul(y, c), op.Div(y, c), op.Add(y, c), op.Sub(y, c), op.Sub(c, y))

    def where(self, m: Any) -> Any:
        if not m.c.is_const or not m.w.is_const or not m.b.is_const:
            return m.no("not constant")
        if not _keeps_weights(m) and len(m.w.users) > 1:
            return m.no("the weights are shared")
        features = m.w.const.shape[0]
        return feature_vector(m.c, features, m.output.rank or 2) is not None or m.no("not one value per feature")

    def replacement(self, op: OpBuilder, m: Any) -> Any:
        w, b = m.w.array().astype(np.float64), m.b.array().astype(np.float64)
        c = feature_vector(m.c, len(w), m.output.rank or 2)
        assert c is not None
        kind = m.root.type
        if kind == "Div" and not np.all(c):
            return m.no("a divisor is zero")
        if kind in ("Mul", "Div"):
            factor = c if kind == "Mul" else 1.0 / c
            w, b = w * factor[:, None], b * factor
        elif kind == "Add":
            b = b + c
        elif m.root.inputs[1] == m.c:
            b = b - c
        else:
            w, b = -w, c - b
        dtype = m.w.array().dtype
        return linear(op, m.x, m.w if _keeps_weights(m) else op.const(w.astype(dtype)), b.astype(dtype))


def _keeps_weights(m: Match) -> bool:
    """Whether what follows a linear op, ``y + c`` or ``y - c``, changes its bias alone."""
    return m.root.type == "Add" or (m.root.type == "Sub" and m.root.inputs[1] == m.c)
