"""The quantising ops of ONNX itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np

from coregraft.rewriter.types import Array
from tests.conformance.variants.variant import Variant, data, family, versions

_BYTES: tuple[type[np.generic], ...] = (np.uint8, np.int8)
#: The element types that a tensor is quantised to, and the opset from which it can be.
_QUANTISED: Sequence[tuple[type[np.generic], int]] = ((np.uint8, 10), (np.int8, 10), (np.uint16, 21), (np.int16, 21))


def _whole(*shape: int, dtype: Any, seed: int = 0) -> Array:
    info = np.iinfo(dtype)
    return data(*shape, dtype=dtype, low=info.min, high=info.max, seed=seed)


def _f32(*values: float) -> Array:
    return np.array(values if len(values) != 1 else values[0], np.float32)


def _zeros(dtype: Any, *offsets: int) -> Array:
    middle = 0 if np.iinfo(dtype).min < 0 else np.iinfo(dtype).max // 2
    return np.array([middle + o for o in offsets] if len(offsets) != 1 else middle + offsets[0], dtype)


@family("QuantizeLinear")
def quantize(op: str) -> Iterator[Variant]:
    # Scales with few bits in them: quotients half-way between two integers are where they belong.
    for (dtype, first), shape in product(_QUANTISED, ((), (7,), (2, 3, 4))):
        x = data(*shape, low=-40, high=40)
        for opset in (v for v in versions(op) if v >= first):
            yield Variant(opset, [x, _f32(0.37), _zeros(dtype, 3)], constants=[1, 2])
        yield Variant(25, [x, _f32(0.37), _zeros(dtype, 3)])
        yield Variant(25, [x * 100, _f32(0.01), _zeros(dtype, -5)], constants=[1, 2])  # saturates
    ties = np.arange(-12, 13, dtype=np.float32) / 2
    special = np.array([np.inf, -np.inf, 0.0, -0.0], np.float32)
    for dtype, values in product(_BYTES, (ties, special)):
        yield Variant(21, [values, _f32(1), _zeros(dtype, 0)], constants=[1, 2])
    x = data(2, 3, 4, low=-9, high=9)
    yield Variant(21, [x, _f32(0.25)], constants=[1])
    for (dtype, first), axis in product(_QUANTISED, (0, 1, 2, -1, -2)):
        n = x.shape[axis]
        scale, zero = _f32(0.1, 0.25, 0.3, 0.7)[:n], _zeros(dtype, 1, -2, 3, 0)[:n]
        for constants in ([1, 2], []):
            yield Variant(max(first, 13), [x, scale, zero], {"axis": axis}, constants=constants)
    for dtype, (axis, block) in product((np.uint8, np.int8), ((1, 3), (2, 2), (0, 1))):
        blocks = [2, 3, 4]
        blocks[axis] = -(-blocks[axis] // block)
        scale = data(*blocks, low=0.1, high=0.5, seed=1)
        zero = data(*blocks, dtype=dtype, low=0, high=9, seed=2)
        yield Variant(21, [x, scale, zero], {"axis": axis, "block_size": block}, constants=[1, 2])
        yield Variant(21, [x, scale, zero], {"axis": axis, "block_size": block})
    for opset, kind, scale in ((21, np.float16, np.array(0.5, np.float16)), (13, np.int32, _f32(0.5))):
        yield Variant(opset, [data(2, 3, dtype=kind, low=-9, high=9), scale, _zeros(np.uint8, 1)], constants=[1, 2])
    yield Variant(21, [x, _f32(0.25)], {"output_dtype": 3}, constants=[1])
    yield Variant(21, [x, _f32(0.25)], {"output_dtype": 5}, constants=[1])


@family("DequantizeLinear")
def dequantize(op: str) -> Iterator[Variant]:
    for (dtype, first), shape in product(_QUANTISED, ((), (7,), (2, 3, 4))):
        x = _whole(*shape, dtype=dtype)
        for opset in (v for v in versions(op) if v >= first):
            yield Variant(opset, [x, _f32(0.37), _zeros(dtype, 3)], constants=[1, 2])
        yield Variant(25, [x, _f32(0.37), _zeros(dtype, 3)])
        yield Variant(25, [x, _f32(0.37)], constants=[1])
    for (dtype, first), axis, x_constant in product(_QUANTISED, (0, 1, 2, -1), ([], [0])):
        x = _whole(2, 3, 4, dtype=dtype)
        n = x.shape[axis]
        scale, zero = _f32(0.1, 0.25, 0.3, 0.7)[:n], _zeros(dtype, 1, -2, 3, 0)[:n]
        yield Variant(max(first, 13), [x, scale, zero], {"axis": axis}, constants=[1, 2, *x_constant])
        yield Variant(max(first, 13), [x, scale], {"axis": axis}, constants=x_constant)
    kinds = (np.uint8, np.int8, np.int16)
    for dtype, (axis, block), constants in product(kinds, ((1, 3), (2, 2), (0, 1)), ([1, 2], [])):
        blocks = [2, 3, 4]
        blocks[axis] = -(-blocks[axis] // block)
        scale = data(*blocks, low=0.1, high=0.5, seed=1)
        zero = data(*blocks, dtype=dtype, low=0, high=9, seed=2)
        operands = [_whole(2, 3, 4, dtype=dtype), scale, zero]
        yield Variant(21, operands, {"axis": axis, "block_size": block}, constants=constants)
    sums = data(2, 3, dtype=np.int32, low=-9999, high=9999)
    yield Variant(13, [sums, _f32(0.002)], constants=[1])
    yield Variant(13, [sums, _f32(0.002, 0.1, 3)], {"axis": 1}, constants=[1])
    yield Variant(21, [_whole(2, 3, dtype=np.int8), np.array(0.5, np.float16), _zeros(np.int8, 1)], constants=[1, 2])


@family("DynamicQuantizeLinear")
def dynamic(op: str) -> Iterator[Variant]:
    for shape in ((5,), (2, 3), (2, 3, 4), (1, 2, 3, 2)):
        yield Variant(11, [data(*shape, low=-3, high=5)], outputs=3)
        yield Variant(11, [data(*shape, low=1, high=5)], outputs=3)
        yield Variant(11, [data(*shape, low=-5, high=-1)], outputs=3)


def _parameters(dtype: Any, scale: float, offset: int) -> list[Array]:
    return [_f32(scale), _zeros(dtype, offset)]


@family("QLinearMatMul")
def matmul(op: str) -> Iterator[Variant]:
    shapes: Sequence[tuple[tuple[int, ...], tuple[int, ...]]] = (
        ((2, 3), (3, 4)), ((2, 2, 3), (3, 4)), ((2, 2, 3), (2, 3, 4)), ((3,), (3, 4)), ((2, 3), (3,)),
    )  # fmt: skip
    for (left, right), a, b in product(shapes, _BYTES, _BYTES):
        operands = [_whole(*left, dtype=a), *_parameters(a, 0.02, 3), _whole(*right, dtype=b, seed=1),
                    *_parameters(b, 0.013, -2), *_parameters(a, 0.21, 1)]  # fmt: skip
        for opset, constants in product((10, 21), ([1, 2, 4, 5, 6, 7], [1, 2, 3, 4, 5, 6, 7], [])):
            yield Variant(opset, operands, constants=constants)
    x, w = _whole(2, 3, dtype=np.uint8), _whole(3, 4, dtype=np.int8, seed=1)
    columns = [w, _f32(0.01, 0.02, 0.013, 0.03), _zeros(np.int8, 0, 1, -2, 5)]
    operands = [x, *_parameters(np.uint8, 0.02, 3), *columns, *_parameters(np.uint8, 0.21, 1)]
    yield Variant(10, operands, constants=[1, 2, 3, 4, 5, 6, 7])


@family("MatMulInteger")
def integer_matmul(op: str) -> Iterator[Variant]:
    for a, b, (left, right) in product(_BYTES, _BYTES, (((2, 3), (3, 4)), ((2, 2, 3), (2, 3, 4)), ((3,), (3, 2)))):
        x, w = _whole(*left, dtype=a), _whole(*right, dtype=b, seed=1)
        yield Variant(10, [x, w])
        for constants in ([2, 3], [1, 2, 3], []):
            yield Variant(10, [x, w, _zeros(a, 3), _zeros(b, -2)], constants=constants)
        yield Variant(10, [x, w, _zeros(a, 3)], constants=[2])
    x, w = _whole(2, 3, dtype=np.uint8), _whole(3, 4, dtype=np.int8, seed=1)
    yield Variant(10, [x, w, _zeros(np.uint8, 3), _zeros(np.int8, 0, 1, -2, 5)], constants=[1, 2, 3])


_CONVS: Sequence[dict[str, Any]] = (
    {}, {"pads": [1, 1, 1, 1]}, {"pads": [0, 1, 2, 0], "strides": [2, 1]}, {"dilations": [2, 2]},
    {"auto_pad": "SAME_UPPER"}, {"auto_pad": "SAME_LOWER", "strides": [2, 2]}, {"auto_pad": "VALID"}, {"group": 2},
)  # fmt: skip


def _conv(x_type: Any, w_type: Any, group: int) -> tuple[Array, Array]:
    return _whole(1, 4, 6, 7, dtype=x_type), _whole(4, 4 // group, 3, 2, dtype=w_type, seed=1)


@family("ConvInteger")
def integer_conv(op: str) -> Iterator[Variant]:
    for attrs, a, b in product(_CONVS, _BYTES, _BYTES):
        x, w = _conv(a, b, attrs.get("group", 1))
        yield Variant(10, [x, w, _zeros(a, 3)], attrs, constants=[1, 2])
        yield Variant(10, [x, w, _zeros(a, 3), _zeros(b, 0)], attrs, constants=[1, 2, 3])
    x, w = _conv(np.uint8, np.uint8, 1)
    yield Variant(10, [x, w])
    yield Variant(10, [x, w, _zeros(np.uint8, 3), _zeros(np.uint8, 2)], constants=[1, 2, 3])
    yield Variant(10, [_whole(1, 2, 9, dtype=np.uint8), _whole(3, 2, 3, dtype=np.uint8, seed=1)], constants=[1])


@family("QLinearConv")
def quantised_conv(op: str) -> Iterator[Variant]:
    rest = [1, 2, 3, 4, 5, 6, 7]
    for attrs, (a, b) in product(_CONVS, ((np.uint8, np.uint8), (np.uint8, np.int8), (np.int8, np.int8))):
        x, w = _conv(a, b, attrs.get("group", 1))
        # onnxruntime has no kernel for weights whose zero point differs from one output channel to the next. The scales
        # have no quotient that makes for ties.
        operands = [x, *_parameters(a, 0.02, 3), w, *_parameters(b, 0.011, 0), *_parameters(a, 0.2713, 4)]
        bias = data(4, dtype=np.int32, low=-3000, high=3000)
        yield Variant(10, [*operands, bias], attrs, constants=[*rest, 8])
        yield Variant(10, operands, attrs, constants=rest)
        each = [*operands[:4], _f32(0.01, 0.02, 0.013, 0.03), np.zeros(4, b), *operands[6:]]
        yield Variant(10, [*each, bias], attrs, constants=[*rest, 8])
    x, w = _conv(np.uint8, np.uint8, 1)
    weights = [w, *_parameters(np.uint8, 0.011, 0)]
    operands = [x, *_parameters(np.uint8, 0.02, 3), *weights, *_parameters(np.uint8, 0.2713, 4)]
    yield Variant(10, operands)
    yield Variant(10, operands, constants=[1, 2, 4, 5, 6, 7])
