"""LinearRegressor as MatMul and Add."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose import _classes
from coregraft.passes.decompose._base import Decomposition
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView


@dataclass(frozen=True)
class DecomposeLinearRegressor(Decomposition):
    """Write a linear regression as a matrix product.

    What it does
    ------------
    ``x @ coefficientsᵀ + intercepts`` for any number of targets, and the ``post_transform`` of several, which
    onnxruntime leaves out for one (PROBIT excepted): that is refused. Other types are cast to fp32 first. Fires where
    the target has no lowering for the op.

    Why it matters
    --------------
    Core ML knows no op of the ``ai.onnx.ml`` domain in a network; this one is a few ops it has.

    Example
    -------
    ``y = ai.onnx.ml.LinearRegressor <coefficients = [1.0, 2.0], intercepts = [3.0]> (x)`` becomes ``y = MatMul(x,
    [[1], [2]]) + [3]``.

    Equivalence
    -----------
    Reassociating: the same products, summed in the order of the matrix product.

    Sources
    -------
    H4.26; ONNX ai.onnx.ml LinearRegressor-1.
    """

    code: ClassVar[str] = "CG426"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ("ai.onnx.ml::LinearRegressor",)
    when_unsupported: ClassVar[bool] = True

    def build(self, op: OpBuilder, node: OpView) -> Any:
        if not node.attr("coefficients"):
            return NoMatch("it has no coefficients")
        targets, how = node.attr("targets"), node.attr("post_transform")
        if targets == 1 and how not in ("NONE", "PROBIT"):
            return NoMatch("post_transform {} of one target is left out by onnxruntime", how)
        weights = np.array(node.attr("coefficients"), np.float32).reshape(targets, -1)
        y = op.MatMul(_classes.as_float(op, node), op.const(np.ascontiguousarray(weights.T)))
        intercepts = node.attr("intercepts") or ()
        y = op.Add(y, op.const(np.array(intercepts, np.float32))) if intercepts else y
        return _classes.transformed(op, y, how)
