"""MultiHeadAttention as products and a softmax."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.contrib._attention import FILTER, MaskedAttention, dim, split_heads
from coregraft.passes.contrib._base import has, ms, wants_output
from coregraft.passes.decompose._base import ints, need, operand
from coregraft.rewriter.passes import NoMatch, OpBuilder, OpView, ValueView


@dataclass(frozen=True)
class UnfuseMultiHeadAttention(MaskedAttention):
    """Write onnxruntime's MultiHeadAttention as MatMul, Add and Softmax.

    What it does
    ------------
    Takes queries, keys and values apart, packed ones too, adds their bias, puts past keys and values before the new
    ones, adds mask, causal mask and attention bias to the scaled scores, takes the softmax and the mean of the values.
    Keys and values that come with four dims (of a cross-attention) are taken as they are. Honours ``scale``,
    ``mask_filter_value`` and ``unidirectional``; returns the present keys and values. Shared buffers, beam
    indirection, the scores as an output, and causal attention with more or fewer new keys than queries are refused.

    Why it matters
    --------------
    Core ML has no such op; optimised speech and diffusion models have one for every attention.

    Example
    -------
    ``y = com.microsoft.MultiHeadAttention <num_heads = 8> (q, k, v)`` becomes ``y = Softmax(q kᵀ / sqrt(64)) v``, with
    the heads as an axis.

    Equivalence
    -----------
    Reassociating: products are summed in another order.

    Sources
    -------
    H6.11; onnxruntime operator schema MultiHeadAttention-1.
    """

    roots: ClassVar[tuple[str, ...]] = ms("MultiHeadAttention")
    defaults: ClassVar[Mapping[str, Any]] = {
        "mask_filter_value": FILTER,
        "num_heads": None,
        "scale": 0.0,
        "unidirectional": 0,
    }

    def build(self, op: OpBuilder, node: OpView) -> Any:
        if has(node, 8) or has(node, 9) or wants_output(node.op, 3):
            return NoMatch("it shares a buffer with its past, follows beams, or returns its scores")
        heads = self.get(node, "num_heads")
        parts = self._parts(op, node, heads) if heads else NoMatch("it has no number of heads")
        if isinstance(parts, NoMatch):
            return parts
        past = operand(node, 6), operand(node, 7)
        results = self.attended(op, node, parts, past, operand(node, 4), operand(node, 5))
        if isinstance(results, NoMatch):
            return results
        return tuple(value for value, name in zip(results, node.op.outputs, strict=False) if name)

    def _parts(self, op: OpBuilder, node: OpView, heads: int) -> Any:
        """Queries, keys and values as [batch, heads, length, size], with their bias."""
        q, k, v, bias = need(node, 0), operand(node, 1), operand(node, 2), operand(node, 3)
        if q.rank == 5 and k is None:
            return self._with_bias(op, [_packed(op, q, i) for i in range(3)], bias, heads)
        if q.rank != 3 or k is None:
            return NoMatch("its query has {} dims", q.rank)
        if k.rank == 5 and v is None:
            return self._with_bias(op, [q, _packed(op, k, 0), _packed(op, k, 1)], bias, heads)
        if v is None or k.rank != v.rank or k.rank not in (3, 4):
            return NoMatch("its keys have {} dims", k.rank)
        return self._with_bias(op, [q, k, v], bias, heads)

    @staticmethod
    def _with_bias(op: OpBuilder, parts: list[ValueView], bias: ValueView | None, heads: int) -> Any:
        if bias is not None:
            if any(part.rank == 4 for part in parts):
                return NoMatch("it has a bias for keys that are split into heads already")
            widths = [dim(part, 2) for part in parts]
            if not all(isinstance(w, int) for w in widths):
                return NoMatch("the widths of its operands are not known")
            pieces = op.Split(bias, ints(op, np.array(widths)), axis=0, _outputs=3)
            parts = [op.Add(part, piece) for part, piece in zip(parts, pieces, strict=True)]
        return tuple(part if part.rank == 4 else split_heads(op, part, heads) for part in parts)


def _packed(op: OpBuilder, x: ValueView, index: int) -> ValueView:
    """Part ``index`` of [batch, length, heads, parts, size] as [batch, length, heads * size]."""
    part = op.Gather(x, op.const(np.array(index, np.int64)), axis=3)
    result: ValueView = op.Reshape(part, ints(op, [0, 0, -1]))
    return result
