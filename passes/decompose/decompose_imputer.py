"""Imputer as a choice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose._base import Decomposition, need
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView
from coregraft.rewriter.types import DType


@dataclass(frozen=True)
class DecomposeImputer(Decomposition):
    """Write the filling in of missing values as Where.

    What it does
    ------------
    Replaces each element that is the replaced value (NaN or a number) by the one for its feature; floats and
    integers. Fires where the target has no lowering for the op.

    Why it matters
    --------------
    Core ML knows no op of the ``ai.onnx.ml`` domain in a network; this one is a few ops it has.

    Example
    -------
    ``y = ai.onnx.ml.Imputer <imputed_value_floats = [1.0]> (x)`` with NaN to be replaced becomes ``y =
    Where(IsNaN(x), 1, x)``.

    Equivalence
    -----------
    Bit-exact: elements are copied.

    Sources
    -------
    H4.26; ONNX ai.onnx.ml Imputer-1.
    """

    code: ClassVar[str] = "CG426"
    equivalence: ClassVar[Equivalence] = Equivalence.BIT_EXACT
    roots: ClassVar[tuple[str, ...]] = ("ai.onnx.ml::Imputer",)
    when_unsupported: ClassVar[bool] = True

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x = need(node, 0)
        if x.dtype not in (DType.FLOAT, DType.INT64):
            return NoMatch("its input is neither fp32 nor int64")
        kind = "float" if x.dtype is DType.FLOAT else "int64"
        filled, replaced = node.attr(f"imputed_value_{kind}s"), node.attr(f"replaced_value_{kind}")
        if not filled:
            return NoMatch("it has no values of its input's type")
        missing = op.IsNaN(x) if replaced is not None and replaced != replaced else None
        if missing is None:
            missing = op.Equal(x, op.const(np.array(replaced or 0, x.dtype.numpy)))
        return op.Where(missing, op.const(np.array(filled, x.dtype.numpy)), x)
