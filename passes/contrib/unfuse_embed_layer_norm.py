"""EmbedLayerNormalization as Gather, Add and LayerNormalization."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.contrib._base import Contrib, ms, wants_output
from coregraft.passes.decompose._base import ints, need, operand
from coregraft.rewriter.passes import Equivalence, OpBuilder, OpView
from coregraft.rewriter.types import DType


@dataclass(frozen=True)
class UnfuseEmbedLayerNorm(Contrib):
    """Write BERT's embedding as three lookups, their sum and a LayerNormalization.

    What it does
    ------------
    Words, positions (given, or counted from 0) and segments, where there are any, are looked up, added and
    normalised. The sum is returned where it is an output; the second output, the number of ones in each row of the
    mask, is counted, and zero without a mask.

    Why it matters
    --------------
    Core ML has no such op; onnxruntime's transformer optimizer begins every BERT with one.

    Example
    -------
    ``y, n = com.microsoft.EmbedLayerNormalization(ids, _, words, positions, _, gamma, beta, mask)`` becomes
    ``y = LayerNormalization(Gather(words, ids) + positions[:length])`` and ``n = ReduceSum(mask == 1)``.

    Equivalence
    -----------
    Reassociating: the moments are summed in another order.

    Sources
    -------
    H3.05; onnxruntime operator schema EmbedLayerNormalization-1.
    """

    code: ClassVar[str] = "CG426"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ms("EmbedLayerNormalization")
    defaults: ClassVar[Mapping[str, Any]] = {"epsilon": 1e-12, "mask_index_type": 0}

    def build(self, op: OpBuilder, node: OpView) -> Any:
        ids, segments, mask, places = need(node, 0), operand(node, 1), operand(node, 7), operand(node, 8)
        total = op.Gather(need(node, 2), ids, axis=0)
        table = need(node, 3)
        if places is not None:
            total = op.Add(total, op.Gather(table, places, axis=0))
        else:
            length = op.Shape(ids, start=1, end=2) if not _length(ids.shape) else ints(op, [_length(ids.shape)])
            total = op.Add(total, op.Slice(table, ints(op, [0]), length, ints(op, [0])))
        if segments is not None:
            total = op.Add(total, op.Gather(need(node, 4), segments, axis=0))
        y = op.LayerNormalization(total, need(node, 5), need(node, 6), axis=-1, epsilon=self.get(node, "epsilon"))
        results = [y]
        if wants_output(node.op, 1):
            if mask is None:
                counted = op.Mul(ids, 0)
            else:
                counted = op.Cast(op.Equal(mask, op.const(np.array(1, np.int32))), to=int(DType.INT32))
            results.append(op.ReduceSum(counted, ints(op, [1]), keepdims=0))
        if wants_output(node.op, 2):
            results.append(total)
        return tuple(results)


def _length(shape: Any) -> int:
    return shape[1] if shape is not None and len(shape) == 2 and isinstance(shape[1], int) else 0
