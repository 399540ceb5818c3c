"""Normalizer as a division by the norm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.passes.decompose._base import Decomposition, ints, scalar
from coregraft.passes.decompose._classes import as_float
from coregraft.rewriter.passes import Equivalence, OpBuilder, OpView


@dataclass(frozen=True)
class DecomposeNormalizer(Decomposition):
    """Write the row normalisation of classic machine learning as a division.

    What it does
    ------------
    Divides each row of a matrix by its maximum (MAX), the sum of its magnitudes (L1) or its length (L2), and leaves a
    row of zeros as it is; other types are cast to fp32 first. Fires where the target has no lowering for the op.

    Why it matters
    --------------
    Core ML knows no op of the ``ai.onnx.ml`` domain in a network; this one is a few ops it has.

    Example
    -------
    ``y = ai.onnx.ml.Normalizer <norm = "L1"> (x)`` becomes ``y = x / ReduceL1(x)``, with 1 in the place of 0.

    Equivalence
    -----------
    Reassociating: the norm may be summed in another order.

    Sources
    -------
    H4.26; ONNX ai.onnx.ml Normalizer-1.
    """

    code: ClassVar[str] = "CG426"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ("ai.onnx.ml::Normalizer",)
    when_unsupported: ClassVar[bool] = True

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x = as_float(op, node)
        kind = {"MAX": "ReduceMax", "L1": "ReduceL1", "L2": "ReduceL2"}[node.attr("norm")]
        norm = getattr(op, kind)(x, ints(op, [-1]), keepdims=1)
        zero = op.Equal(norm, scalar(op, 0, x))
        return op.Div(x, op.Where(zero, scalar(op, 1, x), norm))
