"""What the support vector machines of ``ai.onnx.ml`` share: rows, and how alike they are to the support vectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from coregraft.passes.decompose import _classes
from coregraft.passes.decompose._base import ints, need, scalar
from coregraft.rewriter.passes import NoMatch, OpBuilder, OpView
from coregraft.rewriter.types import Array

_KERNELS = ("LINEAR", "POLY", "RBF", "SIGMOID")


def rows_of(op: OpBuilder, node: OpView) -> Any:
    """The samples in fp32, a row each; a vector is one."""
    rank = need(node, 0).rank
    if rank not in (1, 2):
        return NoMatch("the rank of its input is {}", "not known" if rank is None else rank)
    x = _classes.as_float(op, node)
    return op.Unsqueeze(x, ints(op, [0])) if rank == 1 else x


def floats(node: OpView, name: str) -> Array:
    """An attribute that is a list of floats; empty where it is left out."""
    return np.array(node.attr(name) or (), np.float32)


def products(op: OpBuilder, rows: Any, weights: Array, offsets: Array) -> Any:
    """``rows @ weights.T + offsets``: [rows, n] from weights [n, features]."""
    return op.Add(op.MatMul(rows, op.const(np.ascontiguousarray(weights.T))), op.const(offsets))


def kernel(op: OpBuilder, node: OpView, rows: Any, vectors: Array) -> Any:
    """How alike each row is to each vector: [rows, vectors]; or why that is not known."""
    kind, parameters = node.attr("kernel_type"), floats(node, "kernel_params")
    if kind not in _KERNELS:
        return NoMatch("its kernel is {}", kind)
    if parameters.size not in (0, 3):
        return NoMatch("its kernel has {} parameters", parameters.size)
    gamma, offset, degree = parameters.tolist() or (0.0, 0.0, 0.0)
    if kind == "RBF":  # as differences: products of long vectors would leave nothing of short distances
        apart = op.Sub(op.Unsqueeze(rows, ints(op, [1])), op.const(vectors))
        distances = op.ReduceSumSquare(apart, ints(op, [2]), keepdims=0)
        return op.Exp(op.Mul(distances, scalar(op, -gamma, rows)))
    alike = op.MatMul(rows, op.const(np.ascontiguousarray(vectors.T)))
    if kind == "LINEAR":
        return alike
    alike = op.Add(op.Mul(alike, scalar(op, gamma, rows)), scalar(op, offset, rows))
    if kind == "SIGMOID":
        return op.Tanh(alike)
    if degree in (2, 3):
        squared = op.Mul(alike, alike)
        return squared if degree == 2 else op.Mul(squared, alike)
    return op.Pow(alike, scalar(op, degree, rows))
