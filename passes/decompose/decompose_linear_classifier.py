"""LinearClassifier as a matrix product, a comparison and a transform of the scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose import _classes
from coregraft.passes.decompose._base import Decomposition, scalar
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView


@dataclass(frozen=True)
class DecomposeLinearClassifier(Decomposition):
    """Write a linear classification as a matrix product.

    What it does
    ------------
    ``x @ coefficientsᵀ + intercepts``; the label of the greatest score wins. A single score belongs to the second of
    two labels, which wins where it is positive; the first one's is 1 less the score, after LOGISTIC where that is the
    ``post_transform``, as in onnxruntime. More scores are transformed by any ``post_transform``. ``multi_class``
    changes nothing, as in onnxruntime. Labels that are strings, and PROBIT of a single score are refused; other
    inputs are cast to fp32 first. Fires where the target has no lowering for the op.

    Why it matters
    --------------
    Core ML knows no op of the ``ai.onnx.ml`` domain in a network; this one is a few ops it has.

    Example
    -------
    ``label, p = ai.onnx.ml.LinearClassifier <post_transform = "SOFTMAX"> (x)`` becomes ``s = MatMul(x, w) + b; p =
    Softmax(s); label = labels[ArgMax(s)]``.

    Equivalence
    -----------
    Reassociating: the same products, summed in the order of the matrix product.

    Sources
    -------
    H4.26; ONNX ai.onnx.ml LinearClassifier-1; onnxruntime for a single score.
    """

    code: ClassVar[str] = "CG426"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ("ai.onnx.ml::LinearClassifier",)
    when_unsupported: ClassVar[bool] = True

    def build(self, op: OpBuilder, node: OpView) -> Any:
        labels, intercepts = _classes.labels_of(node), node.attr("intercepts") or ()
        coefficients = np.array(node.attr("coefficients") or (), np.float32)
        how = node.attr("post_transform")
        if isinstance(labels, NoMatch):
            return labels
        if not intercepts or not coefficients.size or coefficients.size % len(intercepts):
            return NoMatch("its coefficients are not so many for each intercept")
        if len(intercepts) != len(labels) and (len(intercepts), len(labels)) != (1, 2):
            return NoMatch("{} scores for {} labels", len(intercepts), len(labels))
        if how == "PROBIT" and len(intercepts) == 1:
            return NoMatch("post_transform PROBIT of a single score has no plain form")
        weights = coefficients.reshape(len(intercepts), -1).T
        products = op.MatMul(_classes.as_float(op, node), op.const(np.ascontiguousarray(weights)))
        scores = op.Add(products, op.const(np.array(intercepts, np.float32)))
        if len(intercepts) > 1:
            return _classes.results(node, _classes.best(op, labels, scores), _classes.transformed(op, scores, how))
        label = _classes.either(op, labels, op.Greater(scores, scalar(op, 0, scores)))
        share = op.Sigmoid(scores) if how == "LOGISTIC" else scores
        return _classes.results(node, label, op.Concat(op.Sub(scalar(op, 1, scores), share), share, axis=1))
