"""onnxruntime's Attention as projections, products and a softmax."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.contrib._attention import FILTER, MaskedAttention, split_heads
from coregraft.passes.contrib._base import dequantized, has, ms, wants_output
from coregraft.passes.decompose._base import ints, need, operand
from coregraft.rewriter.passes import NoMatch, OpBuilder, OpView, ValueView


@dataclass(frozen=True)
class UnfuseAttention(MaskedAttention):
    """Write onnxruntime's Attention and QAttention as MatMul, Add and Softmax.

    What it does
    ------------
    Projects the input to queries, keys and values with the merged weights and bias, puts past keys and values before
    the new ones, adds the mask (rows of 0 and 1 with two or three dims, or the ends, or the ends and starts, of the
    rows), the causal mask and the bias to the scaled scores, takes the softmax and the mean of the values. Honours
    ``qkv_hidden_sizes``, ``scale``, ``mask_filter_value`` and ``unidirectional``; the present keys and values are
    returned. QAttention is the same with a dequantised input and weights. Rotary embedding, shared buffers and masks
    that onnxruntime's own CPU kernel refuses are refused.

    Why it matters
    --------------
    Core ML has no such op; onnxruntime's transformer optimizer makes one of every self-attention.

    Example
    -------
    ``y = com.microsoft.Attention <num_heads = 12> (x, w, b, mask)`` becomes ``q, k, v = Split(x w + b); y =
    Softmax(q kᵀ / sqrt(64) + Where(mask, 0, -10000)) v``, with the heads as an axis.

    Equivalence
    -----------
    Reassociating: biases and products are summed in another order. QAttention multiplies floats where the kernel
    multiplies integers.

    Sources
    -------
    H6.11; onnxruntime operator schemas Attention-1, QAttention-1.
    """

    roots: ClassVar[tuple[str, ...]] = ms("Attention", "QAttention")
    defaults: ClassVar[Mapping[str, Any]] = {
        **dict.fromkeys(("do_rotary", "past_present_share_buffer", "unidirectional", "rotary_embedding_dim"), 0),
        "mask_filter_value": FILTER,
        "num_heads": None,
        "qkv_hidden_sizes": (),
        "scale": 0.0,
    }

    def build(self, op: OpBuilder, node: OpView) -> Any:
        shared = self.get(node, "past_present_share_buffer") or (has(node, 6) and not _q(node))
        if self.get(node, "do_rotary") or shared:
            return NoMatch("it rotates its input or shares a buffer with its past, which only GPU kernels do")
        heads = self.get(node, "num_heads")
        x, w, bias, mask, past, extra = self._operands(op, node)
        if not heads or x.rank != 3 or w.static_shape is None:
            return NoMatch("the number of heads, the rank of its input or the shape of its weights is not known")
        sizes = self.get(node, "qkv_hidden_sizes") or (w.static_shape[1] // 3,) * 3
        projected = op.MatMul(x, w)
        if bias is not None:
            projected = op.Add(projected, bias)
        parts = op.Split(projected, ints(op, sizes), axis=2, _outputs=3)
        q, k, v = (split_heads(op, part, heads) for part in parts)
        before: tuple[ValueView | None, ValueView | None] = (None, None)
        if past is not None:
            before = op.Gather(past, _index(op, 0), axis=0), op.Gather(past, _index(op, 1), axis=0)
        found = self.attended(op, node, (q, k, v), before, mask, extra)
        if isinstance(found, NoMatch):
            return found
        y, k, v = found
        if not wants_output(node.op, 1):
            return y
        return y, op.Concat(*(op.Unsqueeze(part, ints(op, [0])) for part in (k, v)), axis=0)

    @staticmethod
    def _operands(op: OpBuilder, node: OpView) -> tuple[Any, Any, Any, Any, Any, Any]:
        """Input, weights, bias, mask, past and attention bias, as floats."""
        if not _q(node):
            return need(node, 0), need(node, 1), *(operand(node, i) for i in range(2, 6))  # type: ignore[return-value]
        x = dequantized(op, need(node, 0), need(node, 3), operand(node, 6))
        w = dequantized(op, need(node, 1), need(node, 4), operand(node, 7), axis=1)
        return x, w, need(node, 2), operand(node, 5), operand(node, 8), None


def _index(op: OpBuilder, i: int) -> ValueView:
    return op.const(np.array(i, np.int64))


def _q(node: OpView) -> bool:
    return node.type == "QAttention"
