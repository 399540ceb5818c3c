"""Det of small matrices in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.passes.decompose._base import Decomposition, ints, need
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView


@dataclass(frozen=True)
class DecomposeDet(Decomposition):
    """Write the determinant of matrices up to 3x3 as products.

    What it does
    ------------
    Expands along the first row. Any batch axes; larger matrices are refused. Fires where the target has no lowering
    for the op.

    Why it matters
    --------------
    Core ML has no determinant.

    Example
    -------
    ``y = Det(x)`` of ``x: float[n,2,2]`` becomes ``y = x00 * x11 - x01 * x10``.

    Equivalence
    -----------
    Reassociating: onnxruntime eliminates rows, which rounds in another order.

    Sources
    -------
    Operator table of the hazard catalogue; ONNX Det-22.
    """

    code: ClassVar[str] = "CG422"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ("Det",)
    when_unsupported: ClassVar[bool] = True

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x = need(node, 0)
        size = x.shape[-1] if x.shape is not None else None
        if x.shape is None or size not in (1, 2, 3):
            return NoMatch("it is not known to be of at most 3x3")
        rank = len(x.shape)
        squeeze = ints(op, [rank - 2, rank - 1])

        def at(row: int, column: int) -> Any:
            begin, end = ints(op, [row, column]), ints(op, [row + 1, column + 1])
            return op.Squeeze(op.Slice(x, begin, end, squeeze), squeeze)

        def minor(rows: tuple[int, ...], columns: tuple[int, ...]) -> Any:
            if len(rows) == 1:
                return at(rows[0], columns[0])
            total = None
            for i, column in enumerate(columns):
                rest = (*columns[:i], *columns[i + 1 :])
                term = op.Mul(at(rows[0], column), minor(rows[1:], rest))
                total = term if total is None else op.Sub(total, term) if i % 2 else op.Add(total, term)
            return total

        every = tuple(range(int(size)))
        return minor(every, every)
