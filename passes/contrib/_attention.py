"""Attention as products and a softmax, with what onnxruntime's attention ops have in common.

Masked scores get a finite summand, as in onnxruntime's kernels, so that a row with everything masked attends to all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.contrib._base import Contrib
from coregraft.passes.decompose._base import ints, scalar
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView, ValueView
from coregraft.rewriter.types import Dim

#: What onnxruntime adds to the score of a masked position when the op does not say.
FILTER = -10000.0


@dataclass(frozen=True)
class MaskedAttention(Contrib):
    """A rule for an op with a past, a mask and a bias; honours ``scale``, ``mask_filter_value``, ``unidirectional``."""

    code: ClassVar[str] = "CG611"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING

    def attended(
        self,
        op: OpBuilder,
        node: OpView,
        parts: tuple[ValueView, ValueView, ValueView],
        past: tuple[ValueView | None, ValueView | None],
        mask: ValueView | None,
        bias: ValueView | None,
    ) -> tuple[ValueView, ValueView, ValueView] | NoMatch:
        """The result [batch, length, heads * size], and all keys and values; ``parts`` and ``past`` are in heads."""
        q, k, v = parts
        k, v = appended(op, past[0], k), appended(op, past[1], v)
        scale = scale_of(self.get(node, "scale"), dim(q, 3))
        biases: list[Any] = [] if bias is None else [bias]
        if mask is not None:
            biases.append(padding_bias(op, mask, dim(q, 0), dim(k, 2), self.get(node, "mask_filter_value"), q))
        if self.get(node, "unidirectional"):
            held = 0 if past[0] is None else dim(past[0], 2)
            biases.append(causal_bias(op, dim(q, 2), dim(k, 2), held, q))
        refused = [b for b in (scale, *biases) if isinstance(b, NoMatch)]
        if refused or isinstance(scale, NoMatch):
            return refused[0]
        return merge_heads(op, attend(op, q, k, v, scale, biases)), k, v


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


def causal_bias(op: OpBuilder, queries: Dim, keys: Dim, held: Dim, like: ValueView) -> ValueView | NoMatch:
    """A summand [queries, keys] that keeps each query from the keys after its own, the first behind ``held`` others."""
    if not isinstance(queries, int) or not isinstance(keys, int) or not isinstance(held, int):
        return NoMatch("it is causal, and the lengths of its sequences are not known")
    if keys != held + queries:  # the CPU's kernel counts from the first key, and lets the last query see every key
        return NoMatch("it is causal with {} new keys for {} queries: kernels differ in that", keys - held, queries)
    assert like.dtype is not None
    later = np.arange(keys)[None] > np.arange(queries)[:, None] + held
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
    if count == 3 * batch + 2:  # behind the ends are the starts of the rows when they are packed
        ends, count = op.Slice(ends, ints(op, [0]), ints(op, [batch])), batch
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
