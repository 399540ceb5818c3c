"""GroupQueryAttention as a cache, products and a softmax."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.contrib._attention import dim, merge_heads, scale_of, split_heads
from coregraft.passes.contrib._base import Contrib, has, ms, wants_output
from coregraft.passes.contrib._cache import Cache, grow, key_window, positions, read_cache
from coregraft.passes.decompose._base import ints, need, operand, scalar
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView, ValueView

_REFUSED = (
    ("sliding_window_cache", 0, "its cache is a window that evicts"),
    ("qk_output", 0, "it returns its scores"),
    ("k_quant_type", "NONE", "its cache is quantised"),
    ("v_quant_type", "NONE", "its cache is quantised"),
)


@dataclass(frozen=True)
class UnfuseGroupQueryAttention(Contrib):
    """Write onnxruntime's GroupQueryAttention as its cache, MatMul and Softmax.

    What it does
    ------------
    Takes queries, keys and values apart, normalises and rotates queries and keys where it is asked to, writes the new
    keys and values behind those of the cache (at the end of each row, as ``seqlens_k`` has it; zeros follow), and
    attends with the causal mask or without, the local window, the soft cap, the attention bias, the smooth softmax or
    the sinks of the heads. Query heads that share keys become rows of one product. The lengths must be known, the total
    length constant. Quantised caches, evicting caches and scores as an output are refused.

    Why it matters
    --------------
    Core ML has no such op; every language model from onnxruntime's model builder has one in each layer.

    Example
    -------
    ``y, k, v = com.microsoft.GroupQueryAttention(q, k, v, pk, pv, lengths, total, cos, sin)`` with one row becomes ``k
    = Concat(pk, RotaryEmbedding(k)); y = Softmax(RotaryEmbedding(q) kᵀ * scale) v``.

    Equivalence
    -----------
    Reassociating: products are summed in another order. Rows of padding behind a prompt's end are undefined in
    onnxruntime, and attend to themselves here.

    Sources
    -------
    H6.11, H6.14; onnxruntime operator schema GroupQueryAttention-1.
    """

    code: ClassVar[str] = "CG611"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ms("GroupQueryAttention")
    defaults: ClassVar[Mapping[str, Any]] = {
        **dict.fromkeys(("do_rotary", "rotary_interleaved", "qk_output", "sliding_window_cache"), 0),
        **dict.fromkeys(("k_quant_type", "v_quant_type"), "NONE"),
        **dict.fromkeys(("num_heads", "kv_num_heads", "kv_cache_bit_width")),
        **dict.fromkeys(("scale", "softcap"), 0.0),
        **dict.fromkeys(("local_window_size", "smooth_softmax"), -1),
        "causal": 1,
        "qk_norm_epsilon": 1e-6,
    }

    def build(self, op: OpBuilder, node: OpView) -> Any:
        for name, plain, reason in _REFUSED:
            if self.get(node, name) != plain:
                return NoMatch(reason)
        if wants_output(node.op, 3) or has(node, 12) or has(node, 13):
            return NoMatch("it returns its scores, or its cache is quantised")
        parts = self._parts(op, node)
        if isinstance(parts, NoMatch):
            return parts
        cache = read_cache(op, node, parts[0], bool(self.get(node, "causal")))
        if isinstance(cache, NoMatch):
            return cache
        q, k, v = self._rotated(op, node, parts, cache)
        keys, values = grow(op, operand(node, 3), k, cache), grow(op, operand(node, 4), v, cache)
        y = self._attend(op, node, q, keys, values, cache)
        if isinstance(y, NoMatch):
            return y
        results = (merge_heads(op, y), keys, values)
        return tuple(value for value, name in zip(results, node.op.outputs, strict=False) if name)

    def _parts(self, op: OpBuilder, node: OpView) -> tuple[ValueView, ValueView, ValueView] | NoMatch:
        """Queries, keys and values as [batch, heads, length, size]."""
        q, k, v = need(node, 0), operand(node, 1), operand(node, 2)
        heads, kv_heads = self.get(node, "num_heads"), self.get(node, "kv_num_heads")
        width = dim(q, 2) if q.rank == 3 else None
        if not isinstance(width, int) or not heads or not kv_heads:
            return NoMatch("the width of its query, or the number of its heads, is not known")
        if k is None or v is None:
            size = width // (heads + 2 * kv_heads)
            sizes = [heads * size, kv_heads * size, kv_heads * size]
            q, k, v = op.Split(q, ints(op, sizes), axis=2, _outputs=3)
        assert k is not None and v is not None
        return split_heads(op, q, heads), split_heads(op, k, kv_heads), split_heads(op, v, kv_heads)

    def _rotated(self, op: OpBuilder, node: OpView, parts: Any, cache: Cache) -> tuple[ValueView, ValueView, ValueView]:
        q, k, v = parts
        if has(node, 14):
            epsilon = float(self.get(node, "qk_norm_epsilon"))
            q, k = (op.RMSNormalization(x, need(node, i), axis=-1, epsilon=epsilon) for x, i in ((q, 14), (k, 15)))
        if not self.get(node, "do_rotary"):
            return q, k, v
        cos, sin = need(node, 7), need(node, 8)
        ids = positions(op, operand(node, 9), cache)
        given = {"interleaved": self.get(node, "rotary_interleaved")}
        width = dim(cos, 1)
        if isinstance(width, int) and 2 * width != cache.head_size:
            given["rotary_embedding_dim"] = 2 * width
        q, k = (op.RotaryEmbedding(x, cos, sin, ids, **given) for x in (q, k))
        return q, k, v

    def _attend(self, op: OpBuilder, node: OpView, q: ValueView, k: ValueView, v: ValueView, cache: Cache) -> Any:
        heads, kv_heads = self.get(node, "num_heads"), self.get(node, "kv_num_heads")
        scale, cap, window = (self.get(node, name) for name in ("scale", "softcap", "local_window_size"))
        scale = scale_of(scale, cache.head_size)
        if isinstance(scale, NoMatch):
            return scale
        batch, queries, keys = cache.batch, cache.queries, cache.keys
        folded = op.Reshape(q, ints(op, [batch, kv_heads, heads // kv_heads * queries, cache.head_size]))
        scores = op.MatMul(folded, op.Transpose(k, perm=(0, 1, 3, 2)))
        scores = op.Mul(op.Reshape(scores, ints(op, [batch, heads, queries, keys])), float(scale))
        if cap:
            scores = op.Mul(op.Tanh(op.Mul(scores, 1.0 / cap)), float(cap))
        bias = operand(node, 10)
        if bias is not None:
            spare = keys - int(dim(bias, 3)) if isinstance(dim(bias, 3), int) else None  # type: ignore[arg-type]
            if spare is None or spare < 0:
                return NoMatch("its attention bias is not known to be as wide as its keys")
            scores = op.Add(scores, op.Pad(bias, ints(op, [0] * 7 + [spare])) if spare else bias)
        allowed = key_window(op, cache, bool(self.get(node, "causal")), window)
        if allowed is not None:
            scores = op.Where(allowed, scores, scalar(op, float(np.finfo(scores.dtype.numpy).min), scores))
        weights = self._softmax(op, node, scores, [batch, heads, queries])
        folded = op.Reshape(weights, ints(op, [batch, kv_heads, heads // kv_heads * queries, keys]))
        return op.Reshape(op.MatMul(folded, v), ints(op, [batch, heads, queries, cache.head_size]))

    def _softmax(self, op: OpBuilder, node: OpView, scores: ValueView, shape: list[int]) -> ValueView:
        """Softmax with one more term in the sum where the heads have sinks, or it is smooth."""
        sink = operand(node, 11)
        if sink is None and self.get(node, "smooth_softmax") != 1:
            result: ValueView = op.Softmax(scores, axis=-1)
            return result
        column = scalar(op, 0, scores) if sink is None else op.Reshape(sink, ints(op, [1, shape[1], 1, 1]))
        wide = op.Concat(scores, op.Expand(column, ints(op, [*shape, 1])), axis=3)
        weights = op.Softmax(wide, axis=-1)
        kept: ValueView = op.Slice(weights, ints(op, [0]), ints(op, [-1]), ints(op, [3]))
        return kept
