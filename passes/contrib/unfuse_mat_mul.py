"""FusedMatMul and its kin as Transpose, MatMul and a scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.passes.contrib._activation import PARAMETERS, activated
from coregraft.passes.contrib._base import Contrib, ms
from coregraft.passes.decompose._base import need
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView, ValueView


@dataclass(frozen=True)
class UnfuseMatMul(Contrib):
    """Write onnxruntime's fused matrix products as Transpose, MatMul, Mul and an activation.

    What it does
    ------------
    FusedMatMul, TransposeMatMul and FusedMatMulActivation: each operand is transposed as ``transA``, ``transB``
    (last two axes) and ``transBatchA``, ``transBatchB`` (first axis behind the batch axes) say, the product scaled
    by ``alpha``, the activation applied. Vectors are never transposed, as in onnxruntime.

    Why it matters
    --------------
    Core ML has no such op; onnxruntime's optimizer writes one for every attention score.

    Example
    -------
    ``y = com.microsoft.FusedMatMul <alpha = 0.125, transB = 1> (q, k)`` becomes ``y = MatMul(q, Transpose(k)) *
    0.125``.

    Equivalence
    -----------
    Reassociating: the kernel scales each product of the sum.

    Sources
    -------
    H4.26; onnxruntime operator schemas FusedMatMul-1, TransposeMatMul-1, FusedMatMulActivation-1.
    """

    code: ClassVar[str] = "CG426"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ms("FusedMatMul", "TransposeMatMul", "FusedMatMulActivation")
    defaults: ClassVar[Mapping[str, Any]] = {
        **dict.fromkeys(("transA", "transB", "transBatchA", "transBatchB"), 0),
        "alpha": 1.0,
        **dict.fromkeys(("activation", "activation_axis", "activation_alpha", "activation_beta", "activation_gamma")),
    }

    def build(self, op: OpBuilder, node: OpView) -> Any:
        a, b = (self._operand(op, node, i, side) for i, side in ((0, "A"), (1, "B")))
        if isinstance(a, NoMatch) or isinstance(b, NoMatch):
            return NoMatch("the rank of an operand that is transposed is not known")
        y = op.MatMul(a, b)
        alpha = self.get(node, "alpha")
        if alpha != 1:
            y = op.Mul(y, float(alpha))
        kind = self.get(node, "activation")
        if not kind:
            return y
        if kind == "Softmax":
            axis = self.get(node, "activation_axis")
            return op.Softmax(y, axis=-1 if axis is None else axis)
        names = PARAMETERS.get(kind, ())
        return activated(op, y, kind, {n: v for n in names if (v := self.get(node, f"activation_{n}")) is not None})

    def _operand(self, op: OpBuilder, node: OpView, index: int, side: str) -> ValueView | NoMatch:
        x = need(node, index)
        swap, batch = self.get(node, f"trans{side}"), self.get(node, f"transBatch{side}")
        if not swap and not batch:
            return x
        if x.rank is None:
            return NoMatch("the rank is not known")
        if x.rank < 2:
            return x
        perm = list(range(x.rank))
        if batch:
            perm = [*perm[1:-1], 0, perm[-1]]
        if swap:
            perm = [*perm[:-2], perm[-1], perm[-2]]
        result: ValueView = op.Transpose(x, perm=tuple(perm))
        return result
