"""Scaler as Sub and Mul."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose._base import Decomposition, need
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView
from coregraft.rewriter.types import DType


@dataclass(frozen=True)
class DecomposeScaler(Decomposition):
    """Write the feature scaling of classic machine learning as Sub and Mul.

    What it does
    ------------
    ``(x - offset) * scale`` with one offset and scale, or one for each feature; integers are cast to fp32 first;
    doubles are scaled as they are and the result, which is fp32, cast. Fires where the target has no lowering for the
    op.

    Why it matters
    --------------
    Core ML knows no op of the ``ai.onnx.ml`` domain in a network; this one is two ops it has.

    Example
    -------
    ``y = ai.onnx.ml.Scaler <offset = [1.0, 2.0], scale = [3.0, 4.0]> (x)`` becomes ``y = (x - [1, 2]) * [3, 4]``.

    Equivalence
    -----------
    Bit-exact: the same two operations.

    Sources
    -------
    H4.26; ONNX ai.onnx.ml Scaler-1.
    """

    code: ClassVar[str] = "CG426"
    equivalence: ClassVar[Equivalence] = Equivalence.BIT_EXACT
    roots: ClassVar[tuple[str, ...]] = ("ai.onnx.ml::Scaler",)
    when_unsupported: ClassVar[bool] = True

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x: Any = need(node, 0)
        offset, scale = node.attr("offset") or (), node.attr("scale") or ()
        if not offset or not scale:
            return NoMatch("it has no offset or no scale")
        if x.dtype not in (DType.FLOAT, DType.DOUBLE):
            x = op.Cast(x, to=int(DType.FLOAT))
        shift, factor = (op.const(np.array(v, np.float32).astype(x.dtype.numpy)) for v in (offset, scale))
        y = op.Mul(op.Sub(x, shift), factor)
        return op.Cast(y, to=int(DType.FLOAT)) if x.dtype is DType.DOUBLE else y
