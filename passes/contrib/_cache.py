"""The cache of keys and values of GroupQueryAttention: where each row ends, what is written, what may be read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coregraft.passes.contrib._attention import dim
from coregraft.passes.decompose._base import constant, ints, need, operand, scalar
from coregraft.rewriter.passes import NoMatch, OpBuilder, OpView, ValueView
from coregraft.rewriter.types import DType


@dataclass(frozen=True)
class Cache:
    """Sizes and ends of the rows.

    Attributes:
        past: length of the cache that comes in.
        keys: length of the cache that goes out.
        prompt: whether the new tokens are the first ones.
        start: [batch] int64, where the first new token stands; None where it is ``past`` (or 0 in a prompt) for all.
        total: [batch] int64, tokens of each row; None where nobody asks.
    """

    batch: int
    queries: int
    past: int
    keys: int
    head_size: int
    prompt: bool
    start: ValueView | None
    total: ValueView | None


def read_cache(op: OpBuilder, node: OpView, q: ValueView, causal: bool) -> Cache | NoMatch:
    """What is known of the cache, or what is not. A mask that is not causal asks for the tokens of each row."""
    past, total = operand(node, 3), constant(node, 6)
    batch, queries, size = dim(q, 0), dim(q, 2), dim(q, 3)
    held = 0 if past is None else dim(past, 2)
    if not all(isinstance(d, int) for d in (batch, queries, size, held)):
        return NoMatch("the length of its sequences or of its cache is not known")
    assert isinstance(batch, int) and isinstance(queries, int) and isinstance(size, int) and isinstance(held, int)
    if total is None and held:
        return NoMatch("its total length is computed at run time")
    longest = queries if total is None else int(total.reshape(-1)[0])
    prompt = not held or longest == queries
    keys = max(held, longest)
    appended = batch == 1 and longest == held + queries  # the one row is the longest one
    if causal and (prompt or appended):
        return Cache(batch, queries, held, keys, size, prompt, None, None)
    ends = op.Add(op.Cast(op.Reshape(need(node, 5), ints(op, [-1])), to=int(DType.INT64)), 1)
    start = None if prompt or appended else op.Sub(ends, queries)
    return Cache(batch, queries, held, keys, size, prompt, start, ends)


def grow(op: OpBuilder, past: ValueView | None, new: ValueView, cache: Cache) -> ValueView:
    """The cache [batch, heads, keys, size] with the new keys or values written; zeros behind them."""
    if cache.prompt:
        spare = cache.keys - cache.queries
        return op.Pad(new, ints(op, [0] * 6 + [spare, 0])) if spare else new
    assert past is not None
    if cache.start is None:
        return op.Concat(past, new, axis=2)  # type: ignore[no-any-return]
    places = op.const(np.arange(cache.keys, dtype=np.int64).reshape(1, 1, -1, 1))
    first = op.Reshape(cache.start, ints(op, [cache.batch, 1, 1, 1]))
    spare = cache.keys - cache.past
    old = op.Pad(past, ints(op, [0] * 6 + [spare, 0])) if spare else past
    if cache.queries > 1:  # of one row: each place reads its token, those before and behind any
        index = op.Sub(op.const(np.arange(cache.keys, dtype=np.int64)), cache.start)
        limits = (op.const(np.array(i, np.int64)) for i in (0, cache.queries - 1))
        new = op.Gather(new, op.Clip(index, *limits), axis=2)
    behind = op.Less(places, op.Add(first, cache.queries))
    written = op.Where(behind, new, scalar(op, 0, new))
    return op.Where(op.Less(places, first), old, written)  # type: ignore[no-any-return]


def positions(op: OpBuilder, ids: ValueView | None, cache: Cache) -> ValueView:
    """[batch, queries] positions of the new tokens; of the given ids a prompt counts from the first one."""
    steps = op.const(np.tile(np.arange(cache.queries, dtype=np.int64), (cache.batch, 1)))
    if ids is not None:
        if not cache.prompt:
            return ids
        first = op.Slice(op.Reshape(ids, ints(op, [1, -1])), ints(op, [0]), ints(op, [1]), ints(op, [1]))
        return op.Add(steps, first)  # type: ignore[no-any-return]
    if cache.prompt:
        return steps
    if cache.start is None:
        return op.const(np.tile(np.arange(cache.queries, dtype=np.int64) + cache.past, (cache.batch, 1)))
    return op.Add(steps, op.Reshape(cache.start, ints(op, [-1, 1])))  # type: ignore[no-any-return]


def key_window(op: OpBuilder, cache: Cache, causal: bool, window: int) -> ValueView | None:
    """Which keys each query may attend to: bool, broadcastable to [batch, heads, queries, keys]; None: all."""
    keys = np.arange(cache.keys, dtype=np.int64).reshape(1, 1, 1, -1)
    if not causal:
        return op.Less(op.const(keys), op.Reshape(cache.total, ints(op, [-1, 1, 1, 1])))  # type: ignore[no-any-return]
    queries = np.arange(cache.queries, dtype=np.int64).reshape(1, 1, -1, 1)
    if cache.start is None:
        own = queries + (0 if cache.prompt else cache.past)
        allowed = (keys <= own) & (keys > own - window) if window > 0 else keys <= own
        return None if allowed.all() else op.const(allowed)
    last = op.Add(op.const(queries), op.Reshape(cache.start, ints(op, [-1, 1, 1, 1])))
    inside = op.LessOrEqual(op.const(keys), last)
    if window <= 0:
        return inside  # type: ignore[no-any-return]
    return op.And(inside, op.Greater(op.const(keys), op.Sub(last, window)))  # type: ignore[no-any-return]
