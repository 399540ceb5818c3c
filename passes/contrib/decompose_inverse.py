"""Inverse of small matrices by cofactors, of larger ones by elimination."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.contrib._base import Contrib, ms
from coregraft.passes.decompose._base import ints, need, scalar
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView, ValueView

#: Size up to which cofactors are fewer ops than elimination.
_COFACTORS = 4


@dataclass(frozen=True)
class DecomposeInverse(Contrib):
    """Invert matrices of at most 16x16 by their cofactors or by elimination.

    What it does
    ------------
    Matrices of at most 4x4: divides the transposed cofactors, each a polynomial of the elements, by the determinant.
    Larger ones: Gauss-Jordan elimination, each column from the row where it is largest in magnitude, as onnxruntime
    does, about 16 ops a column. Any number of matrices at once. Those larger than ``max-size`` are refused.

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

    Options
    -------
    max-size: largest matrix to invert.

    Sources
    -------
    H4.26; onnxruntime operator schema Inverse-1.
    """

    code: ClassVar[str] = "CG426"
    equivalence: ClassVar[Equivalence] = Equivalence.APPROXIMATE
    bound: ClassVar[float] = 1e-4
    roots: ClassVar[tuple[str, ...]] = ms("Inverse")

    max_size: int = 16

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x = need(node, 0)
        shape = x.shape
        if shape is None or len(shape) < 2 or not isinstance(shape[-1], int) or shape[-2] != shape[-1]:
            return NoMatch("the size of its matrices is not known")
        size = shape[-1]
        if not 0 < size <= self.max_size:
            return NoMatch("its matrices are {}x{}, and not of at most max-size={}", size, size, self.max_size)
        return _by_cofactors(op, x, size) if size <= _COFACTORS else _by_elimination(op, x, size)


def _by_cofactors(op: OpBuilder, x: ValueView, size: int) -> Any:
    """The transposed cofactors, each a polynomial of the elements, divided by the determinant."""
    if size == 1:
        return op.Reciprocal(x)
    assert x.rank is not None
    rank = x.rank
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


def _by_elimination(op: OpBuilder, x: ValueView, size: int) -> Any:
    """The right half of [x, 1] once its left half is 1: column by column, from the row with the largest element."""
    assert x.dtype is not None
    zero, row_axis, column_axis = scalar(op, 0, x), ints(op, [-2]), ints(op, [-1])
    numbers = np.arange(size, dtype=np.int64)[:, None]
    rows, one = op.const(numbers), op.const(np.eye(size, dtype=x.dtype.numpy))

    def part(value: Any, index: int, axis: ValueView) -> Any:
        return op.Slice(value, ints(op, [index]), ints(op, [index + 1]), axis)

    m = op.Concat(x, op.Expand(one, op.Shape(x)), axis=-1)
    for i in range(size):
        below = op.Where(op.const(numbers >= i), op.Abs(part(m, i, column_axis)), scalar(op, -1, x))
        is_best = op.Equal(rows, op.ArgMax(below, axis=-2, keepdims=1))
        best = op.ReduceSum(op.Where(is_best, m, zero), row_axis)
        is_lead = op.const(numbers == i)
        m = op.Where(is_best, part(m, i, row_axis), m)  # its place is taken by the row whose place it takes
        lead = op.Div(best, part(best, i, column_axis))
        m = op.Where(is_lead, lead, op.Sub(m, op.Mul(part(m, i, column_axis), lead)))
    return op.Slice(m, ints(op, [size]), ints(op, [2 * size]), column_axis)
