"""Trilu with a diagonal that is given at run time, as a comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose._base import Decomposition, computed, need, scalar
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView
from coregraft.rewriter.target import Target


@dataclass(frozen=True)
class DecomposeTrilu(Decomposition):
    """Write a Trilu whose diagonal is computed at run time as Where on the distance from the diagonal.

    What it does
    ------------
    Compares column minus row, a constant, with ``k`` and keeps the elements on the right side of it. The sizes of the
    last two axes must be known. Fires for Core ML targets only, and not where ``k`` is constant.

    Why it matters
    --------------
    Core ML's band_part takes constant bounds.

    Example
    -------
    ``y = Trilu(x, k)`` becomes ``y = Where(GreaterOrEqual(distance, k), x, 0)``.

    Equivalence
    -----------
    Bit-exact.

    Sources
    -------
    H4.22; ONNX Trilu-14.
    """

    code: ClassVar[str] = "CG422"
    equivalence: ClassVar[Equivalence] = Equivalence.BIT_EXACT
    roots: ClassVar[tuple[str, ...]] = ("Trilu",)

    def wanted(self, node: OpView, target: Target) -> bool:
        return target.ops is not None and computed(node, 1)

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x, k = need(node, 0), need(node, 1)
        sizes = x.shape[-2:] if x.shape is not None else ()
        if x.dtype is None or len(sizes) != 2 or not all(isinstance(n, int) for n in sizes):
            return NoMatch("the sizes of its last two axes are not known")
        rows, columns = (int(n) for n in sizes if isinstance(n, int))
        distance = op.const(np.arange(columns, dtype=np.int64) - np.arange(rows, dtype=np.int64)[:, None])
        kept = op.GreaterOrEqual(distance, k) if node.attr("upper") else op.LessOrEqual(distance, k)
        return op.Where(kept, x, scalar(op, 0, x))
