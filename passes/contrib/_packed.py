"""Weights of a few bits each, packed into bytes."""

from __future__ import annotations

import numpy as np

from coregraft.rewriter.types import Array, Const, DType

#: The 16 values of the NF4 and FP4 codes of bitsandbytes, by code.
NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip
_FP4_HALF = (0.0, 5.208333333e-03, 0.66666667, 1.0, 0.33333333, 0.5, 0.16666667, 0.25)
FP4 = (*_FP4_HALF, *(-v for v in _FP4_HALF))


def unpacked(data: Array, bits: int) -> Array:
    """The elements of packed bytes along the last axis, the lowest bits of a byte first; uint8."""
    if bits == 8:
        return data
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    elements = (data[..., None] >> shifts) & np.uint8((1 << bits) - 1)
    return elements.reshape(*data.shape[:-1], -1)


def stored(values: Array, bits: int) -> Const:
    """Small integers in the smallest type of ONNX that Core ML's compressed constants have too: 4 or 8 bits."""
    return Const.of(values, DType.UINT4 if bits <= 4 else DType.UINT8)
