"""Unique by comparing every element with every other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose._base import ints, need, wants
from coregraft.passes.shapes._index import count_up, number, true_places
from coregraft.passes.shapes._trusting import Trusting
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView, ValueView
from coregraft.rewriter.types import DType

#: Place of the one result of Unique whose size does not depend on the data.
_INVERSE = 2


@dataclass(frozen=True)
class DecomposeUnique(Trusting):
    """Write Unique as comparisons, sums and a Gather, where the number of its results is known.

    What it does
    ------------
    How many elements differ depends on the data. Where the model declares it, as the shape of ``Y``, ``indices`` or
    ``counts``, these have that size; else they are gathered to a size that only the run time knows, which the outputs
    of a model may have, and few ops can read. Every element is compared with every other: one that equals none
    before it is the first of its kind, and how many firsts come before it, by value or with ``sorted=0`` by place, is
    its inverse index. With an ``axis`` whole slices are compared, the first difference deciding their order. Beyond
    ``max-elements`` comparisons, floats are sorted by TopK and compared with the distinct ones, of a declared number.
    Strings are refused; where NaN belongs is left open, as in onnxruntime. The same for the ``com.microsoft`` op, which
    does not sort. Fires where the target has no lowering for the op.

    Why it matters
    --------------
    Core ML has no op that finds distinct elements; shapes are fixed when it compiles a model.

    Example
    -------
    ``_, _, inverse = Unique(x: float[3])`` becomes ``first = not any(x == xᵀ, before); inverse = ReduceSum(first and
    xᵀ < x)``.

    Equivalence
    -----------
    Bit-exact where the run-time values agree with the declared shape, as ONNX demands.

    Options
    -------
    max-elements: most pairs of elements to compare: elements squared; with an axis, slices squared times their size.

    Sources
    -------
    H4.21, H5.08; ONNX Unique-11.
    """

    code: ClassVar[str] = "CG508"
    equivalence: ClassVar[Equivalence] = Equivalence.BIT_EXACT
    roots: ClassVar[tuple[str, ...]] = ("Unique", "com.microsoft::Unique")
    when_unsupported: ClassVar[bool] = True
    max_elements: int = 1 << 22

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x, axis, ordered = need(node, 0), node.attr("axis"), node.attr("sorted") == 1
        shape = x.static_shape
        if shape is None or x.dtype is None:
            return NoMatch("the shape of its input is not known")
        if x.dtype is DType.STRING:
            return NoMatch("its elements are strings")
        if 0 in shape:
            return NoMatch("its input is empty")
        axis = None if axis is None else axis % len(shape)
        slices = _slices(op, x, shape, axis)
        n, width = slices.static_shape
        count = 1 if n == 1 else _declared_count(node)
        wanted = [_results(node)[i] for i in self.replaced(node)]
        hits = first = kept = None
        if n * n * width <= self.max_elements:
            inverse = _by_pairs(op, slices, n, ordered)
            if wanted != [_INVERSE]:
                hits, first = _distinct(op, inverse, n if count is None else count, n)
        elif count is None or width > 1 or not x.dtype.is_float or n * count > self.max_elements:
            return NoMatch("{} times {} elements make more than max-elements={} pairs", n, width, self.max_elements)
        else:
            inverse, hits, first = _by_sorting(op, op.Reshape(slices, ints(op, [-1])), n, count, ordered)
        if first is not None and count is None:  # as many rows as there may be; those without an element go
            kept = op.Squeeze(op.NonZero(op.Less(first, number(op, n))), ints(op, [0]))
            first = op.Gather(first, kept, axis=0)

        def result(which: int) -> Any:
            if which == 0:
                return op.Gather(x if axis is not None else op.Reshape(x, ints(op, [-1])), first, axis=axis or 0)
            if which == 3:
                counts = op.ReduceSum(_numbers(op, hits), ints(op, [1]), keepdims=0)
                return counts if kept is None else op.Gather(counts, kept, axis=0)
            return inverse if which == _INVERSE else first

        return tuple(result(which) for which in wanted)

    def replaced(self, node: OpView) -> list[int]:
        return [i for i in super().replaced(node) if wants(node, i)]

    def trusts(self, node: OpView) -> bool:
        return _declared_count(node) is not None and any(_results(node)[i] != _INVERSE for i in self.replaced(node))


def _results(node: OpView) -> tuple[int, ...]:
    """Which of ONNX's results each of the op's is: onnxruntime's own Unique has no places of the distinct elements."""
    return (0, _INVERSE, 3) if node.domain else (0, 1, _INVERSE, 3)


def _declared_count(node: OpView) -> int | None:
    """How many distinct slices the declared shapes of the results promise; None where none says."""
    axis = node.attr("axis") or 0
    for which, value in zip(_results(node), node.outputs, strict=False):
        if which == _INVERSE or value is None or value.shape is None:
            continue
        dim = value.shape[0 if which else axis]
        if isinstance(dim, int):
            return dim
    return None


def _slices(op: OpBuilder, x: ValueView, shape: tuple[int, ...], axis: int | None) -> Any:
    """What is to be told apart, a row each; bools, which have no order in ONNX, as integers."""
    rows: Any = op.Cast(x, to=int(DType.INT32)) if x.dtype is DType.BOOL else x
    if axis is None:
        return op.Reshape(rows, ints(op, [math.prod(shape), 1]))
    if axis:
        rows = op.Transpose(rows, perm=[axis, *(i for i in range(len(shape)) if i != axis)])
    return op.Reshape(rows, ints(op, [shape[axis], math.prod(shape) // shape[axis]]))


def _by_pairs(op: OpBuilder, rows: Any, n: int, ordered: bool) -> Any:
    """Which distinct one each row is: [n]."""
    one, other = op.Unsqueeze(rows, ints(op, [1])), op.Unsqueeze(rows, ints(op, [0]))
    equal, places = op.Equal(one, other), count_up(op, n)
    if rows.static_shape[1] == 1:
        same = op.Squeeze(equal, ints(op, [2]))  # [n, n]
    else:
        same = _flags(op, op.ReduceMin(_numbers(op, equal), ints(op, [2]), keepdims=0))
    earliest = op.ReduceMin(op.Where(same, places, number(op, n)), ints(op, [1]))  # of its kind, [n, 1]
    is_first = op.Equal(op.Reshape(earliest, ints(op, [-1])), places)
    before = _less(op, one, other, rows.static_shape[1]) if ordered else op.Less(places, earliest)
    return op.ReduceSum(_numbers(op, op.And(before, is_first)), ints(op, [1]), keepdims=0)


def _distinct(op: OpBuilder, inverse: Any, count: int, n: int) -> tuple[Any, Any]:
    """Which element is which distinct one, [count, n], and where each of these is first; at n where there is none."""
    hits = op.Equal(op.const(np.arange(count, dtype=np.int64)[:, None]), inverse)
    return hits, _first_places(op, hits, count_up(op, n), n)


def _less(op: OpBuilder, one: Any, other: Any, width: int) -> Any:
    """Whether ``other`` [1, n, width] comes before ``one`` [n, 1, width]: is less where they first differ. [n, n]."""
    less = op.Less(other, one)
    if width == 1:
        return op.Squeeze(less, ints(op, [2]))
    differ = _numbers(op, op.Not(op.Equal(one, other)))
    differed = op.CumSum(differ, number(op, 2), exclusive=1)
    deciding = op.And(less, op.Equal(differed, number(op, 0)))
    return _flags(op, op.ReduceMax(_numbers(op, deciding), ints(op, [2]), keepdims=0))


def _by_sorting(op: OpBuilder, values: Any, n: int, count: int, ordered: bool) -> tuple[Any, Any, Any]:
    """Which distinct one each float is [n], and what :func:`_distinct` gives: by ``count`` times n comparisons."""
    ascending, places = _ascending(op, values, n), count_up(op, n)
    ahead = op.Slice(ascending, ints(op, [1]), ints(op, [n]), ints(op, [0]))
    behind = op.Slice(ascending, ints(op, [0]), ints(op, [n - 1]), ints(op, [0]))
    starts = op.Concat(op.const(np.ones(1, bool)), op.Not(op.Equal(ahead, behind)), axis=0)
    keys = op.Gather(ascending, true_places(op, starts, count), axis=0)
    hits = op.Equal(op.Unsqueeze(keys, ints(op, [1])), values)
    first = _first_places(op, hits, places, n)
    if not ordered:
        first = op.Cast(_ascending(op, op.Cast(first, to=int(DType.FLOAT)), count), to=int(DType.INT64))
        hits = op.Equal(op.Unsqueeze(op.Gather(values, first, axis=0), ints(op, [1])), values)
    numbered = op.Where(hits, op.const(np.arange(count, dtype=np.int64)[:, None]), number(op, 0))
    return op.ReduceSum(numbered, ints(op, [0]), keepdims=0), hits, first


def _ascending(op: OpBuilder, values: Any, n: int) -> Any:
    return op.TopK(values, ints(op, [n]), axis=0, largest=0, sorted=1, _outputs=2)[0]


def _first_places(op: OpBuilder, hits: Any, places: Any, n: int) -> Any:
    """The first column of each row of ``hits`` that is true; n where there is none."""
    return op.ReduceMin(op.Where(hits, places, number(op, n)), ints(op, [1]), keepdims=0)


def _numbers(op: OpBuilder, flags: Any) -> Any:
    return op.Cast(flags, to=int(DType.INT64))


def _flags(op: OpBuilder, numbers: Any) -> Any:
    return op.Cast(numbers, to=int(DType.BOOL))
