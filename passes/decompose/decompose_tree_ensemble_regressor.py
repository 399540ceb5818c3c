"""TreeEnsembleRegressor as matrix products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose import _trees
from coregraft.passes.decompose._base import Decomposition, need
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView
from coregraft.rewriter.types import DType


@dataclass(frozen=True)
class DecomposeTreeEnsembleRegressor(Decomposition):
    """Evaluate a tree ensemble regressor with comparisons and matrix products.

    What it does
    ------------
    All comparisons of all trees are one Gather and one comparison; a MatMul with the paths tells which leaf each row
    reaches, another one adds up what the leaves say. Honours ``aggregate_function`` SUM and AVERAGE, ``base_values``,
    missing values and ``post_transform`` NONE, SOFTMAX, LOGISTIC and SOFTMAX_ZERO. The input must be fp32 and all nodes
    compare the same way. Fires where the target has no lowering for the op.

    Why it matters
    --------------
    Core ML runs trees in a model type of their own, which no ML Program can hold.

    Example
    -------
    A forest of 10 trees on ``x`` [n, 4] becomes ``Equal(MatMul(Gather(x) <= t, paths), counts)`` and two sums.

    Equivalence
    -----------
    Reassociating: the leaves' weights are added in another order. Thresholds are compared as they are.

    Options
    -------
    max-elements: largest paths matrix (trees x nodes x leaves) to build.

    Sources
    -------
    H4.26; ONNX ai.onnx.ml TreeEnsembleRegressor-3; the matrix form is the "GEMM strategy" of the Hummingbird paper.
    """

    code: ClassVar[str] = "CG426"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ("ai.onnx.ml::TreeEnsembleRegressor",)
    when_unsupported: ClassVar[bool] = True
    max_elements: int = 1 << 24

    def build(self, op: OpBuilder, node: OpView) -> Any:
        if need(node, 0).dtype is not DType.FLOAT:
            return NoMatch("its input is not fp32")
        aggregate = node.attr("aggregate_function")
        if aggregate not in ("SUM", "AVERAGE"):
            return NoMatch("aggregate_function is {}", aggregate)
        targets = node.attr("n_targets") or 1
        ensemble = _trees.read(node, "target", targets, self.max_elements)
        if isinstance(ensemble, NoMatch):
            return ensemble
        if aggregate == "AVERAGE":
            ensemble = _trees.Ensemble(
                **{**vars(ensemble), "values": ensemble.values / np.float32(len(ensemble.values))}
            )
        base = node.attr("base_values") or [0.0] * targets
        return _trees.transformed(op, _trees.scores(op, node, ensemble, base), node.attr("post_transform"))
