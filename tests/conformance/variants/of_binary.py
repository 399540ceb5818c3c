"""Functions of two tensors, element by element, and the variadic ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from coregraft.rewriter.types import Array
from tests.conformance.variants.variant import Variant, data, dtypes, family, some, versions

_SHAPES = (
    ((), ()), ((), (3,)), ((2, 3), ()), ((2, 3), (2, 3)), ((2, 3), (3,)), ((3, 1), (1, 4)), ((1,), (2, 3, 1)),
    ((2, 3, 2), (3, 1)), ((2, 1, 3, 1), (1, 2, 1, 3)), ((2, 3, 2, 3), (3, 1, 1)), ((2, 1, 2, 1, 2), (2, 1)),
)  # fmt: skip
#: Each of them meets each.
_MET = (np.nan, np.inf, -np.inf, -0.0, 0.0, 1.0, -1.0, 2.5, -2.5, 3.0, -3.0)
_CONSTANTS = ((), (0,), (1,))


def meeting(values: Array) -> list[Array]:
    """Two operands in which each value meets each."""
    return [np.repeat(values, len(values)), np.tile(values, len(values))]


def _numbers(dtype: Any, *, over: bool = False) -> Array:
    """Numbers of a type at which ops part ways; none is 0 where another is divided by it."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return np.array(_MET).astype(dtype)
    if kind.kind == "b":
        return np.array([False, True])
    held = np.iinfo(dtype)
    wide = (-(2**24), 2**24) if held.bits >= 32 else (held.min, held.max)
    values = [v for v in (wide[0], -7, -3, -2, -1, 0, 1, 2, 3, 7, 100, wide[1]) if v >= held.min and (v or not over)]
    return np.array(values).astype(dtype)


def _plain(dtype: Any, *shape: int, seed: int = 0, low: float = -5, high: float = 5) -> Array:
    unsigned = np.dtype(dtype).kind == "u"
    return data(*shape, dtype=dtype, low=max(low, 0) if unsigned else low, high=high, seed=seed)


def _not_zero(array: Array) -> Array:
    return np.where(array == 0, np.ones_like(array), array)


def _broadcast(op: str, opset: int, dtype: Any, **attrs: Any) -> Iterator[Variant]:
    """Shapes that meet; all of them in the newest version."""
    for i, (left, right) in enumerate(some(op, opset, _SHAPES)):
        operands = [_plain(dtype, *left), _not_zero(_plain(dtype, *right, seed=1))]
        for constants in ((), (i % 2,)):
            yield Variant(opset, operands, attrs, constants=constants)


@family("Add", "Sub", "Mul", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
def arithmetic(op: str) -> Iterator[Variant]:
    for opset in versions(op):
        kinds = dtypes(op, opset)
        yield from _broadcast(op, opset, np.float32 if np.float32 in kinds else np.int32)
        if np.int32 in kinds:
            yield from _broadcast(op, opset, np.int32)
        for dtype in kinds:
            operands = meeting(_numbers(dtype))
            if op == "Div" and np.dtype(dtype).kind != "f":
                operands = meeting(_numbers(dtype, over=True))
            if op == "Mul" and np.dtype(dtype).itemsize >= 4 and np.dtype(dtype).kind != "f":
                operands = [np.clip(a, -4000, 4000) if a.dtype.kind == "i" else np.minimum(a, 4000) for a in operands]
            if op == "Sub" and np.dtype(dtype).kind == "u" and np.dtype(dtype).itemsize >= 4:
                operands[0] = np.maximum(*operands)  # below 0 they wrap around beyond int32
            for constants in some(op, opset, _CONSTANTS, 1):
                yield Variant(opset, operands, constants=constants)


@family("Mod")
def remainder(op: str) -> Iterator[Variant]:
    for opset in versions(op):
        yield from _broadcast(op, opset, np.int32)
        yield from _broadcast(op, opset, np.float32, fmod=1)
        for dtype in dtypes(op, opset):
            floats = np.dtype(dtype).kind == "f"
            operands = meeting(_numbers(dtype, over=not floats))
            if floats:
                operands = meeting(np.array([-7.5, -5, -2.5, -0.25, 0.25, 2.5, 5, 7.5]).astype(dtype))
            for fmod in (1,) if floats else (0, 1):
                for constants in some(op, opset, _CONSTANTS, 1):
                    yield Variant(opset, operands, {"fmod": fmod}, constants=constants)
        for value in (np.inf, np.nan):
            yield Variant(opset, meeting(np.array([value, 2.0, -3.0], np.float32)), {"fmod": 1})


@family("BitwiseAnd", "BitwiseOr", "BitwiseXor")
def bits(op: str) -> Iterator[Variant]:
    for opset in versions(op):
        yield from _broadcast(op, opset, np.int32)
        for dtype in dtypes(op, opset):
            for constants in _CONSTANTS:
                yield Variant(opset, meeting(_numbers(dtype)), constants=constants)


@family("BitShift")
def shifts(op: str) -> Iterator[Variant]:
    for opset in versions(op):
        for dtype in dtypes(op, opset):
            width = np.dtype(dtype).itemsize * 8
            for direction in ("LEFT", "RIGHT"):
                x = _numbers(dtype)
                if direction == "LEFT" and width >= 32:
                    x = np.clip(x, 0 if np.dtype(dtype).kind == "u" else -7, 7)
                by = np.array([0, 1, 3, min(width - 1, 20)]).astype(dtype)
                for constants in _CONSTANTS:
                    yield Variant(opset, [x[:, None], by], {"direction": direction}, constants=constants)
                yield Variant(opset, [x, np.array(2, dtype)], {"direction": direction})


@family("Pow")
def powers(op: str) -> Iterator[Variant]:
    for opset in versions(op):
        yield from _broadcast(op, opset, np.float32)
        for base in some(op, opset, dtypes(op, opset)):
            for exponent in dtypes(op, opset, 1) if opset > 7 else [base]:
                yield from _powers(opset, base, exponent)
        if opset < versions(op)[-1]:
            continue
        for e in (0, 1, 2, 3, -1, -2, 0.5, -0.5, 1.5, 0.3, -0.3, 7, 65, 2.5, np.inf, np.nan):
            x = np.array([0.25, 0.5, 1, 1.5, 2, 3, 0.0, -1, -2], np.float32)
            yield Variant(opset, [x, np.array(e, np.float32)], constants=(1,))
            yield Variant(opset, [x, np.full(9, e, np.float32)], constants=(1,))
        for base in (0.0, 1.0, 2.0, 10.0, -2.0):
            yield Variant(opset, [np.array(base, np.float32), data(2, 3).round()], constants=(0,))
            yield Variant(opset, [np.array(base, np.float32), data(2, 3)], constants=(0,))


def _powers(opset: int, base: Any, exponent: Any) -> Iterator[Variant]:
    low = 0 if np.dtype(exponent).kind == "u" or np.dtype(base).kind in "iu" else -3
    x = np.array([1, 2, 3, 5]) if np.dtype(base).kind == "u" else np.array([-3, -1, 1, 2, 4])
    operands = [x.astype(base)[:, None], np.arange(low, 4).astype(exponent)]
    for constants in ((), (1,)):
        yield Variant(opset, operands, constants=constants)
    if np.dtype(base).kind == "f" and np.dtype(exponent).kind == "f":
        # A base of -0 or -inf is taken for a negative number, or 0: what C makes of their odd powers and roots is not.
        left, right = meeting(np.array([0, 1, -1, 2, -2, 0.5, 3, np.inf, -np.inf, np.nan]))
        left = np.where(np.isneginf(left), -0.5, left)
        yield Variant(opset, [left.astype(base), right.astype(exponent)])


@family("Max", "Min", "Sum", "Mean")
def variadic(op: str) -> Iterator[Variant]:
    for opset in versions(op):
        yield from _broadcast(op, opset, np.float32)
        yield Variant(opset, [data(2, 3)])
        yield Variant(opset, [data(2, 3)], constants=(0,))
        yield Variant(opset, [data(2, 3), data(2, 3, seed=1), data(2, 3, seed=2), data(2, 3, seed=3)], constants=(2,))
        yield Variant(opset, [data(3), data(2, 1, seed=1), data(seed=2)])
        yield Variant(opset, [data(2, 1, 3), data(4, 1, seed=1), data(3, seed=2)], constants=(1,))
        yield Variant(opset, [data(seed=i) for i in range(3)])
        for dtype in dtypes(op, opset):
            values = _numbers(dtype)
            yield Variant(opset, [values])
            for constants in _CONSTANTS:
                yield Variant(opset, meeting(values), constants=constants)
            yield Variant(opset, [*meeting(values), _plain(dtype, len(values) ** 2)])


@family("Where")
def selection(op: str) -> Iterator[Variant]:
    shapes = (
        ((), (), ()), ((3,), (), ()), ((), (3,), ()), ((), (), (3,)), ((2, 3), (2, 3), (2, 3)), ((2, 1), (3,), ()),
        ((1, 3), (2, 1), (2, 3)), ((2, 1, 1), (3, 1), (4,)), ((2, 3, 1, 1), (1, 1, 2, 2), (2, 3, 2, 2)),
        ((1,), (2, 1, 2, 1, 2), (2, 1)), ((3,), (2, 3), (2, 3)), ((2, 3), (3,), (3,)),
    )  # fmt: skip
    for opset in versions(op):
        for cond, x, y in some(op, opset, shapes):
            operands = [data(*cond, dtype=bool), data(*x, seed=1), data(*y, seed=2)]
            for constants in ((), (0,), (1, 2)):
                yield Variant(opset, operands, constants=constants)
        for dtype in dtypes(op, opset, 1):
            operands = [data(2, 3, dtype=bool), _plain(dtype, 2, 3, seed=1), _plain(dtype, 3, seed=2)]
            for constants in ((), (1,), (2,)):
                yield Variant(opset, operands, constants=constants)
        strange = np.array([np.nan, np.inf, -np.inf, 1], np.float32)
        yield Variant(opset, [np.array([True, False, True, False]), strange, strange[::-1].copy()])


@family("PRelu")
def slopes(op: str) -> Iterator[Variant]:
    shapes = (
        ((), ()), ((3,), (3,)), ((3,), (1,)), ((2, 3), (3,)), ((2, 3), ()), ((2, 3), (2, 1)), ((2, 3, 4), (3, 1)),
        ((2, 3, 4, 2), (3, 1, 1)), ((2, 3, 4, 2), (1,)), ((2, 3, 4, 2), (1, 3, 1, 1)), ((2, 3, 4, 2), (2,)),
        ((2, 3, 4, 2), (2, 3, 4, 2)), ((2, 3, 2, 2, 2), (3, 1, 1, 1)),
    )  # fmt: skip
    for opset in versions(op):
        for shape, slope in some(op, opset, shapes):
            for constants in ((), (1,)):
                yield Variant(opset, [data(*shape), data(*slope, seed=1)], constants=constants)
        for dtype in dtypes(op, opset):
            for constants in ((), (1,)):
                operands = [_plain(dtype, 2, 3, 2, 2), _plain(dtype, 3, 1, 1, seed=1)]
                yield Variant(opset, operands, constants=constants)
        x = np.array([np.nan, np.inf, -np.inf, -0.0, -1, 1], np.float32)
        for number in (0.0, 1.0, 2.0, -1.0):
            yield Variant(opset, [x, np.array([number], np.float32)], constants=(1,))
            yield Variant(opset, [x, np.array([number], np.float32)])


@family("Clip")
def clip(op: str) -> Iterator[Variant]:
    yield from _clip_by_attributes()
    for opset in versions(op, oldest=11):
        for dtype in some(op, opset, dtypes(op, opset), 2):
            # A bound left out is none to ONNX's function, and the largest number to onnxruntime: no infinities here.
            x = _numbers(dtype)
            x = x[~np.isinf(x)]
            low, high = np.array(1, dtype), np.array(3, dtype)
            for operands in ([x], [x, low], [x, None, high], [x, low, high], [x, high, low], [x, low, low]):
                given = tuple(i for i, a in enumerate(operands) if i and a is not None)
                for constants in dict.fromkeys(((), given)):
                    yield Variant(opset, operands, constants=constants)
        x = data(2, 3, 2, low=-9, high=9)
        limits = np.finfo(np.float32)
        for bounds in ((0, 6), (0,), (-np.inf, 1), (-1, np.inf), (limits.min, limits.max)):
            held = [x, *(np.array(bound, np.float32) for bound in bounds)]
            yield Variant(opset, held, constants=tuple(range(1, len(held))))
            yield Variant(opset, held)
        yield Variant(opset, [data(), np.array(-1, np.float32), np.array(1, np.float32)], constants=(1, 2))
        strange = np.array([np.nan, np.inf, -np.inf, -0.0], np.float32)
        yield Variant(opset, [strange, np.array(-1, np.float32), np.array(1, np.float32)], constants=(1, 2))


def _clip_by_attributes() -> Iterator[Variant]:
    plain = [data(*shape, low=-9, high=9) for shape in ((), (2, 3), (1, 2, 3, 2))]
    strange = np.array([np.nan, 60000, -60000, -0.0, 5])
    for x in (*plain, strange.astype(np.float32), strange.astype(np.float16)):
        for attrs in ({}, {"min": 0.0}, {"max": 1.0}, {"min": -1.0, "max": 1.0}, {"min": 0.0, "max": 6.0}):
            yield Variant(7, [x], attrs)
    yield Variant(7, [data(3, low=-9, high=9)], {"min": 2.0, "max": -2.0})
