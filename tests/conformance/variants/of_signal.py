"""Fourier transforms, and what puts windows together again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np

from coregraft.rewriter.types import Array
from tests.conformance.variants.variant import Variant, data, family, ints


def _number(value: int) -> Array:
    return np.array(value, np.int64)


@family("DFT")
def fourier(op: str) -> Iterator[Variant]:
    shapes = ((2, 8, 1), (2, 7, 2), (1, 5, 6, 2), (1, 5, 6, 1))
    for shape, axis, inverse, onesided in product(shapes, (1, -2), (0, 1), (0, 1)):
        if onesided and (inverse or shape[-1] == 2):  # the one is not defined, of the other onnxruntime has none
            continue
        attrs = {"inverse": inverse, "onesided": onesided}
        yield Variant(20, [data(*shape), None, _number(axis)], attrs, constants=[2])
        if axis > 0:
            yield Variant(17, [data(*shape)], {**attrs, "axis": axis})
    for length, axis in product((4, 8, 11), (1, -2)):
        yield Variant(20, [data(2, 8, 1), _number(length), _number(axis)], constants=[1, 2])
        yield Variant(20, [data(2, 8, 2), _number(length), _number(axis)], {"inverse": 1}, constants=[1, 2])
        yield Variant(17, [data(2, 8, 1), _number(length)], {"axis": 1, "onesided": 1}, constants=[1])
    yield Variant(20, [data(2, 6, 1, dtype=np.float64)])
    yield Variant(20, [data(2, 6, 1)])
    yield Variant(20, [data(2, 6, 1), _number(6), _number(1)])


@family("STFT")
def short_time(op: str) -> Iterator[Variant]:
    for length, step, frame, onesided in product((16, 21), (4, 5), (8, 7), (0, 1)):
        signal, window = data(2, length, 1), data(frame, low=0.1, seed=1)
        attrs = {"onesided": onesided}
        yield Variant(17, [signal, _number(step), window], attrs, constants=[1, 2])
        yield Variant(17, [signal, _number(step), window, _number(frame)], attrs, constants=[1, 2, 3])
        yield Variant(17, [signal, _number(step), None, _number(frame)], attrs, constants=[1, 3])
    yield Variant(17, [data(1, 16, 2), _number(4), data(8, low=0.1), _number(8)], {"onesided": 0}, constants=[1, 2, 3])
    yield Variant(17, [data(1, 16, 1), _number(4), data(8, low=0.1), _number(8)], constants=[1, 3])


@family("MelWeightMatrix")
def mel(op: str) -> Iterator[Variant]:
    for bins, length, rate, edges in product((3, 8), (16, 31), (8000, 22050), ((0.0, 4000.0), (200.0, 3000.0))):
        low, high = (np.array(e, np.float32) for e in edges)
        operands = [_number(bins), _number(length), _number(rate), low, high]
        yield Variant(17, operands, constants=[0, 1, 2, 3, 4])
        yield Variant(17, operands, constants=[0, 1, 2])


_COLUMNS: Sequence[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = (
    ((5, 5), (2, 2), {}), ((5, 5), (1, 5), {}), ((5, 5), (2, 2), {"strides": [2, 2], "pads": [1, 1, 0, 0]}),
    ((6, 6), (2, 2), {"dilations": [2, 1]}), ((5, 5), (3, 2), {"pads": [1, 0, 1, 2]}),
    ((4, 5, 6), (1, 2, 3), {}), ((4, 5, 6), (2, 2, 2), {"strides": [2, 1, 2], "pads": [0, 1, 0, 0, 0, 0]}),
    ((9,), (3,), {}), ((9,), (3,), {"strides": [2]}),
)  # fmt: skip


@family("Col2Im")
def image(op: str) -> Iterator[Variant]:
    for size, block, attrs in _COLUMNS:
        n = len(size)
        strides, dilations = attrs.get("strides", [1] * n), attrs.get("dilations", [1] * n)
        pads = attrs.get("pads", [0] * 2 * n)
        windows = [
            (size[i] + pads[i] + pads[n + i] - dilations[i] * (block[i] - 1) - 1) // strides[i] + 1 for i in range(n)
        ]
        x = data(2, 3 * int(np.prod(block)), int(np.prod(windows)))
        for constants in ([1, 2], []):
            yield Variant(18, [x, ints(*size), ints(*block)], attrs, constants=constants)


@family("MaxUnpool")
def unpool(op: str) -> Iterator[Variant]:
    for shape, kernel in (((1, 1, 2, 2), (2, 2)), ((1, 2, 3), (2,)), ((1, 1, 2, 2, 2), (2, 2, 2))):
        n, count = len(kernel), int(np.prod(shape))
        size = [(d - 1) * 2 + 2 for d in shape[2:]]
        places = np.arange(0, 2 * count, 2)[:count].reshape(shape)
        attrs = {"kernel_shape": list(kernel), "strides": [2] * n}
        for opset, constants in product((9, 11, 22), ([1], [])):
            yield Variant(opset, [data(*shape), places], attrs, constants=constants)
        larger = ints(*shape[:2], *(d + 1 for d in size))
        yield Variant(11, [data(*shape), places, larger], attrs, constants=[2])


@family("MaxRoiPool")
def regions(op: str) -> Iterator[Variant]:
    boxes = np.array([[0, 0, 0, 4, 4], [1, 1, 2, 5, 6], [0, 3, 3, 3, 3], [1, 0, 0, 7, 7]], np.float32)
    for pooled, scale, constants in product(([2, 2], [3, 2], [1, 1]), (1.0, 0.5), ([1], [])):
        attrs = {"pooled_shape": pooled, "spatial_scale": scale}
        yield Variant(7, [data(2, 3, 8, 8), boxes], attrs, constants=constants)


@family("TfIdfVectorizer")
def grams(op: str) -> Iterator[Variant]:
    pool = {"ngram_counts": [0, 4], "ngram_indexes": list(range(7)), "pool_int64s": [2, 3, 5, 4, 5, 6, 7, 8, 6, 7]}
    sentence, several = ints(1, 1, 3, 3, 3, 7, 8, 6, 7, 5, 6, 8), ints(1, 1, 3, 3, 3, 7, 8, 6, 7, 5, 6, 8).reshape(2, 6)
    ways = product(("TF", "IDF", "TFIDF"), (1, 2), (0, 1, 5), (sentence, several))
    for mode, least, skips, x in ways:
        attrs = {**pool, "mode": mode, "min_gram_length": least, "max_gram_length": 2, "max_skip_count": skips}
        yield Variant(9, [x], attrs)
        if mode != "TF":
            yield Variant(9, [x], {**attrs, "weights": [0.5, 1.0, 2.0, 1.5, 3.0, 0.25, 1.0]})
    attrs = {**pool, "mode": "TF", "min_gram_length": 1, "max_gram_length": 2, "max_skip_count": 0}
    yield Variant(9, [several.astype(np.int32)], attrs)


@family("Unique")
def unique(op: str) -> Iterator[Variant]:
    x = data(8, dtype=np.int32, low=0, high=4).astype(np.float32)
    # Only onnx's evaluator knows all element types, and it sorts always.
    for sort, dtype in ((0, np.float32), (0, np.int64), (1, np.float32), (1, np.int64), (1, np.int32), (1, np.uint8)):
        for outputs in (1, 4, (True, False, True, False)):
            yield Variant(11, [x.astype(dtype)], {"sorted": sort}, outputs=outputs)
    grid = data(4, 3, dtype=np.int32, low=0, high=1).astype(np.float32)
    for sort, axis in product((0, 1), (0, 1, -1)):
        yield Variant(11, [grid], {"sorted": sort, "axis": axis}, outputs=4)
    yield Variant(11, [grid], outputs=4)
    yield Variant(11, [np.full(5, 3, np.float32)], outputs=4)
    yield Variant(11, [np.array([2.0], np.float32)], outputs=4)


@family("BitCast")
def bits(op: str) -> Iterator[Variant]:
    floats = ((np.float32, 6), (np.int32, 1), (np.float16, 5))
    for dtype, to in (*floats, (np.uint8, 3), (np.int8, 2), (np.int16, 4), (np.uint32, 6)):
        for shape in ((4,), (2, 3)):
            yield Variant(26, [data(*shape, dtype=dtype, low=0, high=50)], {"to": to})
            yield Variant(26, [data(*shape, dtype=dtype, low=0, high=50)], {"to": to}, constants=[0])
