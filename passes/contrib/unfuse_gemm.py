"""FusedGemm as Gemm and an activation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.passes.contrib._activation import PARAMETERS, activated
from coregraft.passes.contrib._base import Contrib, ms
from coregraft.passes.decompose._base import need, operand
from coregraft.rewriter.passes import Equivalence, OpBuilder, OpView


@dataclass(frozen=True)
class UnfuseGemm(Contrib):
    """Write onnxruntime's FusedGemm as Gemm and its activation.

    What it does
    ------------
    ``alpha``, ``beta`` and both transpositions stay with the Gemm. The activation is one of Relu, Tanh, Sigmoid,
    Softplus, Softsign, Elu, Celu, Selu, LeakyRelu, ThresholdedRelu, HardSigmoid, ScaledTanh, ParametricSoftplus, with
    its parameters written out, as onnxruntime wants them.

    Why it matters
    --------------
    Core ML has no such op; onnxruntime's optimizer makes one of every Gemm before an activation.

    Example
    -------
    ``y = com.microsoft.FusedGemm <activation = "Tanh", transB = 1> (x, w, b)`` becomes ``y = Tanh(Gemm <transB = 1>
    (x, w, b))``.

    Equivalence
    -----------
    Reassociating: the same operations, some kernels approximate the activation.

    Sources
    -------
    H4.26; onnxruntime operator schema FusedGemm-1.
    """

    code: ClassVar[str] = "CG426"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ms("FusedGemm")
    defaults: ClassVar[Mapping[str, Any]] = dict.fromkeys(
        (
            *("alpha", "beta", "transA", "transB"),
            *("activation", "activation_alpha", "activation_beta", "activation_gamma"),
        )
    )

    def build(self, op: OpBuilder, node: OpView) -> Any:
        gemm = self.kept(node, "alpha", "beta", "transA", "transB")
        y = op.Gemm(need(node, 0), need(node, 1), operand(node, 2), **gemm)
        kind = self.get(node, "activation")
        names = PARAMETERS.get(kind, ())
        given = {n: v for n in names if (v := self.get(node, f"activation_{n}")) is not None}
        return activated(op, y, str(kind), given)
