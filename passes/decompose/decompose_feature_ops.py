"""Binarizer, OneHotEncoder and FeatureVectorizer as comparisons and Concat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose._base import Decomposition, ints, need
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView
from coregraft.rewriter.types import DType


@dataclass(frozen=True)
class DecomposeFeatureOps(Decomposition):
    """Write the preparation of features as comparisons and Concat.

    What it does
    ------------
    Binarizer becomes ``x > threshold``; OneHotEncoder of integer categories a comparison with each of them (fractions
    are cut off first); FeatureVectorizer the matrices cast to fp32 side by side, each cut to the width that
    ``inputdimensions`` gives it. Categories that are strings, and ``zeros = 0``, which makes an unknown category an
    error, are refused, as are inputs narrower than they should be. Fires where the target has no lowering for the op.

    Why it matters
    --------------
    Core ML knows no op of the ``ai.onnx.ml`` domain in a network; these are a few ops it has.

    Example
    -------
    ``y = ai.onnx.ml.OneHotEncoder <cats_int64s = [1, 3]> (x)`` becomes ``y = Cast(x[..., None] == [1, 3])``.

    Equivalence
    -----------
    Bit-exact: elements are compared and copied.

    Sources
    -------
    H4.26; ONNX ai.onnx.ml Binarizer-1, OneHotEncoder-1, FeatureVectorizer-1.
    """

    code: ClassVar[str] = "CG426"
    equivalence: ClassVar[Equivalence] = Equivalence.BIT_EXACT
    roots: ClassVar[tuple[str, ...]] = (
        *("ai.onnx.ml::Binarizer", "ai.onnx.ml::OneHotEncoder", "ai.onnx.ml::FeatureVectorizer"),
    )
    when_unsupported: ClassVar[bool] = True

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x = need(node, 0)
        if x.dtype is None or x.rank is None:
            return NoMatch("the type or the rank of its input is not known")
        if node.type == "Binarizer":
            threshold = op.const(np.array(node.attr("threshold"), np.float32).astype(x.dtype.numpy))
            return op.Cast(op.Greater(x, threshold), to=int(x.dtype))
        if node.type == "FeatureVectorizer":
            return self._side_by_side(op, node)
        categories = node.op.attrs.get("cats_int64s")
        if not categories or node.op.attrs.get("cats_strings"):
            return NoMatch("its categories are strings")
        if not node.attr("zeros"):
            return NoMatch("an unknown category is an error with zeros=0, which no network can raise")
        whole = x if x.dtype is DType.INT64 else op.Cast(x, to=int(DType.INT64))
        hits = op.Equal(op.Unsqueeze(whole, ints(op, [x.rank])), op.const(np.array(categories, np.int64)))
        return op.Cast(hits, to=int(DType.FLOAT))

    @staticmethod
    def _side_by_side(op: OpBuilder, node: OpView) -> Any:
        widths = node.attr("inputdimensions") or ()
        inputs = [x for x in node.inputs if x is not None]
        if len(widths) != len(inputs):
            return NoMatch("it has {} widths for {} inputs", len(widths), len(inputs))
        parts = []
        for x, width in zip(inputs, widths, strict=True):
            held = x.shape[1] if x.shape is not None and len(x.shape) == 2 else None
            if not isinstance(held, int) or held < width:
                return NoMatch("{} is not known to be a matrix of {} or more columns", x.name, width)
            cut = x if held == width else op.Slice(x, ints(op, [0]), ints(op, [width]), ints(op, [1]))
            parts.append(cut if x.dtype is DType.FLOAT else op.Cast(cut, to=int(DType.FLOAT)))
        return op.Concat(*parts, axis=1)
