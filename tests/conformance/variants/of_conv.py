"""Conv, ConvTranspose, DeformConv: every attribute in every number of spatial dims."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import numpy as np

from coregraft.rewriter.types import Array
from tests.conformance.variants.variant import Variant, data, family, versions

_AUTO = ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")
#: Spatial sizes of the data, by their number: no two alike, none even and odd only.
_SIZES = {1: (9,), 2: (7, 8), 3: (5, 6, 7)}
_KERNELS = {1: (3,), 2: (3, 2), 3: (2, 3, 3)}


def _conv(n: int, group: int = 1, kernel: tuple[int, ...] | None = None, channels: tuple[int, int] = (4, 6),
          dtype: Any = np.float32) -> tuple[Array, Array, Array]:  # fmt: skip
    """Data, weights and bias of a convolution."""
    inside, outside = channels
    x = data(2, inside, *_SIZES[n], dtype=dtype)
    w = data(outside, inside // group, *(kernel or _KERNELS[n]), dtype=dtype, seed=1)
    return x, w, data(outside, dtype=dtype, seed=2)


@family("Conv")
def convolution(op: str) -> Iterator[Variant]:
    for opset, n in product(versions(op), (1, 2, 3)):
        x, w, b = _conv(n)
        yield Variant(opset, [x, w], constants=[1])
        for constants in ((), (1,), (2,), (1, 2)):
            yield Variant(opset, [x, w, b], constants=constants)
    for n in (1, 2, 3):
        x, w, b = _conv(n)
        for attrs in _windows(n):
            yield Variant(11, [x, w, b], attrs, constants=[1, 2])
            if n != 3:
                yield Variant(11, [x, w], attrs)
        for group, channels in ((2, (4, 6)), (4, (4, 4)), (4, (4, 8))):
            x, w, b = _conv(n, group, channels=channels)
            attrs = {"group": group}
            yield Variant(11, [x, w, b], attrs, constants=[1, 2])
            yield Variant(11, [x, w], attrs)
            yield Variant(11, [x, w], {**attrs, "dilations": [2] * n, "pads": [1] * 2 * n}, constants=[1])
            yield Variant(11, [x, w], {**attrs, "strides": [2] * n, "auto_pad": "SAME_UPPER"}, constants=[1])
    for dtype, n in product((np.float16, np.float64), (1, 2)):
        for constants in ((), (1, 2)):
            yield Variant(11, [*_conv(n, dtype=dtype)], {"pads": [1] * 2 * n}, constants=constants)
    x, w, b = _conv(2, kernel=(1, 1))
    for attrs in ({}, {"strides": [2, 2]}, {"pads": [0, 1, 0, 1]}, {"dilations": [3, 3]}):
        yield Variant(11, [x, w, b], attrs, constants=[1, 2])
    x, w, b = _conv(2, kernel=(4, 4))
    for auto, strides in product(_AUTO[1:], ([1, 1], [1, 2], [3, 3])):
        yield Variant(11, [x, w, b], {"auto_pad": auto, "strides": strides}, constants=[1, 2])
    x, w, b = _conv(2)
    special = x.copy()
    special[0, 0, 3, 3:6] = np.nan, np.inf, -np.inf
    yield Variant(11, [special, w, b], constants=[1, 2])
    yield Variant(11, [data(1, 3, 5, 5), data(1, 3, 5, 5)], constants=[1])
    yield Variant(11, [w, data(2, 4, 2, 2), None], constants=[0])
    yield Variant(11, [data(0, 3, 5, 5), data(2, 3, 3, 3)], constants=[1])


def _windows(n: int) -> Iterator[Mapping[str, Any]]:
    """Attributes of a window that moves over ``n`` dims."""
    kernel, ramp = list(_KERNELS[n]), list(range(1, n + 1))
    yield {"kernel_shape": kernel}
    for strides, dilations in product(([1] * n, [2] * n, ramp), repeat=2):
        yield {"strides": strides, "dilations": dilations}
    for pads in ([1] * n * 2, [0] * n + [1] * n, [1] * n + [0] * n, [2, *[0] * (2 * n - 1)], [3] * 2 * n):
        yield {"pads": pads}
        yield {"pads": pads, "strides": [2] * n}
        yield {"pads": pads, "dilations": [2] * n}
    for auto in _AUTO:
        yield {"auto_pad": auto}
        yield {"auto_pad": auto, "strides": [2] * n, "kernel_shape": kernel}
        yield {"auto_pad": auto, "dilations": [2] * n}


@family("ConvTranspose")
def transposed(op: str) -> Iterator[Variant]:
    for opset, n in product(versions(op), (1, 2, 3)):
        x, w, b = _transposed(n)
        yield Variant(opset, [x, w], constants=[1])
        for constants in ((), (1,), (1, 2)):
            yield Variant(opset, [x, w, b], constants=constants)
    for n in (1, 2, 3):
        x, w, b = _transposed(n)
        for attrs in (*_windows(n), *_outputs(n)):
            yield Variant(11, [x, w, b], attrs, constants=[1, 2])
        for attrs in ({"strides": [2] * n}, {"pads": [1] * n * 2}, {"auto_pad": "SAME_LOWER", "strides": [2] * n}):
            yield Variant(11, [x, w, b], attrs)
            for group, channels in ((2, (4, 6)), (4, (4, 4)), (4, (4, 8))):
                grouped = {**attrs, "group": group}
                yield Variant(11, [*_transposed(n, group, channels=channels)], grouped, constants=[1, 2])
                yield Variant(11, [*_transposed(n, group, channels=channels)], grouped)
    for dtype in (np.float16, np.float64):
        for constants in ((), (1, 2)):
            yield Variant(11, [*_transposed(2, dtype=dtype)], {"strides": [2, 2]}, constants=constants)
    for kernel, stride in product(((1, 1), (2, 2), (4, 4), (5, 5)), (1, 2, 3)):
        x, w, b = _transposed(2, kernel=kernel)
        yield Variant(11, [x, w, b], {"strides": [stride] * 2}, constants=[1, 2])
        for auto in _AUTO[1:]:
            # Of a kernel smaller than its stride onnxruntime drops the end of a result of the size that ONNX asks for.
            if auto == "VALID" or kernel[0] >= stride:
                yield Variant(11, [x, w], {"strides": [stride] * 2, "auto_pad": auto}, constants=[1])


def _transposed(n: int, group: int = 1, kernel: tuple[int, ...] | None = None, channels: tuple[int, int] = (4, 6),
                dtype: Any = np.float32) -> tuple[Array, Array, Array]:  # fmt: skip
    inside, outside = channels
    x = data(2, inside, *(d - 2 for d in _SIZES[n]), dtype=dtype)
    w = data(inside, outside // group, *(kernel or _KERNELS[n]), dtype=dtype, seed=1)
    return x, w, data(outside, dtype=dtype, seed=2)


def _outputs(n: int) -> Iterator[Mapping[str, Any]]:
    """Attributes that set the size of a transposed convolution's result."""
    strides = [3] * n
    for padding in ([1] * n, [2] * n, [0] * (n - 1) + [1]):
        yield {"strides": strides, "output_padding": padding}
        yield {"strides": strides, "output_padding": padding, "pads": [1] * 2 * n}
        yield {"strides": strides, "output_padding": padding, "dilations": [2] * n}
    for more, auto in product((-1, 0, 1), _AUTO[:3]):
        shape = [(d - 3) * 3 + k + more for d, k in zip(_SIZES[n], _KERNELS[n], strict=True)]
        yield {"strides": strides, "output_shape": shape, "auto_pad": auto}
    shape = [(d - 3) * 3 + k for d, k in zip(_SIZES[n], _KERNELS[n], strict=True)]
    yield {"strides": strides, "output_shape": shape, "output_padding": [1] * n}


@family("DeformConv")
def deformable(op: str) -> Iterator[Variant]:
    for opset in versions(op):
        for constants in ((), (1,), (1, 3)):
            yield Variant(opset, _deformable(), constants=constants)
    for attrs in (
        {}, {"strides": [2, 1]}, {"strides": [2, 2]}, {"pads": [1, 1, 1, 1]}, {"pads": [0, 1, 2, 0]},
        {"dilations": [2, 1]}, {"dilations": [2, 2], "pads": [1, 1, 1, 1]}, {"kernel_shape": [3, 2]},
        {"group": 2}, {"offset_group": 2}, {"group": 2, "offset_group": 2, "strides": [2, 2]},
        {"group": 4}, {"offset_group": 4},
    ):  # fmt: skip
        x, w, offset, b, mask = _deformable(**attrs)
        for operands in ([x, w, offset], [x, w, offset, b], [x, w, offset, None, mask], [x, w, offset, b, mask]):
            yield Variant(19, operands, attrs, constants=[1])
    for scale in (0, 1, 8):  # none moves, some do, and some leave the image
        x, w, offset, b, mask = _deformable()
        yield Variant(19, [x, w, np.round(offset) * np.float32(scale), b, mask], constants=[1])
    for dtype in (np.float64, np.float16):
        yield Variant(19, [a.astype(dtype) for a in _deformable()], constants=[1, 3])


def _deformable(group: int = 1, offset_group: int = 1, **window: Any) -> list[Array]:
    size, kernel = (6, 7), (3, 2)
    pads = window.get("pads", [0] * 4)
    strides, dilations = window.get("strides", [1, 1]), window.get("dilations", [1, 1])
    spans = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    result = [(s + pads[i] + pads[i + 2] - spans[i]) // strides[i] + 1 for i, s in enumerate(size)]
    points = offset_group * kernel[0] * kernel[1]
    return [
        data(1, 4, *size), data(4, 4 // group, *kernel, seed=1), data(1, 2 * points, *result, seed=2),
        data(4, seed=3), data(1, points, *result, seed=4),
    ]  # fmt: skip
