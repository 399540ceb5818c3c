"""Det of small matrices in products and sums."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose._base import Decomposition, ints, need
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView, ValueView

#: Size up to which products of whole matrices keep four digits in fp32.
_LARGEST = 8


@dataclass(frozen=True)
class DecomposeDet(Decomposition):
    """Write the determinant of matrices up to 8x8 as products and sums.

    What it does
    ------------
    Expands matrices up to 3x3 along the first row. A larger one takes n-1 products with itself, its lower triangle
    cleared and its diagonal replaced in between, which divides by nothing; beyond 8x8 that loses too many digits and
    is refused. Any batch axes. Fires where the target has no lowering for the op.

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
    Operator table of the hazard catalogue; ONNX Det-22; R. S. Bird, "A simple division-free algorithm for computing
    determinants", 2011.
    """

    code: ClassVar[str] = "CG422"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ("Det",)
    when_unsupported: ClassVar[bool] = True
    ranks: ClassVar[range] = range(2, 65)

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x = need(node, 0)
        size = x.shape[-1] if x.shape is not None else None
        if not isinstance(size, int) or size > _LARGEST:
            return NoMatch("it is not known to be of at most {}x{}", _LARGEST, _LARGEST)
        return _expanded(op, x, size) if size <= 3 else _by_products(op, x, size)


def _at(op: OpBuilder, x: ValueView, row: int, column: int) -> Any:
    assert x.rank is not None
    axes = ints(op, [x.rank - 2, x.rank - 1])
    return op.Squeeze(op.Slice(x, ints(op, [row, column]), ints(op, [row + 1, column + 1]), axes), axes)


def _expanded(op: OpBuilder, x: ValueView, size: int) -> Any:
    def minor(rows: tuple[int, ...], columns: tuple[int, ...]) -> Any:
        if len(rows) == 1:
            return _at(op, x, rows[0], columns[0])
        total = None
        for i, column in enumerate(columns):
            rest = (*columns[:i], *columns[i + 1 :])
            term = op.Mul(_at(op, x, rows[0], column), minor(rows[1:], rest))
            total = term if total is None else op.Sub(total, term) if i % 2 else op.Add(total, term)
        return total

    every = tuple(range(size))
    return minor(every, every)


def _by_products(op: OpBuilder, x: ValueView, size: int) -> Any:
    assert x.dtype is not None
    upper, eye = (op.const(m.astype(x.dtype.numpy)) for m in (np.triu(np.ones((size, size)), 1), np.eye(size)))
    last = ints(op, [-1])
    current: Any = x
    for _ in range(size - 1):
        diagonal = op.ReduceSum(op.Mul(current, eye), last, keepdims=1)
        below = op.MatMul(upper, diagonal)  # the sum of the diagonal below each place of it
        current = op.MatMul(op.Sub(op.Mul(current, upper), op.Mul(eye, below)), x)
    corner = _at(op, current, 0, 0)
    return corner if size % 2 else op.Neg(corner)
