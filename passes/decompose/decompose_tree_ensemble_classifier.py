"""TreeEnsembleClassifier as matrix products."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose import _classes, _trees
from coregraft.passes.decompose._base import scalar
from coregraft.rewriter.passes import NoMatch, OpBuilder, OpView


@dataclass(frozen=True)
class DecomposeTreeEnsembleClassifier(_trees.TreeRule):
    """Evaluate a tree ensemble classifier with comparisons and matrix products.

    What it does
    ------------
    All comparisons of all trees are one Gather and one comparison; a MatMul with the paths tells which leaf each row
    reaches, another one adds up what the leaves say. Labels and probabilities follow onnxruntime: with two labels and
    weights for one of them, the score is compared with 0.5 where all weights are positive, with 0 otherwise; with
    more labels the greatest score wins. Honours ``base_values``, missing values and ``post_transform`` NONE, SOFTMAX,
    LOGISTIC, SOFTMAX_ZERO and PROBIT. The labels must be integers. Inputs are cast to fp32; the thresholds of doubles
    are such that each fp32 number keeps its branch. Fires where the target has no lowering for the op.

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
    H4.26; ONNX ai.onnx.ml TreeEnsembleClassifier-3; the matrix form is the "GEMM strategy" of the Hummingbird paper.
    """

    roots: ClassVar[tuple[str, ...]] = ("ai.onnx.ml::TreeEnsembleClassifier",)

    def build(self, op: OpBuilder, node: OpView) -> Any:
        labels = _classes.labels_of(node, "classlabels_int64s")
        if isinstance(labels, NoMatch):
            return labels
        how = node.attr("post_transform")
        weights, ids = np.array(_trees.numbers(node, "class_weights")), set(node.attr("class_ids") or ())
        ensemble = self.ensemble(node, node, "class", len(labels))
        if isinstance(ensemble, NoMatch):
            return ensemble
        base = _trees.numbers(node, "base_values")
        if len(labels) == 2 and len(ids) == 1 and (not base or ids == {0}) and len(base) <= 1:
            return self._binary(op, node, labels, ensemble, sorted(ids)[0], base, bool((weights >= 0).all()), how)
        if len(labels) == 2:
            return NoMatch("two labels with weights for both, which runtimes read in different ways")
        always = _trees.scored_always(node, "class")
        certain = len(labels) > 2 and (len(base) == len(labels) or always == set(range(len(labels))))
        if not certain and (len(ids) < len(labels) or (weights < 0).any()):
            return NoMatch("whether a label that no leaf speaks of can win is left open")
        values = _trees.scores(op, node, ensemble, base or [0.0] * len(labels))
        return _classes.results(node, _classes.best(op, labels, values), _classes.transformed(op, values, how))

    @staticmethod
    def _binary(
        op: OpBuilder, node: OpView, labels: Any, ensemble: Any, target: int, base: Any, positive: bool, how: str
    ) -> Any:
        lone = replace(ensemble, values=ensemble.values[:, :, target : target + 1])
        score = _trees.scores(op, node, lone, base or [0.0])
        label = _classes.either(op, labels, op.Greater(score, scalar(op, 0.5 if positive else 0.0, score)))
        if target == 1:  # the first label keeps a score of its own, which no leaf adds to
            pair = op.Concat(op.Mul(score, scalar(op, 0, score)), score, axis=1)
            return _classes.results(node, label, _classes.transformed(op, pair, how))
        if how == "LOGISTIC":
            return _classes.results(node, label, op.Sigmoid(op.Concat(op.Neg(score), score, axis=1)))
        if how != "NONE":
            return NoMatch("post_transform {} of a single score has no plain form", how)
        other = op.Sub(scalar(op, 1, score), score) if positive else op.Neg(score)
        return _classes.results(node, label, op.Concat(other, score, axis=1))
