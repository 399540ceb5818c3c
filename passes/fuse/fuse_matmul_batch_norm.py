"""BatchNormalization of a matrix product into its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.rewriter.passes import REASSOCIATING, Equivalence, OpBuilder, Rule


@dataclass(frozen=True)
class FuseMatmulBatchNorm(Rule):
    """Fold BatchNormalization into the Gemm or MatMul whose rank-2 result it normalises.

    What it does
    ------------
    ``BatchNormalization(Gemm(x, W, c))`` and ``BatchNormalization(MatMul(x, W))`` of rank 2 become one Gemm, with
    constants computed in float64.

    Why it matters
    --------------
    One op less; and a ``batch_norm`` of rank 2, which coremltools accepts though its documentation wants rank 3 to 5,
    does not reach the runtime (H4.16).

    Example
    -------
    ``BatchNormalization(Gemm(x, W, c), s, b, m, v)`` becomes ``Gemm(x, W', c')``.

    Equivalence
    -----------
    Reassociating.

    Sources
    -------
    Hazard catalogue H4.16, H2.14.
    """

    equivalence: ClassVar[Equivalence] = REASSOCIATING

    def pattern(
        self, op: Any, x: Any, w: Any, scale: Any, shift: Any, mean: Any, var: Any, c: Any = None
    ) -> Any:
        product = op.any_of(op.Gemm(x, w, c, _name="product"), op.MatMul(x, w, _name="product"))
        return op.BatchNormalization(product, scale, shift, mean, var, training_mode=0, epsilon=op.attr("epsilon"))

    def where(self, m: Any) -> Any:
        if m.x.rank != 2 or m.w.rank != 2:
            return m.no("not of rank 2")
        if not all(v.is_const for v in (m.w, m.scale, m.shift, m.mean, m.var)) or (m.c and not m.c.is_const):
            return m.no("an operand is computed at run time")
        if len(m.w.users) > 1:
            return m.no("the weights are shared")
        if m.c is None or m.c.const.size == 1:
            return True
        return m.c.shape[-1] == m.c.const.size or m.no("C is not one value per feature")

    def replacement(self, op: OpBuilder, m: Any) -> Any:
        scale, shift, mean, var = (v.array().astype(np.float64).reshape(-1) for v in (m.scale, m.shift, m.mean, m.var))
        gain = scale / np.sqrt(var + m.epsilon)
        is_gemm = m.product.type == "Gemm"
        alpha, beta = (m.product.attr("alpha"), m.product.attr("beta")) if is_gemm else (1.0, 1.0)
        by_rows = is_gemm and bool(m.product.attr("transB"))
        w = m.w.array()
        weight = w.astype(np.float64) * alpha * (gain[:, None] if by_rows else gain[None, :])
        bias = np.zeros_like(gain) if m.c is None else m.c.array().astype(np.float64).reshape(-1) * beta
        bias = (bias - mean) * gain + shift
        return op.Gemm(
            m.x,
            weight.astype(w.dtype),
            bias.astype(w.dtype),
            transA=m.product.attr("transA"),
            transB=1 if by_rows else None,
        )
