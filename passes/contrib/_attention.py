"""Attention as products and a softmax, with what onnxruntime's attention ops have in common.

Masked scores get a finite summand, as in onnxruntime's kernels, so that a row with everything masked attends to all.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from coregraft.passes.decompose._base import ints, scalar
from coregraft.rewriter.passes import NoMatch, OpBuilder, ValueView
from coregraft.rewriter.types import Dim

#: What onnxruntime adds to the score of a masked position when the op does not say.
FILTER = -10000.0


def split_heads(op: OpBuilder, x: ValueView, heads: int) -> ValueView:
    """[batch, length, heads * size] as [batch, heads, length, size]."""
    result: ValueView = op.Transpose(op.Reshape(x, ints(op, [0, 0, heads, -1])), perm=(0, 2, 1, 3))
    return result


def merge_heads(op: OpBuilder, x: ValueView) -> ValueView:
    """[batch, heads, length, size] as [batch, length, heads * size]."""
    result: ValueView = op.Reshape(op.Transpose(x, perm=(0, 2, 1, 3)), ints(op, [0, 0, -1]))
    return result


def scale_of(given: float | None, head_size: Dim) -> float | NoMatch:
    """The scale of the scores: the one given, unless it is 0, else the inverse root of the head's size."""
    if given:
        return float(given)
    if not isinstance(head_size, int):
        return NoMatch("the size of its heads is not known")
    return 1.0 / math.sqrt(head_size)


def attend(op: OpBuilder, q: ValueView, k: ValueView, v: ValueView, scale: float, biases: list[ValueView]) -> ValueView:
    """``softmax(scale * q kᵀ + biases) v`` for [batch, heads, length, size] each."""
    scores = op.Mul(op.MatMul(q, op.Transpose(k, perm=(0, 1, 3, 2))), float(scale))
    for bias in biases:
        scores = op.Add(scores, bias)
    result: ValueView = op.MatMul(op.Softmax(scores, axis=-1), v)
    return result


def causal_bias(op: OpBuilder, queries: Dim, keys: Dim, like: ValueView) -> ValueView | NoMatch:
    """A summand [queries, keys] that keeps each query, the last of which is the last key, from those after it."""
    if not isinstance(queries, int) or not isinstance(keys, int):
        return NoMatch("it is causal, and the lengths of its sequences are not known")
    assert like.dtype is not None
    later = np.arange(keys)[None] > np.arange(queries)[:, None] + (keys - queries)
    lowest = np.finfo(like.dtype.numpy).min
    return op.const(np.where(later, lowest, 0).astype(like.dtype.numpy))


def padding_bias(op: OpBuilder, mask: ValueView, batch: Dim, keys: Dim, fill: float, like: ValueView) -> Any:
    """A summand that broadcasts to [batch, heads, queries, keys] of a mask in any of onnxruntime's forms."""
    if mask.rank == 1:
        inside = _within(op, mask, batch, keys)
    elif mask.rank in (2, 3):
        inside = op.Greater(mask, scalar(op, 0, mask))
        inside = op.Unsqueeze(inside, ints(op, [1, 2] if mask.rank == 2 else [1]))
    else:
        return NoMatch("its mask has {} dims, which only some of onnxruntime's kernels take", mask.rank)
    if isinstance(inside, NoMatch):
        return inside
    return op.Where(inside, scalar(op, 0, like), scalar(op, fill, like))


def _within(op: OpBuilder, ends: ValueView, batch: Dim, keys: Dim) -> Any:
    """[batch, 1, 1, keys]: which keys lie before the end of their row, and behind its start where there is one."""
    count = ends.shape[0] if ends.shape is not None else None
    if not isinstance(count, int) or not isinstance(batch, int) or not isinstance(keys, int):
        return NoMatch("its mask is a list of lengths, and the shapes are not known")
    if count not in (batch, 2 * batch):
        return NoMatch("its mask of {} numbers for {} rows is in a form of some kernels only", count, batch)
    places = op.const(np.arange(keys, dtype=np.int32).reshape(1, 1, 1, keys))
    rows = op.Reshape(ends, ints(op, [-1, batch, 1, 1, 1]))
    end = op.Gather(rows, op.const(np.array(0, np.int64)), axis=0)
    inside = op.Less(places, end)
    if count == batch:
        return inside
    start = op.Gather(rows, op.const(np.array(1, np.int64)), axis=0)
    return op.And(inside, op.GreaterOrEqual(places, start))


def appended(op: OpBuilder, past: ValueView | None, new: ValueView) -> ValueView:
    """Keys or values [batch, heads, length, size] behind those of earlier steps."""
    if past is None:
        return new
    result: ValueView = op.Concat(past, new, axis=2)
    return result


def dim(value: ValueView, axis: int) -> Dim:
    """A dim of a value, None when the rank is not known."""
    return value.shape[axis] if value.shape is not None else None
