"""What the classifiers of ``ai.onnx.ml`` share: their labels, the scores beside them, and inputs of any number type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from coregraft.passes.decompose._base import ints, need, scalar
from coregraft.rewriter.passes import NoMatch, OpBuilder, OpView
from coregraft.rewriter.types import DType


def labels_of(node: OpView, name: str = "classlabels_ints") -> tuple[int, ...] | NoMatch:
    """The labels in order, from the attribute that holds those that are integers."""
    labels = tuple(node.attr(name) or ())
    if node.attr("classlabels_strings"):
        return NoMatch("its labels are strings, which Core ML has no tensors of, and more than an output reads them")
    if not labels:
        return NoMatch("it has no labels")
    return labels


def listed(labels: Sequence[object]) -> str:
    """Labels for a remark, the first of many."""
    return ", ".join(str(label) for label in labels[:8]) + (", …" if len(labels) > 8 else "")


def as_float(op: OpBuilder, node: OpView) -> Any:
    """The first operand in fp32."""
    x: Any = need(node, 0)
    return x if x.dtype is DType.FLOAT else op.Cast(x, to=int(DType.FLOAT))


def best(op: OpBuilder, labels: Sequence[int], scores: Any) -> Any:
    """The label of the greatest score of each row, the first of equals: [rows] from [rows, labels]."""
    winner = op.ArgMax(scores, axis=1, keepdims=0)
    return op.Gather(op.const(np.array(labels, np.int64)), winner, axis=0)


def either(op: OpBuilder, labels: Sequence[int], second: Any) -> Any:
    """One of two labels by whether it is the second: [rows] from [rows, 1]."""
    first, other = (op.const(np.array(label, np.int64)) for label in labels)
    return op.Where(op.Squeeze(second, ints(op, [1])), other, first)


def results(node: OpView, label: Any, scores: Any) -> Any:
    """The outputs that the op has, where there is a plain form of its scores."""
    if isinstance(scores, NoMatch):
        return scores
    return tuple(v for v, name in zip((label, scores), node.op.outputs, strict=False) if name)


def transformed(op: OpBuilder, values: Any, how: str) -> Any:
    """ONNX's ``post_transform`` of a row of scores, or a :class:`NoMatch`."""
    if how == "NONE":
        return values
    if how == "LOGISTIC":
        return op.Sigmoid(values)
    if how == "SOFTMAX":
        return op.Softmax(values, axis=1)
    if how == "SOFTMAX_ZERO":
        there = op.Not(op.Equal(values, scalar(op, 0, values)))
        exps = op.Where(there, op.Exp(op.Sub(values, op.ReduceMax(values, ints(op, [1])))), scalar(op, 0, values))
        return op.Div(exps, op.ReduceSum(exps, ints(op, [1])))
    if how == "PROBIT":
        return _probit(op, values)
    return NoMatch("post_transform {} is not known", how)


def _probit(op: OpBuilder, values: Any) -> Any:
    """The inverse of the normal distribution by the approximation of its error function that onnxruntime uses."""
    x = op.Sub(op.Mul(values, 2.0), scalar(op, 1, values))
    log = op.Log(op.Mul(op.Sub(scalar(op, 1, x), x), op.Add(x, scalar(op, 1, x))))
    v = op.Add(op.Mul(log, 0.5), scalar(op, 2 / (3.14159 * 0.147), x))
    root = op.Sqrt(op.Sub(op.Mul(v, v), op.Mul(log, 1 / 0.147)))
    return op.Mul(op.Mul(op.Sign(x), op.Sqrt(op.Sub(root, v))), 1.41421356)
