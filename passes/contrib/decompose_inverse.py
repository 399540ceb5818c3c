"""Inverse of small matrices by cofactors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.passes.contrib._base import Contrib, ms
from coregraft.passes.decompose._base import ints, need
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView


@dataclass(frozen=True)
class DecomposeInverse(Contrib):
    """Invert matrices of at most 4x4 by their cofactors.

    What it does
    ------------
    Divides the transposed cofactors, each a polynomial of the elements, by the determinant, for any number of
    matrices at once. Larger matrices are refused.

    Why it matters
    --------------
    Core ML has no inverse and no solver.

    Example
    -------
    ``y = com.microsoft.Inverse(x)`` of ``x`` [n, 2, 2] becomes ``[[d, -b], [-c, a]] / (a * d - b * c)``.

    Equivalence
    -----------
    Approximate within 1e-4 of the largest magnitude for well-conditioned matrices: onnxruntime eliminates with
    pivots, and cofactors cancel more where a matrix is nearly singular.

    Sources
    -------
    H4.26; onnxruntime operator schema Inverse-1.
    """

    code: ClassVar[str] = "CG426"
    equivalence: ClassVar[Equivalence] = Equivalence.APPROXIMATE
    bound: ClassVar[float] = 1e-4
    roots: ClassVar[tuple[str, ...]] = ms("Inverse")

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x = need(node, 0)
        shape = x.shape
        if shape is None or len(shape) < 2 or shape[-1] not in (1, 2, 3, 4) or shape[-2] != shape[-1]:
            return NoMatch("it is not known to be of at most 4x4")
        size, rank = int(shape[-1]), len(shape)
        if size == 1:
            return op.Reciprocal(x)
        axes = ints(op, [rank - 2, rank - 1])
        at: dict[tuple[int, int], Any] = {}
        known: dict[tuple[tuple[int, ...], tuple[int, ...]], Any] = {}

        def element(row: int, column: int) -> Any:
            if (row, column) not in at:
                at[row, column] = op.Slice(x, ints(op, [row, column]), ints(op, [row + 1, column + 1]), axes)
            return at[row, column]

        def minor(rows: tuple[int, ...], columns: tuple[int, ...]) -> Any:
            if len(rows) == 1:
                return element(rows[0], columns[0])
            if (rows, columns) not in known:
                total = None
                for i, column in enumerate(columns):
                    term = op.Mul(element(rows[0], column), minor(rows[1:], (*columns[:i], *columns[i + 1 :])))
                    total = term if total is None else op.Sub(total, term) if i % 2 else op.Add(total, term)
                known[rows, columns] = total
            return known[rows, columns]

        def without(index: int) -> tuple[int, ...]:
            return tuple(i for i in range(size) if i != index)

        lines = []
        for column in range(size):  # a row of the result is a column of cofactors
            cofactors = [minor(without(row), without(column)) for row in range(size)]
            signed = [op.Neg(c) if (row + column) % 2 else c for row, c in enumerate(cofactors)]
            lines.append(op.Concat(*signed, axis=rank - 1))
        every = tuple(range(size))
        return op.Div(op.Concat(*lines, axis=rank - 2), minor(every, every))
