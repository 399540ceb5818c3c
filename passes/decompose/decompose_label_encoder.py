"""LabelEncoder between numbers as comparisons and a lookup."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose._base import Decomposition, ints, need
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView
from coregraft.rewriter.types import Array, Const, DType

_KINDS = {"int64s": np.int64, "floats": np.float32}


@dataclass(frozen=True)
class DecomposeLabelEncoder(Decomposition):
    """Write a table from numbers to numbers as comparisons with its keys.

    What it does
    ------------
    Compares each element with all keys, looks the value of the equal one up, and takes the default where there is
    none. Keys and values are int64 or fp32, or tensors of numbers; NaN is a key like any other. Keys or values that
    are strings, keys that are there twice, and more than ``max-keys`` are refused. Fires where the target has no
    lowering for the op.

    Why it matters
    --------------
    Core ML knows no op of the ``ai.onnx.ml`` domain in a network; this one is a few ops it has.

    Example
    -------
    ``y = ai.onnx.ml.LabelEncoder <keys_int64s = [3, 5], values_floats = [0.1, 0.2]> (x)`` becomes ``hit = (x[..., None]
    == [3, 5]); y = Where(any(hit), [0.1, 0.2][ArgMax(hit)], 0)``.

    Equivalence
    -----------
    Bit-exact: values are copied.

    Options
    -------
    max-keys: largest table to compare with.

    Sources
    -------
    H4.26; ONNX ai.onnx.ml LabelEncoder-4.
    """

    code: ClassVar[str] = "CG426"
    equivalence: ClassVar[Equivalence] = Equivalence.BIT_EXACT
    roots: ClassVar[tuple[str, ...]] = ("ai.onnx.ml::LabelEncoder",)
    when_unsupported: ClassVar[bool] = True
    max_keys: int = 4096

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x = need(node, 0)
        keys, values = self._list(node, "keys"), self._list(node, "values")
        if keys is None or values is None or keys.dtype.kind not in "if" or values.dtype.kind not in "if":
            return NoMatch("its keys or values are strings")
        if keys.size != values.size or not keys.size or len(set(keys.tolist())) != keys.size:
            return NoMatch("its keys are not as many as its values, or one is there twice")
        if keys.size > self.max_keys:
            return NoMatch("it has more keys than max-keys={}", self.max_keys)
        if x.dtype is not DType.of(keys.dtype) or x.rank is None:
            return NoMatch("its input is not known to be of the type of its keys")
        wide = op.Unsqueeze(x, ints(op, [x.rank]))
        hits = op.Equal(wide, op.const(keys))
        if np.isnan(keys).any():
            hits = op.Or(hits, op.And(op.IsNaN(wide), op.const(np.isnan(keys))))
        marks = op.Cast(hits, to=int(DType.INT32))
        place = op.ArgMax(marks, axis=-1, keepdims=0)
        found = op.Cast(op.ReduceMax(marks, ints(op, [-1]), keepdims=0), to=int(DType.BOOL))
        return op.Where(found, op.Gather(op.const(values), place, axis=0), op.const(self._default(node, values)))

    @staticmethod
    def _list(node: OpView, what: str) -> Array | None:
        tensor = node.op.attrs.get(f"{what}_tensor")
        if isinstance(tensor, Const):
            return tensor.numpy().reshape(-1)
        for kind, dtype in _KINDS.items():
            given = node.op.attrs.get(f"{what}_{kind}")
            if given:
                return np.array(given, dtype)
        return None

    @staticmethod
    def _default(node: OpView, values: Array) -> Array:
        tensor = node.op.attrs.get("default_tensor")
        if isinstance(tensor, Const):
            return tensor.numpy().reshape(()).astype(values.dtype)
        named = node.attr("default_int64" if values.dtype.kind == "i" else "default_float")
        return np.array(named, values.dtype)
