"""TreeEnsembleClassifier as matrix products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose import _trees
from coregraft.passes.decompose._base import Decomposition, need, scalar
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView
from coregraft.rewriter.types import DType


@dataclass(frozen=True)
class DecomposeTreeEnsembleClassifier(Decomposition):
    """Evaluate a tree ensemble classifier with comparisons and matrix products.

    What it does
    ------------
    All comparisons of all trees are one Gather and one comparison; a MatMul with the paths tells which leaf each row
    reaches, another one adds up what the leaves say. Labels and probabilities follow onnxruntime: with two labels and
    weights for one of them, the score is compared with 0.5 where all weights are positive, with 0 otherwise; with
    more labels the greatest score wins. Honours ``base_values``, missing values and ``post_transform`` NONE, SOFTMAX,
    LOGISTIC and SOFTMAX_ZERO. The labels must be integers, the input fp32, and all nodes compare the same way. Fires
    where the target has no lowering for the op.

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
    H4.26; ONNX ai.onnx.ml TreeEnsembleClassifier-3; the matrix form is the "GEMM strategy" of the Hummingbird paper.
    """

    code: ClassVar[str] = "CG426"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ("ai.onnx.ml::TreeEnsembleClassifier",)
    when_unsupported: ClassVar[bool] = True
    max_elements: int = 1 << 24

    def build(self, op: OpBuilder, node: OpView) -> Any:
        labels = node.attr("classlabels_int64s")
        if not labels:
            return NoMatch("its labels are strings")
        if need(node, 0).dtype is not DType.FLOAT:
            return NoMatch("its input is not fp32")
        how = node.attr("post_transform")
        weights, ids = np.array(node.attr("class_weights") or ()), set(node.attr("class_ids") or ())
        ensemble = _trees.read(node, "class", len(labels), self.max_elements)
        if isinstance(ensemble, NoMatch):
            return ensemble
        base = list(node.attr("base_values") or ())
        if len(labels) == 2 and len(ids) == 1 and (not base or ids == {0}) and len(base) <= 1:
            return self._binary(op, node, ensemble, sorted(ids)[0], base, bool((weights >= 0).all()), how)
        if len(labels) == 2:
            return NoMatch("two labels with weights for both, which runtimes read in different ways")
        if len(ids) < len(labels) or (weights < 0).any():
            return NoMatch("whether a label that no leaf speaks of can win is left open")
        values = _trees.scores(op, node, ensemble, base or [0.0] * len(labels))
        winner = op.Gather(op.const(np.array(labels, np.int64)), op.ArgMax(values, axis=1, keepdims=0), axis=0)
        return self._results(node, winner, _trees.transformed(op, values, how))

    def _binary(
        self, op: OpBuilder, node: OpView, ensemble: Any, target: int, base: Any, positive: bool, how: str
    ) -> Any:
        labels = node.attr("classlabels_int64s")
        lone = _trees.Ensemble(**{**vars(ensemble), "values": ensemble.values[:, :, target : target + 1]})
        score = _trees.scores(op, node, lone, base or [0.0])
        yes = op.Greater(score, scalar(op, 0.5 if positive else 0.0, score))
        winner = op.Where(
            op.Squeeze(yes, op.const(np.array([1], np.int64))),
            *(op.const(np.array(labels[i], np.int64)) for i in (1, 0)),
        )
        if target == 1:  # the first label keeps a score of its own, which no leaf adds to
            pair = op.Concat(op.Mul(score, scalar(op, 0, score)), score, axis=1)
            return self._results(node, winner, _trees.transformed(op, pair, how))
        if how == "LOGISTIC":
            return self._results(node, winner, op.Sigmoid(op.Concat(op.Neg(score), score, axis=1)))
        if how != "NONE":
            return NoMatch("post_transform {} of a single score has no plain form", how)
        other = op.Sub(scalar(op, 1, score), score) if positive else op.Neg(score)
        return self._results(node, winner, op.Concat(other, score, axis=1))

    @staticmethod
    def _results(node: OpView, label: Any, probabilities: Any) -> Any:
        if isinstance(probabilities, NoMatch):
            return probabilities
        return tuple(v for v, name in zip((label, probabilities), node.op.outputs, strict=False) if name)
