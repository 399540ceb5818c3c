"""onnxruntime's RotaryEmbedding as ONNX's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.contrib._base import Contrib, ms
from coregraft.passes.decompose._base import ints, need
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView, ValueView


@dataclass(frozen=True)
class UnfuseRotaryEmbedding(Contrib):
    """Write onnxruntime's rotary embedding as ONNX's.

    What it does
    ------------
    Position ids for each token are the same operand; a single one is where the first token stands, and the others
    are counted from it. Inputs of rank 3 get the number of heads that they leave to the width of the tables. A
    ``scale``, which CPU kernels ignore, and packed batches are refused.

    Why it matters
    --------------
    Core ML has neither op; ONNX's has a function body that every target takes.

    Example
    -------
    ``y = com.microsoft.RotaryEmbedding(x, ids, cos, sin)`` becomes ``y = RotaryEmbedding(x, cos, sin, ids)``.

    Equivalence
    -----------
    Reassociating: the same products and sums, which a kernel may contract.

    Sources
    -------
    H6.11; onnxruntime operator schema RotaryEmbedding-1, ONNX RotaryEmbedding-23.
    """

    code: ClassVar[str] = "CG611"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ms("RotaryEmbedding")
    defaults: ClassVar[Mapping[str, Any]] = {
        **dict.fromkeys(("interleaved", "is_packed_batching", "num_heads", "rotary_embedding_dim"), 0),
        "scale": 1.0,
    }

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x, ids, cos, sin = (need(node, i) for i in range(4))
        if self.get(node, "is_packed_batching") or self.get(node, "scale") not in (0.0, 1.0):
            return NoMatch("it packs its batches, or scales, which onnxruntime's kernels do not agree on")
        if x.rank not in (3, 4) or x.shape is None or ids.rank not in (1, 2):
            return NoMatch("the rank of its input or of its position ids is not known")
        given: dict[str, int] = {"interleaved": self.get(node, "interleaved")}
        width = cos.shape[1] if cos.shape is not None else None
        dim, heads = self.get(node, "rotary_embedding_dim"), self.get(node, "num_heads")
        if dim:
            given["rotary_embedding_dim"] = dim
        if x.rank == 3:
            if not heads and isinstance(width, int) and isinstance(x.shape[2], int) and not dim:
                heads = x.shape[2] // (2 * width)
            if not heads:
                return NoMatch("how many heads its input holds is not known")
            given["num_heads"] = heads
        if ids.rank == 1:
            places = counted(op, x, ids, axis=1 if x.rank == 3 else 2)
            if isinstance(places, NoMatch):
                return places
            ids = places
        return op.RotaryEmbedding(x, cos, sin, ids, **given)


def counted(op: OpBuilder, x: ValueView, first: ValueView, axis: int) -> ValueView | NoMatch:
    """Position ids [batch, length] of an input whose tokens along ``axis`` follow the one at ``first``."""
    assert x.shape is not None
    batch, length = x.shape[0], x.shape[axis]
    if not isinstance(batch, int) or not isinstance(length, int):
        return NoMatch("the batch or the length of its input is not known")
    steps = np.tile(np.arange(length, dtype=np.int64), (batch, 1))
    result: ValueView = op.Add(op.const(steps), op.Reshape(first, ints(op, [1, 1])))
    return result
