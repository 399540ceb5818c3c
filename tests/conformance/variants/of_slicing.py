"""Ops that cut tensors up, put them together and pad them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from coregraft.rewriter.types import Array
from tests.conformance.variants.variant import Variant, data, dtypes, family, ints, some, versions

_END = 2**63 - 1
_START = -(2**63)
#: Shape, starts, ends, axes, steps; None where the operand is left out.
_SLICES: Sequence[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], Any, Any]] = (
    ((5,), (1,), (3,), None, None), ((5,), (0,), (_END,), None, None), ((5,), (-3,), (-1,), (0,), None),
    ((4, 5), (1, 2), (3, 4), None, None), ((4, 5), (1,), (3,), None, None), ((4, 5), (1,), (3,), (1,), None),
    ((4, 5), (1,), (3,), (-1,), None), ((4, 5), (2, 1), (_END, 3), (1, 0), None),
    ((4, 5), (-2, -9), (9, -1), (0, 1), None),
    ((2, 3, 4), (0, 1), (2, 4), (0, 2), None), ((1, 2, 4, 5), (1, 0), (3, 5), (-2, -1), None),
    ((1, 2, 3, 2, 4), (0, 1, 0, 0, 2), (1, 2, 3, 2, 4), None, None), ((4, 5), (0, 0), (4, 5), None, None),
)  # fmt: skip
_STEPPED: Sequence[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], Any, Any]] = (
    ((5,), (0,), (5,), (0,), (2,)), ((5,), (1,), (5,), (0,), (3,)), ((5,), (4,), (0,), (0,), (-1,)),
    ((5,), (-1,), (_START,), (0,), (-1,)), ((5,), (_END,), (_START,), (0,), (-2,)), ((5,), (9,), (-9,), (0,), (-2,)),
    ((5,), (3,), (0,), (0,), (-2,)), ((5,), (0,), (_END,), (0,), (_END,)), ((5,), (4,), (-6,), None, (-3,)),
    ((4, 5), (3, 0), (_START, 5), (0, 1), (-1, 2)), ((4, 5), (0, -1), (4, -6), None, (3, -2)),
    ((4, 5), (-1,), (-4,), (-1,), (-1,)), ((2, 3, 4), (1, 3), (-3, 0), (0, 2), (-1, -3)),
    ((1, 2, 4, 5), (0, 4), (4, 0), (2, 3), (2, -2)), ((2, 1, 2, 3, 4), (-1, -1), (-9, -9), (0, 4), (-1, -1)),
)  # fmt: skip


@family("Slice")
def slices(op: str) -> Iterator[Variant]:
    for shape, starts, ends, axes, _ in _SLICES:
        x = data(*shape)
        if axes is None or min(axes) >= 0:
            yield Variant(7, [x], {"starts": starts, "ends": ends} | ({} if axes is None else {"axes": axes}))
    for opset in versions(op, oldest=10):
        for row in some(op, opset, (*_SLICES, *_STEPPED), 6):
            if opset < 11 and row[3] is not None and min(row[3]) < 0:
                continue
            operands = _slice(*row)
            constants = tuple(i for i, a in enumerate(operands) if i and a is not None)
            yield Variant(opset, operands, constants=constants)
            if opset == versions(op)[-1]:
                yield Variant(opset, operands)
                yield Variant(opset, operands, constants=constants[1:])
        for dtype in dtypes(op, opset):
            x = data(4, 5, dtype=dtype, low=0, high=9)
            yield Variant(opset, [x, ints(3), ints(0), ints(1), ints(-2)], constants=(1, 2, 3, 4))
        narrow = [np.array([v], np.int32) for v in (1, 4, 1, 2)]
        yield Variant(opset, [data(4, 5), *narrow], constants=(1, 2, 3, 4))
        yield Variant(opset, [data(4, 5), *narrow])
        yield Variant(opset, [data(4, 5), ints(1), ints(3), ints(0)], constants=(0,))


def _slice(shape: tuple[int, ...], starts: Any, ends: Any, axes: Any, steps: Any) -> list[Array | None]:
    operands = [data(*shape), ints(*starts), ints(*ends)]
    operands.append(None if axes is None else ints(*axes))  # type: ignore[arg-type]
    operands.append(None if steps is None else ints(*steps))  # type: ignore[arg-type]
    while operands[-1] is None:
        operands.pop()
    return list(operands)


@family("Split")
def split(op: str) -> Iterator[Variant]:
    cases: Sequence[tuple[tuple[int, ...], int | None, tuple[int, ...]]] = (
        ((6,), 0, (3, 3)), ((6,), None, (1, 2, 3)), ((4, 6), 1, (2, 4)), ((4, 6), 0, (2, 2)), ((4, 6), -1, (1, 1, 4)),
        ((2, 6, 3), 1, (2, 2, 2)), ((2, 3, 4, 2), 2, (1, 3)), ((1, 2, 1, 2, 4), 4, (2, 2)), ((4, 6), 1, (6,)),
    )  # fmt: skip
    for opset in versions(op):
        for shape, axis, sizes in cases:
            if opset < 11 and axis is not None and axis < 0:
                continue
            attrs: dict[str, Any] = {} if axis is None else {"axis": axis}
            if opset < 13:
                yield Variant(opset, [data(*shape)], {**attrs, "split": sizes}, outputs=len(sizes))
            else:
                yield Variant(opset, [data(*shape), ints(*sizes)], attrs, constants=(1,), outputs=len(sizes))
                yield Variant(opset, [data(*shape), ints(*sizes)], attrs, outputs=len(sizes))
            if len(set(sizes)) == 1 and opset < 18:
                yield Variant(opset, [data(*shape)], attrs, outputs=len(sizes))
            elif opset >= 18:
                yield Variant(opset, [data(*shape)], {**attrs, "num_outputs": len(sizes)}, outputs=len(sizes))
        if opset >= 18:
            yield Variant(opset, [data(7)], {"num_outputs": 3}, outputs=3)
            yield Variant(opset, [data(2, 7)], {"num_outputs": 4, "axis": 1}, outputs=4)
            # No piece is left out: onnxruntime dies of that.
            yield Variant(opset, [data(2, 7)], {"num_outputs": 2, "axis": -1}, outputs=2)
        attrs, more = ({"split": (2, 4)}, []) if opset < 13 else ({}, [ints(2, 4)])
        for dtype in dtypes(op, opset):
            x = data(6, dtype=dtype, low=0, high=9)
            yield Variant(opset, [x, *more], attrs, constants=(1,) if more else (), outputs=2)


@family("Concat")
def concat(op: str) -> Iterator[Variant]:
    for opset in versions(op):
        for shape in ((3,), (2, 3), (2, 3, 2), (2, 1, 3, 2), (1, 2, 1, 2, 3)):
            for axis in range(-len(shape) if opset >= 11 else 0, len(shape)):
                other = list(shape)
                other[axis] += 1
                yield Variant(opset, [data(*shape), data(*other, seed=1)], {"axis": axis})
        pair = [data(2, 3), data(2, 1, seed=1), data(2, 2, seed=2)]
        yield Variant(opset, pair, {"axis": 1})
        for constants in ((0,), (1,), (0, 2)):
            yield Variant(opset, pair, {"axis": 1}, constants=constants)
        yield Variant(opset, [data(2, 3)], {"axis": 0})
        yield Variant(opset, [data(2, 3), np.zeros((2, 0), np.float32)], {"axis": 1}, constants=(1,))
        for dtype in dtypes(op, opset):
            pair = [data(2, 3, dtype=dtype, low=0, high=9), data(1, 3, dtype=dtype, low=0, high=9, seed=1)]
            yield Variant(opset, pair, {"axis": 0})
            yield Variant(opset, pair, {"axis": 0}, constants=(1,))


_PADS: Sequence[tuple[tuple[int, ...], tuple[int, ...]]] = (
    ((4,), (1, 2)), ((4,), (0, 0)), ((4,), (0, 3)), ((3, 4), (1, 0, 0, 2)), ((3, 4), (0, 2, 0, 1)),
    ((3, 4), (2, 3, 1, 2)),
    ((2, 3, 4), (0, 1, 2, 1, 0, 1)), ((2, 3, 4), (1, 1, 1, 1, 1, 1)), ((1, 2, 3, 4), (0, 0, 1, 2, 0, 0, 2, 1)),
    ((1, 2, 3, 4), (0, 1, 1, 0, 0, 0, 1, 2)), ((1, 2, 2, 3, 3), (0, 0, 1, 1, 1, 0, 0, 0, 2, 1)),
    ((1, 3, 2, 2, 3), (0, 1, 0, 0, 2, 0, 1, 1, 0, 0)), ((4, 5), (-1, 0, 0, -2)), ((4, 5), (-1, 2, 1, -1)),
    ((4, 5), (-2, -1, -1, -1)), ((1, 2, 5, 5), (0, 0, -1, 2, 0, 0, 2, -1)),
)  # fmt: skip
#: More than there is to repeat.
_BEYOND: Sequence[tuple[tuple[int, ...], tuple[int, ...]]] = (
    ((3,), (5, 7)), ((2, 3), (4, 3, 5, 8)), ((1, 3), (0, 2, 2, 2)),
)  # fmt: skip


_AXES = (
    ((3, 4), (1, 2), (-2,)), ((3, 4), (1, 2), (1,)), ((2, 3, 4), (2, 1, 0, 1), (2, 0)),
    ((1, 2, 3, 4), (1, 1, 2, 2), (-1, -2)),
)  # fmt: skip


@family("Pad")
def pads(op: str) -> Iterator[Variant]:
    for opset in versions(op):
        for mode in (None, "constant", "reflect", "edge", "wrap")[opset < versions(op)[-1] : 4 + (opset >= 19)]:
            attrs = {} if mode is None else {"mode": mode}
            rows = (*_PADS, *(_BEYOND if mode in ("wrap", "edge") else ()))
            for shape, amounts in some(op, opset, rows, 2):
                if opset < 11:
                    yield Variant(opset, [data(*shape)], {**attrs, "pads": amounts})
                else:
                    yield Variant(opset, [data(*shape), ints(*amounts)], attrs, constants=(1,))
            if opset >= 11 and mode in some(op, opset, ("constant", None, "wrap", "edge", "reflect"), 2):
                yield from _padded_by_operands(op, opset, attrs)
        if opset < 11:
            yield Variant(opset, [data(2, 3)], {"pads": (1, 0, 0, 1), "value": 1.5})
            yield Variant(opset, [data(2, 3)], {"pads": (1, 0, 0, 1), "value": -np.inf})


def _padded_by_operands(op: str, opset: int, attrs: Mapping[str, Any]) -> Iterator[Variant]:
    x, amounts = data(2, 3), ints(1, 0, 0, 1)
    if attrs.get("mode", "constant") == "constant":
        value = np.array(1.5, np.float32)
        for constants in some(op, opset, ((1, 2), (1,), (2,), ()), 2):
            yield Variant(opset, [x, amounts, value], attrs, constants=constants)
        for special in some(op, opset, (np.inf, -np.inf, np.nan), 1):
            yield Variant(opset, [x, amounts, np.array(special, np.float32)], attrs, constants=(1, 2))
        for dtype in some(op, opset, dtypes(op, opset), 2):
            for constants in some(op, opset, ((1, 2), (1,)), 1):
                y = data(2, 3, dtype=dtype, low=0, high=9)
                yield Variant(opset, [y, amounts, np.array(7, dtype)], attrs, constants=constants)
            yield Variant(opset, [y, amounts], attrs, constants=(1,))
    else:
        for dtype in some(op, opset, dtypes(op, opset), 1):
            yield Variant(opset, [data(4, 5, dtype=dtype, low=0, high=9), amounts], attrs, constants=(1,))
    yield Variant(opset, [x, amounts], attrs)
    yield Variant(opset, [x, amounts], attrs, constants=(0,))
    if opset >= 18:
        for shape, grown, axes in some(op, opset, _AXES, 1):
            for kind in some(op, opset, (np.int64, np.int32), 1):
                operands = [data(*shape), ints(*grown), None, np.array(axes, kind)]
                yield Variant(opset, operands, attrs, constants=(1, 3))
            yield Variant(opset, operands, attrs)


@family("ReverseSequence")
def reverse_sequence(op: str) -> Iterator[Variant]:
    for opset in versions(op):
        for time, batch in ((0, 1), (1, 0)):
            attrs = {"time_axis": time, "batch_axis": batch}
            for shape in ((4, 4), (4, 4, 2), (4, 4, 1, 2), (4, 4, 1, 2, 2)):
                for lengths in ((1, 2, 3, 4), (4, 4, 4, 4), (1, 1, 1, 1), (3, 1, 4, 2)):
                    yield Variant(opset, [data(*shape), ints(*lengths)], attrs)
                yield Variant(opset, [data(*shape), ints(2, 4, 1, 3)], attrs, constants=(1,))
                yield Variant(opset, [data(*shape), ints(2, 4, 1, 3)], attrs, constants=(0,))
            for dtype in dtypes(op, opset):
                yield Variant(opset, [data(4, 4, dtype=dtype, low=0, high=9), ints(2, 4, 1, 3)], attrs)
        yield Variant(opset, [data(3, 4), ints(2, 1, 3, 3)])
        yield Variant(opset, [data(2, 5), ints(3, 5)], {"time_axis": 1, "batch_axis": 0})


@family("Compress")
def compress(op: str) -> Iterator[Variant]:
    for opset in versions(op):
        for shape in ((4,), (3, 4), (2, 3, 2), (2, 1, 3, 2), (1, 2, 2, 1, 3)):
            for axis in (None, *range(-len(shape) if opset >= 11 else 0, len(shape))):
                size = int(np.prod(shape)) if axis is None else shape[axis]
                attrs = {} if axis is None else {"axis": axis}
                condition = np.arange(size) % 2 == 0
                yield Variant(opset, [data(*shape), condition], attrs, constants=(1,))
                if opset >= 11 and len(shape) < 3:
                    yield Variant(opset, [data(*shape), condition], attrs)
                    yield Variant(opset, [data(*shape), condition], attrs, constants=(0,))
        yield Variant(opset, [data(3, 4), np.array([False, True])], {"axis": 0}, constants=(1,))
        yield Variant(opset, [data(3, 4), np.array([False, True])], {"axis": 0})
        yield Variant(opset, [data(3, 4), np.array([True, False, True])], constants=(1,))
        for dtype in dtypes(op, opset):
            x = data(3, 2, dtype=dtype, low=0, high=9)
            yield Variant(opset, [x, np.array([True, False, True])], {"axis": 0}, constants=(1,))


@family("NonZero")
def non_zero(op: str) -> Iterator[Variant]:
    for opset in versions(op):
        for shape in ((5,), (3, 4), (2, 3, 2), (2, 1, 3, 2), (1, 2, 1, 3, 2)):
            x = (data(*shape) > 0).astype(np.float32)
            for constants in ((), (0,)):
                yield Variant(opset, [x], constants=constants)
        yield Variant(opset, [np.array([np.nan, 0, -0.0, np.inf, 1e-30], np.float32)])
        for dtype in dtypes(op, opset):
            yield Variant(opset, [np.array([[1, 0, 3], [0, 0, 4]], dtype)])


@family("Identity", "Dropout")
def unchanged(op: str) -> Iterator[Variant]:
    for opset in versions(op):
        for shape in some(op, opset, ((), (3,), (2, 3), (2, 3, 2), (2, 1, 3, 2), (1, 2, 1, 2, 3)), 2):
            yield Variant(opset, [data(*shape)])
            if op == "Dropout" and opset >= 12:  # before, nobody says what the mask is when nothing is dropped
                yield Variant(opset, [data(*shape)], outputs=2)
        for dtype in dtypes(op, opset):
            yield Variant(opset, [data(2, 3, dtype=dtype, low=0, high=9)])
        if op == "Identity":
            continue
        if opset < 12:
            for share in (0.0, 0.3):
                yield Variant(opset, [data(2, 3)], {"ratio": share})
            continue
        x = data(2, 3)
        for ratio in (None, np.array(0.3, np.float32), np.array(0.0, np.float32)):
            for training in ((), (np.array(False),)):
                operands = [x, ratio, *training]
                given = tuple(i for i, a in enumerate(operands) if i and a is not None)
                for constants in dict.fromkeys((given, ())):
                    for outputs in (1, 2):
                        yield Variant(opset, operands, {"seed": 3}, constants=constants, outputs=outputs)
        held = [x, np.array(0.0, np.float32), np.array(True)]
        yield Variant(opset, held, constants=(1, 2), outputs=2)
        yield Variant(opset, [*held[:2], np.array(False)], constants=(1,), outputs=2)
