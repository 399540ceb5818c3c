"""TfIdfVectorizer over integers as comparisons of windows with the n-grams of its pool."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose._base import Decomposition, ints, need
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView
from coregraft.rewriter.types import Array, DType


@dataclass(frozen=True)
class DecomposeTfIdfVectorizer(Decomposition):
    """Count the n-grams of a TfIdfVectorizer by comparing every window of its input with every n-gram of the pool.

    What it does
    ------------
    For each length of n-gram and each number of skipped elements: the windows of the input as a constant Gather,
    compared with all n-grams of that length at once, and summed. Counts go to the columns that ``ngram_indexes``
    names, weighted as ``mode`` says. The length of the input must be known, and the windows times the n-grams be no
    more than ``max-comparisons``. Pools of strings are refused. Fires where the target has no lowering for the op.

    Why it matters
    --------------
    MIL has no op that looks up n-grams.

    Example
    -------
    ``y = TfIdfVectorizer(x)`` with the single words 3 and 7 becomes
    ``y = ReduceSum(Cast(Equal(Unsqueeze(x), [3, 7])))``.

    Equivalence
    -----------
    Bit-exact: counts are small whole numbers.

    Options
    -------
    ``max-comparisons``: most windows times n-grams.

    Sources
    -------
    ONNX TfIdfVectorizer-9.
    """

    code: ClassVar[str] = "CG426"
    equivalence: ClassVar[Equivalence] = Equivalence.BIT_EXACT
    roots: ClassVar[tuple[str, ...]] = ("TfIdfVectorizer",)
    when_unsupported: ClassVar[bool] = True
    max_comparisons: int = 10_000_000

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x, pool = need(node, 0), node.attr("pool_int64s")
        length = x.shape[-1] if x.shape else None
        if not pool or x.dtype is None or not x.dtype.is_integer:
            return NoMatch("its pool has strings, which Core ML does not have")
        if not isinstance(length, int) or x.shape is None:
            return NoMatch("the length of its input is not known")
        rank, columns = len(x.shape), max(node.attr("ngram_indexes")) + 1
        totals, places = [], []
        for grams, indexes in _grams(node):
            count = None
            for windows in _windows(length, grams.shape[1], node.attr("max_skip_count")):
                if windows.size * len(grams) > self.max_comparisons:
                    return NoMatch("it takes more than max-comparisons={}", self.max_comparisons)
                found = _count(op, x, windows, grams, rank)
                count = found if count is None else op.Add(count, found)
            if count is not None:
                totals.append(count)
                places.append(indexes)
        if not totals:
            return NoMatch("its input is shorter than every n-gram")
        counts = op.Concat(*totals, axis=-1) if len(totals) > 1 else totals[0]
        return _weighted(op, node, counts, np.concatenate(places), columns)


def _grams(node: OpView) -> Iterator[tuple[Array, Array]]:
    """The n-grams of each length that counts, [n-grams, length], and the columns they are counted in."""
    starts, pool = node.attr("ngram_counts"), np.array(node.attr("pool_int64s"), np.int64)
    indexes, first = np.array(node.attr("ngram_indexes")), 0
    for size, (begin, end) in enumerate(zip(starts, [*starts[1:], len(pool)], strict=True), start=1):
        number = (end - begin) // size
        if number and node.attr("min_gram_length") <= size <= node.attr("max_gram_length"):
            yield pool[begin:end].reshape(number, size), indexes[first : first + number]
        first += number


def _windows(length: int, size: int, skips: int) -> Iterator[Array]:
    """Where the elements of every window of ``size`` are, [windows, size], once for each number of elements skipped."""
    for skip in range(skips + 1 if size > 1 else 1):
        count = length - (size - 1) * (skip + 1)
        if count > 0:
            yield np.arange(count)[:, None] + np.arange(size) * (skip + 1)


def _count(op: OpBuilder, x: Any, windows: Array, grams: Array, rank: int) -> Any:
    """How often each n-gram is among the windows: float […, n-grams]."""
    same: Any = None
    for j in range(grams.shape[1]):
        element = op.Unsqueeze(op.Gather(x, op.const(windows[:, j]), axis=rank - 1), ints(op, [rank]))
        equal = op.Equal(element, op.const(grams[:, j].astype(x.dtype.numpy)))
        same = equal if same is None else op.And(same, equal)
    return op.ReduceSum(op.Cast(same, to=int(DType.FLOAT)), ints(op, [rank - 1]), keepdims=0)


def _weighted(op: OpBuilder, node: OpView, counts: Any, places: Array, columns: int) -> Any:
    """The counts in their columns, as the mode weights them."""
    mode, weights = node.attr("mode"), node.attr("weights")
    if mode == "IDF":
        counts = op.Min(counts, op.const(np.array(1, np.float32)))
    scatter = np.zeros((len(places), columns), np.float32)
    scatter[np.arange(len(places)), places] = 1
    if mode != "TF" and weights:
        by_column = np.ones(columns, np.float32)
        by_column[np.array(node.attr("ngram_indexes"))] = weights
        scatter *= by_column
    row = op.MatMul(counts if counts.rank == 2 else op.Unsqueeze(counts, ints(op, [0])), op.const(scatter))
    return row if counts.rank == 2 else op.Squeeze(row, ints(op, [0]))
