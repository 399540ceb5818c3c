"""Gather and Scatter in all their forms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from coregraft.rewriter.types import Array
from tests.conformance.variants.variant import Variant, data, dtypes, family, ints, some, versions

_CONSTANTS = ((), (1,), (0,))


def _index(size: int, *shape: int, seed: int = 0, negative: bool = True) -> Array:
    return data(*shape, dtype=np.int64, low=-size if negative else 0, high=size - 1, seed=seed)


@family("Gather")
def gather(op: str) -> Iterator[Variant]:
    cases: Sequence[tuple[tuple[int, ...], int, tuple[int, ...]]] = (
        ((5,), 0, ()), ((5,), 0, (3,)), ((5,), 0, (2, 2)), ((4, 3), 0, ()), ((4, 3), 1, (2,)), ((4, 3), -1, (2, 2)),
        ((2, 3, 4), 1, ()), ((2, 3, 4), 2, (3,)), ((2, 3, 4), -3, (1, 2)), ((1, 2, 3, 4), 2, ()),
        ((1, 2, 3, 4), 3, (2, 1)), ((1, 2, 1, 2, 3), 4, (2,)), ((1, 2, 1, 2, 3), 1, ()), ((4, 3), 0, (1,)),
        ((4,), 0, (1, 1, 2, 1, 2)),
    )  # fmt: skip
    for opset in versions(op):
        for shape, axis, index in some(op, opset, cases, 5):
            if opset < 11 and axis < 0:
                axis += len(shape)
            for constants in _CONSTANTS:
                operands = [data(*shape), _index(shape[axis], *index, negative=opset >= 11)]
                yield Variant(opset, operands, {"axis": axis}, constants=constants)
        yield Variant(opset, [data(4, 3), ints(1, 0)])
        for dtype in dtypes(op, opset):
            for kind in (np.int64, np.int32):
                x = data(4, 3, dtype=dtype, low=0, high=9)
                yield Variant(opset, [x, np.array([2, 0], kind)], {"axis": 1})
            yield Variant(opset, [x, np.array(2)], {"axis": 1}, constants=(1,))


@family("GatherElements")
def gather_elements(op: str) -> Iterator[Variant]:
    cases: Sequence[tuple[tuple[int, ...], int, tuple[int, ...]]] = (
        ((5,), 0, (3,)), ((4, 3), 0, (2, 3)), ((4, 3), 1, (4, 5)), ((4, 3), 1, (2, 2)), ((4, 3), -1, (4, 1)),
        ((2, 3, 4), 1, (2, 2, 4)), ((2, 3, 4), 0, (1, 2, 3)), ((1, 2, 3, 4), -2, (1, 2, 4, 4)),
        ((1, 2, 1, 2, 3), 4, (1, 2, 1, 2, 2)),
    )  # fmt: skip
    for opset in versions(op):
        for shape, axis, index in some(op, opset, cases):
            for constants in _CONSTANTS:
                yield Variant(opset, [data(*shape), _index(shape[axis], *index)], {"axis": axis}, constants=constants)
        for dtype in dtypes(op, opset):
            for kind in (np.int64, np.int32):
                x = data(4, 3, dtype=dtype, low=0, high=9)
                yield Variant(opset, [x, np.array([[2, -1], [0, 1]], kind)], {"axis": 1})
            yield Variant(opset, [x, np.array([[2, -1], [0, 1]])], {"axis": 1}, constants=(1,))


def _tuples(indexed: Sequence[int], *shape: int, seed: int = 0, distinct: bool = False) -> Array:
    """Index tuples into axes of these sizes, some of them negative."""
    count = int(np.prod(shape))
    random = np.random.default_rng([seed, *indexed, *shape])
    room = int(np.prod(indexed))
    places = random.permutation(room)[:count] if distinct else random.integers(0, room, count)
    found = np.stack(np.unravel_index(places, tuple(indexed)), -1).reshape(*shape, len(indexed))
    return np.where(random.random(found.shape) < 0.5, found, found - np.array(indexed))


@family("GatherND")
def gather_nd(op: str) -> Iterator[Variant]:
    cases: Sequence[tuple[tuple[int, ...], int, tuple[int, ...], int]] = (
        ((5,), 1, (3,), 0), ((4, 3), 1, (2,), 0), ((4, 3), 2, (3,), 0), ((4, 3), 2, (2, 2), 0), ((2, 3, 4), 2, (3,), 0),
        ((2, 3, 4), 1, (2, 1), 0), ((2, 3, 4), 3, (), 0), ((2, 3, 4), 1, (2,), 1), ((2, 3, 4), 2, (2, 3), 1),
        ((2, 3, 4), 1, (2, 3), 2), ((2, 2, 3, 2), 1, (2, 2), 1), ((1, 2, 1, 2, 3), 2, (2,), 0),
        ((1, 2, 2, 2, 3), 2, (1, 2, 2), 2),
    )  # fmt: skip
    for opset in versions(op, oldest=11):
        for shape, depth, outer, batch in some(op, opset, cases):
            if batch and opset < 12:
                continue
            index = _tuples(shape[batch : batch + depth], *outer)
            for constants in _CONSTANTS:
                attrs = {"batch_dims": batch} if batch else {}
                yield Variant(opset, [data(*shape), index], attrs, constants=constants)
        for dtype in dtypes(op, opset):
            for constants in ((), (1,)):
                x = data(4, 3, dtype=dtype, low=0, high=9)
                yield Variant(opset, [x, _tuples((4, 3), 3)], constants=constants)


def _reductions(op: str, opset: int) -> list[str | None]:
    first = {"ScatterElements": (16, 18), "ScatterND": (16, 18)}[op]
    return [None, "none"[: 4 * (opset >= first[0])] or None, *(["add", "mul"] if opset >= first[0] else []),
            *(["max", "min"] if opset >= first[1] else [])]  # fmt: skip


@family("ScatterElements", "Scatter")
def scatter_elements(op: str) -> Iterator[Variant]:
    cases: Sequence[tuple[tuple[int, ...], int, tuple[int, ...]]] = (
        ((5,), 0, (3,)), ((4, 3), 0, (2, 3)), ((4, 3), 1, (4, 2)), ((4, 3), 1, (2, 2)), ((4, 3), -1, (4, 1)),
        ((2, 3, 4), 1, (2, 2, 4)), ((2, 3, 4), 0, (1, 2, 3)), ((1, 2, 3, 4), -2, (1, 2, 2, 4)),
        ((1, 2, 1, 2, 3), 4, (1, 2, 1, 2, 2)),
    )  # fmt: skip
    for opset in versions(op):
        for reduction in some(op, opset, _reductions(op, opset), 2) if op == "ScatterElements" else [None]:
            attrs: dict[str, Any] = {} if reduction is None else {"reduction": reduction}
            for shape, axis, part in cases if (reduction, opset) == (None, versions(op)[-1]) else cases[3:8:2]:
                if opset < 11 and axis < 0:
                    axis += len(shape)
                index = _along(shape[axis], part, axis % len(shape), negative=opset >= 11)
                for constants in ((), (1,), (0,), (1, 2))[: None if reduction is None else 2]:
                    operands = [data(*shape), index, data(*part, seed=1)]
                    yield Variant(opset, operands, {"axis": axis, **attrs}, constants=constants)
            if reduction in ("add", "mul", "max", "min"):
                again = np.array([[0, 0, 0, -1], [1, 1, -2, 0]])
                for constants in ((), (0, 1), (0,)):
                    operands = [data(2, 3), again, data(2, 4, seed=1)]
                    yield Variant(opset, operands, {"axis": 1, **attrs}, constants=constants)
            for dtype in dtypes(op, opset):
                if dtype is np.bool_ and reduction not in (None, "none"):
                    continue
                x, updates = (data(n, dtype=dtype, low=0, high=4, seed=n) for n in (3, 2))
                yield Variant(opset, [x, ints(2, 0), updates], attrs)


def _along(size: int, shape: tuple[int, ...], axis: int, *, negative: bool) -> Array:
    """Indices of a shape that are different along an axis, some of them negative."""
    random = np.random.default_rng([5, size, *shape])
    found = np.argsort(random.random((*shape[:axis], size, *shape[axis + 1 :])), axis).astype(np.int64)
    found = np.take(found, range(shape[axis]), axis)
    return np.where(random.random(shape) < 0.5, found - size, found) if negative else found


@family("ScatterND")
def scatter_nd(op: str) -> Iterator[Variant]:
    cases: Sequence[tuple[tuple[int, ...], int, tuple[int, ...]]] = (
        ((5,), 1, (3,)), ((4, 3), 1, (2,)), ((4, 3), 2, (3,)), ((4, 3), 2, (2, 2)), ((2, 3, 4), 2, (3,)),
        ((2, 3, 4), 1, (2, 1)), ((2, 3, 4), 3, (5,)), ((1, 2, 3, 2), 3, (2,)), ((1, 2, 1, 2, 3), 2, (2,)),
    )  # fmt: skip
    for opset in versions(op):
        for reduction in some(op, opset, _reductions(op, opset), 2):
            attrs: dict[str, Any] = {} if reduction is None else {"reduction": reduction}
            for shape, depth, outer in cases if (reduction, opset) == (None, versions(op)[-1]) else cases[3:8:2]:
                index = _tuples(shape[:depth], *outer, distinct=True)
                for constants in ((), (1,), (0,), (1, 2))[: None if reduction is None else 2]:
                    operands = [data(*shape), index, data(*outer, *shape[depth:], seed=1)]
                    yield Variant(opset, operands, attrs, constants=constants)
            if reduction in ("add", "mul", "max", "min"):
                for constants in ((), (0, 1)):
                    again = np.array([[0, 1], [0, 1], [0, -2], [1, 0]])
                    yield Variant(opset, [data(2, 3), again, data(4, seed=1)], attrs, constants=constants)
            for dtype in dtypes(op, opset):
                if dtype is np.bool_ and reduction not in (None, "none"):
                    continue
                x, updates = (data(n, dtype=dtype, low=0, high=4, seed=n) for n in (3, 2))
                yield Variant(opset, [x, ints(2, 0)[:, None], updates], attrs)


@family("TensorScatter")
def tensor_scatter(op: str) -> Iterator[Variant]:
    caches = (
        ((2, 4, 3), -2, 2), ((2, 4, 3), 1, 1), ((2, 2, 4, 3), 2, 2), ((2, 2, 4, 3), -1, 3), ((1, 2, 1, 5, 2), 3, 2),
        ((2, 4), 1, 4),
    )  # fmt: skip
    for opset in versions(op):
        for mode in (None, "linear", "circular"):
            attrs: dict[str, Any] = {} if mode is None else {"mode": mode}
            for shape, axis, size in caches:
                part = list(shape)
                part[axis] = size
                operands = [data(*shape), data(*part, seed=1)]
                yield Variant(opset, operands, {"axis": axis, **attrs})
                first = np.arange(shape[0]) if size < shape[axis] else np.zeros(shape[0], np.int64)
                for constants in ((), (2,)):
                    yield Variant(opset, [*operands, first], {"axis": axis, **attrs}, constants=constants)
                if mode == "circular":
                    yield Variant(opset, [*operands, np.full(shape[0], shape[axis] - 1)], {"axis": axis, **attrs})
            yield Variant(opset, [data(2, 4, 3), data(2, 2, 3, seed=1), ints(1, 2)], attrs)
            for dtype in dtypes(op, opset):
                operands = [data(*s, dtype=dtype, low=0, high=9, seed=i) for i, s in enumerate(((2, 4, 3), (2, 2, 3)))]
                yield Variant(opset, [*operands, ints(1, 2)], attrs)
