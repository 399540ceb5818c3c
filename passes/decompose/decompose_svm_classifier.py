"""SVMClassifier as matrix products and votes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose import _classes, _kernels
from coregraft.passes.decompose._base import Decomposition, ints, scalar
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView
from coregraft.rewriter.types import Array, DType

#: What onnxruntime keeps from the ends of a probability, and where its estimate of many stops: libsvm's numbers.
_MARGIN, _TOLERANCE = 1e-7, 0.005


@dataclass(frozen=True)
class DecomposeSvmClassifier(Decomposition):
    """Write a support vector classification as its kernel, a matrix product, votes, and probabilities.

    What it does
    ------------
    How alike each row is to each support vector, by a linear, polynomial, radial or sigmoid kernel, times the
    coefficients of every two labels; each pair votes, and the label with most votes wins. With ``prob_a`` and
    ``prob_b`` the scores are probabilities of the labels, which onnxruntime estimates from those of the pairs in
    sweeps until they fit; ``max-sweeps`` are written out, and rows that fit already stay as they are. Without support
    vectors there is a score for each label, and the greatest wins. Labels that are strings and ``post_transform``
    PROBIT are refused; other inputs are cast to fp32 first. Fires where the target has no lowering for the op.

    Why it matters
    --------------
    Core ML runs support vector machines in a model type of their own, which no ML Program can hold.

    Example
    -------
    ``label, s = ai.onnx.ml.SVMClassifier <kernel_type = "LINEAR", classlabels_ints = [3, 8], …> (x)`` becomes ``pairs
    = (x @ vectorsᵀ) @ w + rho; label = [3, 8][ArgMax(votes)]; s = Concat(-pairs, pairs)``.

    Equivalence
    -----------
    Reassociating: the same products, summed in the order of the matrix product.

    Options
    -------
    max-sweeps: sweeps of the estimate of probabilities to write out, about 12 ops for each label; of thousands of
    random estimates none took more than 4.

    Sources
    -------
    H4.26; ONNX ai.onnx.ml SVMClassifier-1; onnxruntime for votes, signs and two labels; the estimate is the second
    method of Wu, Lin and Weng (2004), as in libsvm.
    """

    code: ClassVar[str] = "CG426"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ("ai.onnx.ml::SVMClassifier",)
    when_unsupported: ClassVar[bool] = True
    max_sweeps: int = 8

    def build(self, op: OpBuilder, node: OpView) -> Any:
        labels, how = _classes.labels_of(node), node.attr("post_transform")
        if isinstance(labels, NoMatch):
            return labels
        if len(labels) < 2:
            return NoMatch("it has one label")
        if how == "PROBIT":
            return NoMatch("post_transform PROBIT has no plain form")
        rows = _kernels.rows_of(op, node)
        if isinstance(rows, NoMatch):
            return rows
        if not sum(node.attr("vectors_per_class") or ()):
            return _by_features(op, node, rows, labels)
        pairs = _pair_scores(op, node, rows, len(labels))
        if isinstance(pairs, NoMatch):
            return pairs
        label = _classes.best(op, labels, _votes(op, pairs, len(labels)))
        slopes, offsets = (_kernels.floats(node, name) for name in ("prob_a", "prob_b"))
        if slopes.size:
            if slopes.size != offsets.size or slopes.size != pairs.shape[1]:
                return NoMatch("its probabilities are not of every two labels")
            estimate = _estimate(op, _pair_probabilities(op, pairs, slopes, offsets), len(labels), self.max_sweeps)
            return _classes.results(node, label, _classes.transformed(op, estimate, how))
        if len(labels) > 2:
            return _classes.results(node, label, _classes.transformed(op, pairs, how))
        if how == "NONE":
            return _classes.results(node, label, op.Concat(op.Neg(pairs), pairs, axis=1))
        share = op.Sigmoid(pairs) if how == "LOGISTIC" else pairs
        return _classes.results(node, label, op.Concat(op.Sub(scalar(op, 1, pairs), share), share, axis=1))


def _by_features(op: OpBuilder, node: OpView, rows: Any, labels: tuple[int, ...]) -> Any:
    """A score for each label from coefficients of the features."""
    weights, offsets = _kernels.floats(node, "coefficients"), _kernels.floats(node, "rho")
    if not weights.size or weights.size % len(labels) or not offsets.size:
        return NoMatch("its coefficients are not so many for each label, or it has no offset")
    scores = _kernels.products(op, rows, weights.reshape(len(labels), -1), offsets[:1])
    label = _classes.best(op, labels, scores)
    if len(labels) == 2 and not node.attr("prob_a"):  # the second label wins by a threshold too
        top = op.ReduceMax(scores, ints(op, [1]))
        if (weights >= 0).all():
            sure = op.GreaterOrEqual(top, scalar(op, 0.5, top))
        else:
            sure = op.Greater(top, scalar(op, 0, top))
        second = op.const(np.array(labels[1], np.int64))
        label = op.Where(op.Squeeze(sure, ints(op, [1])), second, label)
    return _classes.results(node, label, _classes.transformed(op, scores, node.attr("post_transform")))


def _pair_scores(op: OpBuilder, node: OpView, rows: Any, labels: int) -> Any:
    """The score of each pair of labels, positive for the first: [rows, pairs]."""
    per_label = node.attr("vectors_per_class")
    vectors, offsets = _kernels.floats(node, "support_vectors"), _kernels.floats(node, "rho")
    coefficients, count = _kernels.floats(node, "coefficients"), sum(per_label)
    pairs = list(combinations(range(labels), 2))
    if len(per_label) != labels or coefficients.size != (labels - 1) * count or offsets.size != len(pairs):
        return NoMatch("its support vectors, coefficients and offsets are not those of every two labels")
    if not vectors.size or vectors.size % count:
        return NoMatch("its support vectors are not {}", count)
    # The coefficients of a label's vectors against each other label, in order: its own row is left out.
    table, of_label = coefficients.reshape(labels - 1, count), np.repeat(np.arange(labels), per_label)
    weights = np.zeros((len(pairs), count), np.float32)
    for row, (first, second) in zip(weights, pairs, strict=True):
        row[of_label == first] = table[second - 1, of_label == first]
        row[of_label == second] = table[first, of_label == second]
    alike = _kernels.kernel(op, node, rows, vectors.reshape(count, -1))
    return alike if isinstance(alike, NoMatch) else _kernels.products(op, alike, weights, offsets)


def _votes(op: OpBuilder, pairs: Any, labels: int) -> Any:
    """How many pairs each label wins: [rows, labels]."""
    both = list(combinations(range(labels), 2))
    won, lost = (np.array([[pair[i] == k for k in range(labels)] for pair in both], np.float32) for i in (0, 1))
    for_first = op.Cast(op.Greater(pairs, scalar(op, 0, pairs)), to=int(DType.FLOAT))
    return op.Add(op.MatMul(for_first, op.const(won - lost)), op.const(lost.sum(0)))


def _pair_probabilities(op: OpBuilder, pairs: Any, slopes: Array, offsets: Array) -> Any:
    """How probable the first label of each pair is beside the second, kept from 0 and 1: [rows, pairs]."""
    one = scalar(op, 1, pairs)
    found = op.Sub(one, op.Sigmoid(op.Add(op.Mul(pairs, op.const(slopes)), op.const(offsets))))
    low, high = np.float32(_MARGIN), np.float32(1) - np.float32(_MARGIN)
    return op.Clip(found, op.const(np.array(low)), op.const(np.array(high)))


def _estimate(op: OpBuilder, pairs: Any, labels: int, sweeps: int) -> Any:
    """Probabilities of the labels, [rows, labels], from those of every two of them.

    The p that makes pᵀQp least, where Q holds the squares of the pairs' probabilities and the products of the two of a
    pair; a sweep moves one label after the other, and scales all to a sum of 1.
    """
    matrix = _quadratic(op, pairs, labels)
    eye = np.eye(labels, dtype=np.float32)
    columns = [op.const(eye[i : i + 1]) for i in range(labels)]
    one, two = scalar(op, 1, pairs), scalar(op, 2, pairs)
    last = ints(op, [1])
    # One row for each sample: only shapes are taken from the pairs.
    start = op.Mul(op.ReduceSum(pairs, last), scalar(op, 0, pairs))
    p = op.Add(start, op.const(np.full((1, labels), np.float32(1) / np.float32(labels))))
    rows = [op.Squeeze(op.Slice(matrix, ints(op, [i]), ints(op, [i + 1]), last), last) for i in range(labels)]
    own = [op.Slice(row, ints(op, [i]), ints(op, [i + 1]), last) for i, row in enumerate(rows)]
    bound = scalar(op, _TOLERANCE / labels, pairs)
    for _ in range(sweeps):
        slope = op.ReduceSum(op.Mul(matrix, op.Unsqueeze(p, last)), ints(op, [2]), keepdims=0)
        value = op.ReduceSum(op.Mul(p, slope), last)
        error = op.ReduceMax(op.Abs(op.Sub(slope, value)), last)
        moved = p
        for i in range(labels):
            here = op.Slice(slope, ints(op, [i]), ints(op, [i + 1]), last)
            step = op.Div(op.Sub(value, here), own[i])
            total = op.Add(one, step)
            moved = op.Div(op.Add(moved, op.Mul(step, columns[i])), total)
            change = op.Mul(step, op.Add(op.Mul(step, own[i]), op.Mul(two, here)))
            value = op.Div(op.Div(op.Add(value, change), total), total)
            slope = op.Div(op.Add(slope, op.Mul(step, rows[i])), total)
        p = op.Where(op.Less(error, bound), p, moved)
    return p


def _quadratic(op: OpBuilder, pairs: Any, labels: int) -> Any:
    """Q, [rows, labels, labels]: off the diagonal minus the product of a pair's two probabilities, on it the sum of
    the squares of those of the others against the label."""
    both = list(combinations(range(labels), 2))
    against = op.Sub(scalar(op, 1, pairs), pairs)
    spread = np.zeros((len(both), labels, labels), np.float32)
    to_second, to_first = spread.copy(), spread.copy()
    for row, (i, j) in enumerate(both):
        spread[row, i, j] = spread[row, j, i] = -1
        to_second[row, j, j] = to_first[row, i, i] = 1
    terms = ((op.Mul(pairs, against), spread), (op.Mul(pairs, pairs), to_second), (op.Mul(against, against), to_first))
    parts = [op.MatMul(values, op.const(table.reshape(len(both), -1))) for values, table in terms]
    return op.Reshape(op.Add(op.Add(parts[0], parts[1]), parts[2]), ints(op, [-1, labels, labels]))
