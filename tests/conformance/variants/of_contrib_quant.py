"""The quantised ops of onnxruntime's own domain.

DynamicQuantizeLSTM is not among them: its road is within 5e-2 of the kernel, which rounds its states to 8 bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np

from coregraft.rewriter.types import Array
from tests.conformance.variants.variant import Variant, data, family

_KINDS: tuple[type[np.generic], ...] = (np.uint8, np.int8)


def _ms(*names: str) -> list[str]:
    return [f"com.microsoft::{name}" for name in names]


def _bytes(*shape: int, dtype: Any = np.uint8, seed: int = 0) -> Array:
    info = np.iinfo(dtype)
    return data(*shape, dtype=dtype, low=info.min, high=info.max, seed=seed)


def _f32(value: Any) -> Array:
    return np.array(value, np.float32)


def _zero(dtype: Any, offset: int = 0) -> Array:
    return np.array((128 if dtype is np.uint8 else 0) + offset, dtype)


def _one(x: Array, scale: float, offset: int = 3) -> list[Array]:
    """A quantised tensor with its scale and zero point."""
    return [x, _f32(scale), _zero(x.dtype.type, offset)]


@family(*_ms("QLinearAdd", "QLinearMul"))
def binary(op: str) -> Iterator[Variant]:
    parameters = (1, 2, 4, 5, 6, 7)
    for dtype, (left, right) in product(
        _KINDS, (((2, 3, 4), (2, 3, 4)), ((2, 3, 4), (4,)), ((3, 1), (1, 4)), ((2, 3), ()), ((), (5,)))
    ):  # fmt: skip
        a, b = _one(_bytes(*left, dtype=dtype), 0.0513), _one(_bytes(*right, dtype=dtype, seed=1), 0.0297, -5)
        scale = 0.0611 if op.endswith("Add") else 0.15  # no quotient of scales that makes for ties
        for constants in (parameters, ()):
            yield Variant(1, [*a, *b, _f32(scale), _zero(dtype, 2)], constants=constants)
        yield Variant(1, [*a, *b, _f32(scale), _zero(dtype, 2)], constants=[*parameters, 3])
        yield Variant(1, [*a, *b, _f32(scale / 4), _zero(dtype)], constants=parameters)  # saturates


@family(*_ms("QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax"))
def pointwise(op: str) -> Iterator[Variant]:
    styles: Sequence[dict[str, Any]] = ({},)
    if op.endswith("LeakyRelu"):
        styles = ({}, {"alpha": 0.1}, {"alpha": 0.5})
    if op.endswith("Softmax"):
        styles = tuple({"opset": n, "axis": a} for n in (11, 12, 13, 18) for a in (-1, 0, 1))
    for dtype, attrs in product(_KINDS, styles):
        x = _one(_bytes(2, 3, 4, dtype=dtype), 0.03)
        scale, zero = (1 / 256, _zero(dtype, -128)) if not op.endswith("LeakyRelu") else (0.04, _zero(dtype, 9))
        for constants in ((1, 2, 3, 4), ()):
            yield Variant(1, [*x, _f32(scale), zero], attrs, constants=constants)
        if not op.endswith("Softmax"):
            # Without the last zero point, which its schema has as optional, onnxruntime ends the process.
            yield Variant(1, [*x[:2], None, _f32(scale), zero], attrs, constants=[1, 3, 4])


@family(*_ms("QLinearAveragePool", "QLinearGlobalAveragePool"))
def means(op: str) -> Iterator[Variant]:
    for dtype in _KINDS:
        wide = _bytes(1, 3, 6, 7, dtype=dtype)
        end = [_f32(0.0397), _zero(dtype, 1)]
        for last in (0, 1):
            x = _one(np.moveaxis(wide, 1, -1).copy() if last else wide, 0.0513)
            if "Global" in op:
                yield Variant(1, [*x, *end], {"channels_last": last}, constants=[1, 2, 3, 4])
                yield Variant(1, [*x, *end], {"channels_last": last})
                continue
            for attrs in (
                {}, {"strides": [2, 2]}, {"pads": [1, 0, 1, 1]}, {"pads": [1, 1, 1, 1], "count_include_pad": 1},
                {"strides": [2, 2], "ceil_mode": 1}, {"auto_pad": "SAME_UPPER"}, {"auto_pad": "VALID"},
            ):  # fmt: skip
                given = {"kernel_shape": [3, 2], "channels_last": last, **attrs}
                yield Variant(1, [*x, *end], given, constants=[1, 2, 3, 4])


@family(*_ms("QLinearConcat", "QLinearWhere"))
def joined(op: str) -> Iterator[Variant]:
    for dtype in _KINDS:
        pieces = [_one(_bytes(2, n, 3, dtype=dtype, seed=n), 0.02 * n, n) for n in (1, 2, 3)]
        end = [_f32(0.05), _zero(dtype, 4)]
        if op.endswith("Concat"):
            for count, constants in product((1, 2, 3), ((0, 1), (0, 1, 3, 4, 6, 7, 9, 10), ())):
                operands = [*end, *(a for piece in pieces[:count] for a in piece)]
                here = [i for i in constants if i < len(operands)]
                for axis in (1, -2):
                    yield Variant(1, operands, {"axis": axis}, constants=here)
        else:
            for shape in ((2, 2, 3), (3,), (2, 1, 1), ()):
                choice = data(*shape, dtype=bool)
                for constants in ((2, 3, 5, 6, 7, 8), ()):
                    yield Variant(1, [choice, *pieces[1], *_one(pieces[1][0][:, :1], 0.1), *end], constants=constants)


@family(*_ms("QGemm"))
def gemm(op: str) -> Iterator[Variant]:
    for (kind, weight), flip_a, flip_b in product(
        ((np.uint8, np.int8), (np.uint8, np.uint8), (np.int8, np.int8)), (0, 1), (0, 1)
    ):  # fmt: skip
        a = _bytes(*((4, 3) if flip_a else (3, 4)), dtype=kind)
        b = _bytes(*((5, 4) if flip_b else (4, 5)), dtype=weight, seed=1)
        attrs: dict[str, Any] = {"transA": flip_a, "transB": flip_b}
        first = [*_one(a, 0.02), *_one(b, 0.01, 1)]
        c = data(5, dtype=np.int32, low=-500, high=500)
        end = [_f32(0.3), _zero(kind, 5)]
        for operands in (first, [*first, c], [*first, c, *end], [*first, None, *end]):
            here = [i for i in (1, 2, 3, 4, 5, 6, 7, 8) if i < len(operands) and operands[i] is not None]
            yield Variant(1, operands, attrs, constants=here)
            if not flip_a and not flip_b:
                yield Variant(1, operands, attrs)
        yield Variant(1, [*first, c], {**attrs, "alpha": 0.5}, constants=[1, 2, 3, 4, 5, 6])
        columns = [data(5, low=0.005, high=0.02), data(5, dtype=weight, low=0, high=9, seed=2)]
        per_column = [*first[:4], *columns, c, *end]
        yield Variant(1, per_column, attrs, constants=[1, 2, 3, 4, 5, 6, 7, 8])
    a, b = _bytes(3, 4), _bytes(4, 5, dtype=np.int8, seed=1)
    for shape in ((3, 5), (1, 5), (3, 1), (1,)):
        c = data(*shape, dtype=np.int32, low=-500, high=500)
        yield Variant(1, [*_one(a, 0.02), *_one(b, 0.01, 1), c], constants=[1, 2, 3, 4, 5, 6])


@family(*_ms("DynamicQuantizeMatMul", "MatMulIntegerToFloat"))
def matmuls(op: str) -> Iterator[Variant]:
    is_dynamic = op.endswith("::DynamicQuantizeMatMul")
    for batch, weight in product(((), (2,), (2, 3)), _KINDS):
        b = _bytes(4, 5, dtype=weight, seed=1)
        scales = (_f32(0.02), _f32([0.02]), data(5, low=0.01, high=0.03))
        for scale, zeroed, biased in product(scales, (False, True), (False, True)):
            zero = np.full(scale.shape, _zero(weight, 2), weight) if zeroed else None
            bias = data(5, seed=3) if biased else None
            if is_dynamic:
                operands: list[Array | None] = [data(*batch, 3, 4), b, scale, zero, bias]
            else:
                kind = np.uint8 if weight is np.int8 else weight
                a = _bytes(*batch, 3, 4, dtype=kind)
                operands = [a, b, _f32(0.03), scale, _zero(kind, 3) if zeroed else None, zero, bias]
            while operands[-1] is None:
                operands.pop()
            here = [i for i, x in enumerate(operands) if i and x is not None]
            yield Variant(1, operands, constants=here)
            if not batch:
                yield Variant(1, operands)
    if not is_dynamic:
        yield Variant(1, [_bytes(3, 4, dtype=np.int8), _bytes(4, 5, dtype=np.int8), _f32(0.1), _f32(0.2)])


@family(*_ms("MatMulNBits"))
def few_bits(op: str) -> Iterator[Variant]:
    for bits, block, features in ((4, 16, 32), (4, 32, 32), (4, 16, 40), (8, 16, 32), (8, 32, 32), (2, 16, 32)):
        outputs, blocks = 6, -(-features // block)
        w = _bytes(outputs, blocks, block * bits // 8, seed=1)
        scales = data(outputs, blocks, low=0.01, high=0.1, seed=2)
        row = -(-blocks * bits // 8)
        packed, plain = _bytes(outputs, row, seed=3), data(outputs, blocks, low=0, high=(1 << bits) - 1, seed=3)
        attrs: dict[str, Any] = {"K": features, "N": outputs, "bits": bits, "block_size": block}
        for x in (data(3, features), data(2, 3, features), data(1, features)):
            yield Variant(1, [x, w, scales], attrs, constants=[1, 2])
            yield Variant(1, [x, w, scales, packed], attrs, constants=[1, 2, 3])
            yield Variant(1, [x, w, scales, plain], attrs, constants=[1, 2, 3])
            biased = [x, w, scales, packed, None, data(outputs, seed=4)]
            yield Variant(1, biased, attrs, constants=[1, 2, 3, 5])
        flat = [data(3, features), w, scales.reshape(-1), packed.reshape(-1)]
        yield Variant(1, flat, attrs, constants=[1, 2, 3])
        order = np.arange(features, dtype=np.int32) // block
        for group in (order, np.roll(order, 3)):
            yield Variant(1, [data(3, features), w, scales, None, group], attrs, constants=[1, 2, 4])
        yield Variant(1, [data(3, features), w, scales, packed, order], attrs, constants=[1, 2, 3, 4])
        yield Variant(1, [data(3, features), w, scales], {**attrs, "accuracy_level": 1}, constants=[1, 2])


@family(*_ms("MatMulBnb4"))
def bnb4(op: str) -> Iterator[Variant]:
    for kind, block, batch in product((0, 1), (16, 32), ((3,), (2, 3))):
        features, outputs = 32, 6
        w = _bytes(features * outputs // 2, seed=1)
        most = data(features * outputs // block, low=0.1, high=2, seed=2)
        attrs = {"K": features, "N": outputs, "block_size": block, "quant_type": kind}
        yield Variant(1, [data(*batch, features), w, most], attrs, constants=[1, 2])


@family(*_ms("GatherBlockQuantized"))
def table(op: str) -> Iterator[Variant]:
    for bits, axis, zeroed in product((4, 8, 2), (0, 1), (False, True)):
        width, block = 32, 16
        shape = (5, 4) if axis else (5,)
        quantised = _bytes(*shape, width * bits // 8, seed=1)
        scales = data(*shape, width // block, low=0.01, high=0.1, seed=2)
        zeros = [_bytes(*shape, -(-width // block * bits // 8), seed=3)] if zeroed else []
        last = len(shape)
        for gather, indices in product(
            (0,), (np.array([0, 3, 1]), np.array([[2, 0]], np.int32), np.array([-1, 2]))
        ):  # fmt: skip
            attrs = {"bits": bits, "block_size": block, "gather_axis": gather, "quantize_axis": last}
            for constants in ((0, 2, 3)[: 2 + zeroed], (0, 1, 2, 3)[: 3 + zeroed]):
                yield Variant(1, [quantised, indices, scales, *zeros], attrs, constants=constants)


@family(*_ms("QuantizeLinear", "DequantizeLinear"))
def linear(op: str) -> Iterator[Variant]:
    for dtype, (scale, zero) in product(_KINDS, ((_f32(0.1), 3), (_f32([0.1]), 3), (data(4, low=0.05, high=0.2), 3))):
        point = np.full(scale.shape, _zero(dtype, zero), dtype)
        x = data(2, 4, 3, low=-20, high=20) if "::Q" in op else _bytes(2, 4, 3, dtype=dtype)
        attrs = {"axis": 1} if scale.size > 1 else {}
        for constants in ((1, 2), ()):
            yield Variant(1, [x, scale, point], attrs, constants=constants)
        if "::D" in op or dtype is np.uint8:
            yield Variant(1, [x, scale], attrs, constants=[1])


@family(*_ms("QLinearConv"))
def conv(op: str) -> Iterator[Variant]:
    for last, weight in product((0, 1), _KINDS):
        x = _bytes(1, 4, 6, 7)
        x = np.moveaxis(x, 1, -1).copy() if last else x
        w, b = _bytes(6, 4, 3, 2, dtype=weight, seed=1), data(6, dtype=np.int32, low=-900, high=900)
        first = [*_one(x, 0.02), *_one(w, 0.01, 0), _f32(0.5), _zero(np.uint8, 4)]
        for attrs in ({}, {"strides": [2, 1]}, {"pads": [1, 0, 0, 1]}, {"dilations": [2, 1]}, {"auto_pad": "VALID"}):
            given = {"channels_last": last, **attrs}
            yield Variant(1, first, given, constants=range(1, 8))
            yield Variant(1, [*first, b], given, constants=range(1, 9))
