"""LinearClassifier as a matrix product, a comparison and a transform of the scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose import _trees
from coregraft.passes.decompose._base import Decomposition, ints, need, scalar
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView
from coregraft.rewriter.types import DType


@dataclass(frozen=True)
class DecomposeLinearClassifier(Decomposition):
    """Write a linear classification as a matrix product.

    What it does
    ------------
    ``x @ coefficientsᵀ + intercepts``; the label of the greatest score wins. A single score belongs to the second of
    two labels, which wins where it is positive; the first one's is 1 less the score, after LOGISTIC where that is the
    ``post_transform``, as in onnxruntime. More scores are transformed by NONE, LOGISTIC, SOFTMAX or SOFTMAX_ZERO.
    ``multi_class`` changes nothing, as in onnxruntime. Labels that are strings and PROBIT are refused; other inputs
    are cast to fp32 first. Fires where the target has no lowering for the op.

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
        x: Any = need(node, 0)
        labels, intercepts = node.attr("classlabels_ints") or (), node.attr("intercepts") or ()
        coefficients = np.array(node.attr("coefficients") or (), np.float32)
        how = node.attr("post_transform")
        if node.attr("classlabels_strings") or not labels:
            return NoMatch("its labels are strings, or it has none")
        if not intercepts or not coefficients.size or coefficients.size % len(intercepts):
            return NoMatch("its coefficients are not so many for each intercept")
        if len(intercepts) != len(labels) and (len(intercepts), len(labels)) != (1, 2):
            return NoMatch("{} scores for {} labels", len(intercepts), len(labels))
        if how == "PROBIT":
            return NoMatch("post_transform PROBIT has no plain form")
        x = x if x.dtype is DType.FLOAT else op.Cast(x, to=int(DType.FLOAT))
        weights = coefficients.reshape(len(intercepts), -1).T
        scores = op.Add(
            op.MatMul(x, op.const(np.ascontiguousarray(weights))), op.const(np.array(intercepts, np.float32))
        )
        if len(intercepts) == 1:
            first, second = (op.const(np.array(label, np.int64)) for label in labels)
            positive = op.Squeeze(op.Greater(scores, scalar(op, 0, scores)), ints(op, [1]))
            label = op.Where(positive, second, first)
            share = op.Sigmoid(scores) if how == "LOGISTIC" else scores
            values = op.Concat(op.Sub(scalar(op, 1, scores), share), share, axis=1)
        else:
            winner = op.ArgMax(scores, axis=1, keepdims=0)
            label = op.Gather(op.const(np.array(labels, np.int64)), winner, axis=0)
            values = _trees.transformed(op, scores, how)
        if isinstance(values, NoMatch):
            return values
        return tuple(v for v, name in zip((label, values), node.op.outputs, strict=False) if name)
