"""Reductions, arg-reductions, running sums and products, softmaxes, norms along axes, TopK."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from coregraft.rewriter.types import Array
from tests.conformance.variants.variant import Variant, data, dtypes, family, ints, some, versions

_REDUCTIONS = (
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
    "ReduceSum", "ReduceSumSquare",
)  # fmt: skip
_AXES: Sequence[tuple[tuple[int, ...], tuple[int, ...] | None]] = (
    ((), None), ((4,), None), ((4,), (0,)), ((2, 3), None), ((2, 3), (0,)), ((2, 3), (1,)), ((2, 3), (-1,)),
    ((2, 3), (0, 1)), ((2, 3, 2), (0, 2)), ((2, 3, 2), (2, 0)), ((2, 3, 2), (-3, 1)), ((2, 3, 2, 2), (2, 3)),
    ((2, 1, 3, 2), (1,)), ((1, 2, 1, 2, 3), (0, 2, 4)), ((1, 2, 1, 2, 3), None),
)  # fmt: skip


def _values(op: str, dtype: Any, *shape: int) -> Array:
    low = 0.5 if op == "ReduceLogSum" else -3
    kind = np.dtype(dtype).kind
    return data(*shape, dtype=dtype, low=1 if kind in "iu" and (kind == "u" or low > 0) else low, high=3)


@family(*_REDUCTIONS)
def reduction(op: str) -> Iterator[Variant]:
    for opset in versions(op):
        as_operand = opset >= (13 if op == "ReduceSum" else 18)
        for shape, axes in some(op, opset, _AXES, 5):
            if opset < 11 and axes is not None and min(axes) < 0:
                continue
            for keep in (None, 0, 1) if opset == versions(op)[-1] else (0,):
                yield from _reduce(opset, _values(op, np.float32, *shape), axes, keep, as_operand=as_operand)
        for dtype in dtypes(op, opset):
            yield from _reduce(opset, _values(op, dtype, 2, 3), (1,), 0, as_operand=as_operand)
        if opset < versions(op)[-1]:
            continue
        for dtype in dtypes(op, opset):
            yield from _reduce(opset, _values(op, dtype, 2, 3), None, 1, as_operand=True)
        for noop in (0, 1):
            attrs = {"noop_with_empty_axes": noop}
            yield Variant(opset, [_values(op, np.float32, 2, 3)], attrs)
            yield Variant(opset, [_values(op, np.float32, 2, 3), ints()], attrs, constants=(1,))
            yield Variant(opset, [_values(op, np.float32, 2, 3), ints(0)], attrs, constants=(1,))
            yield Variant(opset, [_values(op, np.float32)], attrs)
        yield Variant(opset, [_values(op, np.float32, 2, 3), ints(1)], {"keepdims": 0})
        yield Variant(opset, [_values(op, np.float32, 2, 3), ints(0, 1)], {"keepdims": 1})
        yield Variant(opset, [_values(op, np.float32, 2, 3), ints(1)], constants=(0,))
        for row in ((np.nan, 1, 2), (np.inf, 1, 2), (-np.inf, 1, 2), (-np.inf,) * 3, (0.0,) * 3, (-0.0, 0, 1)):
            if op != "ReduceLogSumExp" or row[-1] != -np.inf:  # onnxruntime makes NaN of log 0
                yield Variant(opset, [np.array([row], np.float32), ints(1)], constants=(1,))
        if op == "ReduceLogSumExp":
            far = np.array([[1000, 1001, 999], [-1000, -1001, -999]], np.float32)
            yield Variant(opset, [far, ints(1)], constants=(1,))


def _reduce(
    opset: int, x: Array, axes: tuple[int, ...] | None, keep: int | None, *, as_operand: bool
) -> Iterator[Variant]:
    attrs: dict[str, Any] = {} if keep is None else {"keepdims": keep}
    if axes is None:
        yield Variant(opset, [x], attrs)
    elif as_operand:
        yield Variant(opset, [x, ints(*axes)], attrs, constants=(1,))
    else:
        yield Variant(opset, [x], {**attrs, "axes": axes})


@family("ArgMax", "ArgMin")
def arg_reduction(op: str) -> Iterator[Variant]:
    for opset in versions(op):
        lasts = (None, 0, 1) if opset >= 12 else (None,)
        for last in some(op, opset, lasts, 2):
            attrs = {} if last is None else {"select_last_index": last}
            for shape in some(op, opset, ((4,), (2, 3), (2, 3, 2), (2, 1, 3, 2), (1, 2, 1, 2, 3)), 2):
                yield Variant(opset, [data(*shape)], attrs)
                for axis in some(op, opset, range(-len(shape) if opset >= 11 else 0, len(shape))):
                    yield Variant(opset, [data(*shape)], {"axis": axis, "keepdims": axis % 2, **attrs})
            ties = np.array([[2, 1, 2, 0, 0], [0, 0, 0, 0, 0], [1, 2, 2, 0, 0]])
            for dtype in some(op, opset, dtypes(op, opset), 2):
                for axis in (0, 1):
                    yield Variant(opset, [ties.astype(dtype)], {"axis": axis, **attrs})
            for row in ((-np.inf, -np.inf, 1), (np.inf, 1, np.inf), (-0.0, 0.0, -0.0)):
                yield Variant(opset, [np.array([row], np.float32)], {"axis": 1, **attrs})


@family("CumSum", "CumProd")
def running(op: str) -> Iterator[Variant]:
    for opset in versions(op):
        for exclusive in (0, 1):
            for reverse in (0, 1):
                attrs = {"exclusive": exclusive, "reverse": reverse}
                for shape in some(op, opset, ((4,), (1,), (2, 3), (2, 1, 3, 2), (1, 2, 1, 2, 3))):
                    for axis in sorted({0, len(shape) - 1, -1, -len(shape)}):
                        yield Variant(opset, [data(*shape), np.array(axis)], attrs, constants=(1,))
                for dtype in dtypes(op, opset):
                    x = data(2, 5, dtype=dtype, low=1, high=3)
                    for kind in some(op, opset, (np.int32, np.int64), 1):
                        yield Variant(opset, [x, np.array(1, kind)], attrs, constants=(1,))
                yield Variant(opset, [data(2, 3), np.array(1)], attrs, constants=(0,))
                yield Variant(opset, [data(2, 3), np.array(1)], attrs)
                yield Variant(opset, [data(2, 3), np.array([1])], attrs, constants=(1,))
                strange = np.array([1, np.inf, 2, np.nan, 1], np.float32)
                yield Variant(opset, [strange, np.array(0)], attrs, constants=(1,))
        yield Variant(opset, [data(2, 3), np.array(0)], constants=(1,))


@family("Softmax", "LogSoftmax", "Hardmax")
def softmax(op: str) -> Iterator[Variant]:
    for opset in versions(op):
        for shape in ((4,), (2, 3), (2, 3, 2), (2, 1, 3, 2), (2, 2, 1, 2, 3), (1, 1)):
            if len(shape) > 1 or opset >= 13:  # a vector has no axis 1, which the default was
                yield Variant(opset, [data(*shape)])
            for axis in range(-len(shape) if opset >= 11 else 0, len(shape)):
                yield Variant(opset, [data(*shape)], {"axis": axis})
        # Of Hardmax before opset 13, the only reference for other types flattens nothing.
        for dtype in dtypes(op, opset) if (op, opset >= 13) != ("Hardmax", False) else [np.float32]:
            yield Variant(opset, [data(2, 3, 2, dtype=dtype)], {"axis": 1})
        for row in ((100.0, 0.0, -100.0), (-np.inf, 0, 1), (np.nan, 0, 1), (2.0, 2.0, 2.0), (80.0, 80.5, -np.inf)):
            if op != "Hardmax" or not np.isnan(row[0]):  # which element is the greatest beside NaN, nobody says
                yield Variant(opset, [np.array([row, (0, 1, 2)], np.float32)], {"axis": 1})


@family("LpNormalization")
def lp_normalization(op: str) -> Iterator[Variant]:
    for opset in versions(op):
        for shape in some(op, opset, ((4,), (2, 3), (2, 3, 2), (2, 1, 3, 2), (1, 2, 1, 2, 3))):
            for p in (None, 1, 2):
                attrs = {} if p is None else {"p": p}
                yield Variant(opset, [data(*shape)], attrs)
                for axis in some(op, opset, range(-len(shape), len(shape)), 2):
                    yield Variant(opset, [data(*shape)], {"axis": axis, **attrs})
        for p in (1, 2):
            for dtype in dtypes(op, opset):
                yield Variant(opset, [data(2, 3, dtype=dtype)], {"p": p})
            yield Variant(opset, [np.array([[0, 0], [3, 4], [-3, 0]], np.float32)], {"p": p})


@family("MeanVarianceNormalization")
def mean_variance(op: str) -> Iterator[Variant]:
    for opset in versions(op):
        yield Variant(opset, [data(2, 3, 2, 3)])
        chosen = (
            ((2, 3, 2, 3), (0, 2, 3)), ((2, 3, 2, 3), (1, 2, 3)), ((2, 3, 2, 3), (-1, -2)), ((2, 3), (1,)),
            ((2, 3, 4), (0, 2)), ((5,), (0,)), ((1, 2, 2, 2, 3), (2, 3, 4)),
        )  # fmt: skip
        for shape, axes in chosen:
            yield Variant(opset, [data(*shape)], {"axes": axes})
        for dtype in dtypes(op, opset):
            yield Variant(opset, [data(2, 3, 2, 3, dtype=dtype)])


@family("TopK")
def topk(op: str) -> Iterator[Variant]:
    yield from _topk_by_attribute()
    for opset in versions(op, oldest=10):
        modes = ((1, 1), (0, 1)) if opset >= 11 else ((None, None),)
        for largest, is_sorted in modes:
            attrs = {} if largest is None else {"largest": largest, "sorted": is_sorted}
            for shape in some(op, opset, ((6,), (2, 5), (2, 5, 3), (2, 1, 4, 2), (1, 2, 1, 2, 4)), 2):
                for axis in sorted({-1, 0, len(shape) // 2, -len(shape)}):
                    if not -len(shape) <= axis < len(shape) or (opset < 11 and axis < -1):
                        continue
                    size = shape[axis]
                    for k in sorted({1, size // 2, size} - {0}):
                        operands = [_distinct(*shape), ints(k)]
                        yield Variant(opset, operands, {"axis": axis, **attrs}, constants=(1,), outputs=2)
            for dtype in dtypes(op, opset):
                yield Variant(opset, [_distinct(2, 5).astype(dtype), ints(3)], attrs, constants=(1,), outputs=2)
            yield Variant(opset, [_distinct(2, 5), ints(3)], attrs, outputs=2)
            yield Variant(opset, [_distinct(2, 5), ints(3)], attrs, constants=(1,), outputs=(True, False))
            yield Variant(opset, [_distinct(2, 5), ints(3)], attrs, constants=(1,), outputs=(False, True))
            ties = np.array([[2, 1, 2, 1, 2], [0, 0, 0, 0, 0], [1, 1, 2, 2, 3]], np.float32)
            yield Variant(opset, [ties, ints(3)], attrs, constants=(1,), outputs=2)
            if opset >= 11:  # TopK-10 takes floats only
                yield Variant(opset, [ties.astype(np.int64), ints(3)], attrs, constants=(1,), outputs=2)
            if opset >= 11:  # in which order they come unsorted, nobody says
                yield Variant(opset, [ties, ints(1)], {"sorted": 0}, constants=(1,), outputs=2)
            infinite = np.array([1, np.inf, -np.inf, 3], np.float32)
            yield Variant(opset, [infinite, ints(3)], attrs, constants=(1,), outputs=2)


def _topk_by_attribute() -> Iterator[Variant]:
    for shape, axis in (((6,), None), ((6,), 0), ((2, 5), -1), ((2, 5), 0), ((2, 3, 4), 1)):
        for k in (1, 2):
            attrs = {"k": k} if axis is None else {"k": k, "axis": axis}
            yield Variant(7, [_distinct(*shape)], attrs, outputs=2)


def _distinct(*shape: int) -> Array:
    """Whole numbers that are all different, in no order."""
    count = int(np.prod(shape))
    return np.random.default_rng([3, *shape]).permutation(count).reshape(shape).astype(np.float32)
