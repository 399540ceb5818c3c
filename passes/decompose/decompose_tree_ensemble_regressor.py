"""TreeEnsembleRegressor as matrix products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.passes.decompose._trees import TreeRule
from coregraft.rewriter.passes import OpBuilder, OpView


@dataclass(frozen=True)
class DecomposeTreeEnsembleRegressor(TreeRule):
    """Evaluate a tree ensemble regressor with comparisons and matrix products.

    What it does
    ------------
    All comparisons of all trees are one Gather and one comparison; a MatMul with the paths tells which leaf each row
    reaches, another one tells what the leaves say. Honours ``aggregate_function``, ``base_values``, missing values,
    comparisons of all kinds, and ``post_transform`` of several targets, which onnxruntime leaves out for one (PROBIT
    excepted): that is refused. So are base values of a target that no leaf may speak of, which it leaves out too.
    Inputs are cast to fp32; the thresholds of doubles are such that each fp32 number keeps its branch. Fires where the
    target has no lowering for the op.

    Why it matters
    --------------
    Core ML runs trees in a model type of their own, which no ML Program can hold.

    Example
    -------
    A forest of 10 trees on ``x`` [n, 4] becomes ``Equal(MatMul(Gather(x) <= t, paths), counts)`` and two sums.

    Equivalence
    -----------
    Reassociating: the leaves' weights are added in another order. fp32 thresholds are compared as they are.

    Options
    -------
    max-elements: largest paths matrix (trees x nodes x leaves) to build.

    Sources
    -------
    H4.26; ONNX ai.onnx.ml TreeEnsembleRegressor-3; the matrix form is the "GEMM strategy" of the Hummingbird paper.
    """

    roots: ClassVar[tuple[str, ...]] = ("ai.onnx.ml::TreeEnsembleRegressor",)

    def build(self, op: OpBuilder, node: OpView) -> Any:
        return self.regression(op, node, node, node.attr("aggregate_function"), node.attr("post_transform"))
