"""Pooling: AveragePool, MaxPool, LpPool and their global forms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import numpy as np

from tests.conformance.variants.variant import Variant, data, family, some, versions

_AUTO = ("SAME_UPPER", "SAME_LOWER", "VALID")
_SIZES = {1: (9,), 2: (7, 8), 3: (5, 6, 7)}
_KERNELS = {1: [3], 2: [3, 2], 3: [2, 3, 3]}
#: Opset from which windows have dilations, and from which the last one may be incomplete.
_DILATED = {"AveragePool": 19, "MaxPool": 10, "LpPool": 18}
_CEILED = {"AveragePool": 10, "MaxPool": 10, "LpPool": 18}


@family("AveragePool", "MaxPool", "LpPool")
def pools(op: str) -> Iterator[Variant]:
    own = {"AveragePool": ({}, {"count_include_pad": 1}), "LpPool": ({}, {"p": 1}, {"p": 3}), "MaxPool": ({},)}[op]
    for opset, n, attrs in product(versions(op), (1, 2, 3), own):
        x, kernel = data(2, 3, *_SIZES[n]), {"kernel_shape": _KERNELS[n]}
        yield Variant(opset, [x], {**kernel, **attrs})
        yield Variant(opset, [x], {**kernel, **attrs, "strides": [2] * n})
        yield Variant(opset, [x], {**kernel, **attrs, "pads": [1] * n + [0] * n, "strides": [2] * n})
    newest = versions(op)[-1]
    for i, (n, attrs) in enumerate(product((1, 2, 3), own)):  # each takes its share of the windows in 1 and 3 dims
        windows = list(_windows(n, ceiled=True, dilated=True))
        for window in windows if n == 2 and not attrs else windows[i % 4 :: 4]:
            yield Variant(newest, [data(1, 2, *_SIZES[n])], {"kernel_shape": _KERNELS[n], **attrs, **window})
    for i, opset in enumerate(versions(op)[:-1]):
        windows = list(_windows(2, ceiled=opset >= _CEILED[op], dilated=opset >= _DILATED[op]))
        for j, window in enumerate(windows[i % 6 :: 6]):
            attrs = own[j % len(own)]
            yield Variant(opset, [data(1, 2, *_SIZES[2])], {"kernel_shape": _KERNELS[2], **attrs, **window})
    for dtype in (np.float16, np.float64, *((np.int8, np.uint8) if op == "MaxPool" else ())):
        for padding in ({}, {"pads": [1, 1, 0, 0]}):
            halved: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [2, 2], **padding}
            yield Variant(newest, [data(1, 2, 5, 6, dtype=dtype, low=0, high=9)], halved)
    special = data(1, 1, 6, 6)
    special[0, 0, 1, 1:4] = np.inf, -np.inf, np.nan
    for window in ({}, {"pads": [1, 1, 1, 1]}, {"strides": [2, 2], "ceil_mode": 1}):
        yield Variant(newest, [special], {"kernel_shape": [2, 2], **window})
        yield Variant(newest, [np.full((1, 1, 6, 6), -np.inf, np.float32)], {"kernel_shape": [2, 2], **window})
    for sized in (1, 5):
        kernel = {"kernel_shape": [sized, sized]}
        yield Variant(newest, [data(1, 2, 6, 5)], kernel)
        yield Variant(newest, [data(1, 2, 6, 5)], {**kernel, "strides": [3, 3]})


def _windows(n: int, *, ceiled: bool, dilated: bool) -> Iterator[Mapping[str, Any]]:
    """Attributes of a window that moves over ``n`` dims."""
    modes = ({}, {"ceil_mode": 1}) if ceiled else ({},)
    spread = ({}, {"dilations": [2] * n}) if dilated else ({},)
    pads = ([0] * 2 * n, [1] * 2 * n, [1] * n + [0] * n, [0] * n + [1] * n)
    for pad, stride, mode, dilation in product(pads, (1, 2, 3), modes, spread):
        yield {"pads": pad, "strides": [stride] * n, **mode, **dilation}
    for auto, stride, mode in product(_AUTO, (1, 2, 3), modes):
        yield {"auto_pad": auto, "strides": [stride] * n, **mode}
    for auto in _AUTO if dilated else ():
        yield {"auto_pad": auto, "dilations": [2] * n}


@family("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def global_pools(op: str) -> Iterator[Variant]:
    powers: tuple[Mapping[str, Any], ...] = ({}, {"p": 1}, {"p": 2}, {"p": 3}) if op == "GlobalLpPool" else ({},)
    shapes = ((2, 3, 5), (2, 3, 5, 4), (1, 2, 3, 4, 5), (1, 2, 1, 1), (2, 3, 1, 7))
    for opset in versions(op):
        for shape, attrs in some(op, opset, list(product(shapes, powers))):
            yield Variant(opset, [data(*shape)], attrs)
    for dtype in (np.float16, np.float64):
        yield Variant(versions(op)[-1], [data(2, 3, 5, 4, dtype=dtype)])
    special = data(1, 4, 2, 2)
    special[0, :2, 0, 0] = np.inf, -np.inf  # which of a number and nan is greater, kernels leave to chance
    yield Variant(versions(op)[-1], [special])
