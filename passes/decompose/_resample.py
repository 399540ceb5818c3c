"""ONNX Resize by axis: which input elements an output element reads, and with which weights.

Coordinates are computed in fp32, operation by operation as onnxruntime does, so that the same element is taken where
one lies on a boundary. Scales and crops are numbers, or expressions of what is only known at run time; then so are the
results.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from coregraft.rewriter.types import Array, Dim

_ZERO, _HALF, _ONE = np.float32(0), np.float32(0.5), np.float32(1)
#: Coordinates this close to the middle of two elements lie in the middle, where onnxruntime rounds them.
_TIE = np.float32(1e-6)


@dataclass(frozen=True)
class Axis:
    """One axis of a Resize.

    Attributes:
        index: which axis.
        size, out: elements before and after.
        scale: ONNX's scale, which is not always ``out / size``; fp32, or an expression of one element.
        roi: start and end of the crop of ``tf_crop_and_resize``, 0 and 1 without one; as ``scale``.
    """

    index: int
    size: int
    out: int
    scale: Any
    roi: tuple[Any, Any] = (_ZERO, _ONE)


@dataclass(frozen=True)
class Mode:
    """The attributes of Resize that decide on weights."""

    interpolation: str
    coordinates: str
    rounding: str
    cubic_a: float
    exclude_outside: bool
    antialias: bool


def axes_of(
    shape: Sequence[Dim],
    chosen: Sequence[int],
    scales: Array | None,
    sizes: Array | None,
    policy: str,
    roi: Array | None,
) -> list[Axis] | str:
    """The axes that a Resize may change; a string is the reason why they cannot be told.

    Args:
        shape: of the input; only axes that are resized need a number.
        chosen: the axes that ``scales``, ``sizes`` and ``roi`` speak of.
        policy: ``keep_aspect_ratio_policy``.
    """
    given = scales if scales is not None and scales.size else sizes
    if given is None or len(given) != len(chosen):
        return "it has neither scales nor sizes for every axis"
    crops = _crops(roi, len(chosen))
    found = []
    for position, index in enumerate(chosen):
        size = shape[index]
        if not isinstance(size, int):
            if given is scales and scales[position] == 1 and crops[position] == (0.0, 1.0):
                continue
            return f"the size of axis {index} is not known"
        if given is scales:
            scale = np.float32(scales[position])
            out = int(np.floor(np.float32(size) * scale))
        else:
            out = int(given[position])
            scale = np.float32(out) / np.float32(size)
        found.append(Axis(index, size, out, scale, crops[position]))
    if given is scales or policy == "stretch":
        return found
    common = (min if policy == "not_larger" else max)(axis.scale for axis in found)
    return [Axis(a.index, a.size, int(np.floor(a.size * common + 0.5)), common, a.roi) for a in found]


def coordinates(axis: Axis, mode: str) -> Any:
    """Where each output element lies on the input's axis, fp32[out]."""
    i = np.arange(axis.out, dtype=np.float32)
    size, out, scale = np.float32(axis.size), np.float32(axis.out), axis.scale
    if mode == "asymmetric":
        return i / scale
    if mode == "align_corners":
        return i * (size - 1) / (out - 1) if axis.out > 1 else np.zeros_like(i)
    if mode == "tf_crop_and_resize":
        start, end = axis.roi
        if axis.out == 1:
            return (start + end) * _HALF * (size - 1) + i
        return start * (size - 1) + i * (end - start) * (size - 1) / (out - 1)
    if mode == "pytorch_half_pixel" and axis.out == 1:
        return np.zeros_like(i)
    if mode == "tf_half_pixel_for_nn":
        return (i + _HALF) / scale
    if mode == "half_pixel_symmetric":  # onnxruntime divides in double precision here, and only here
        offset = size / 2 * (1 - out / (scale * size))
        return (offset + (i.astype(np.float64) + 0.5) / scale - 0.5).astype(np.float32)
    return (i + _HALF) / scale - _HALF


def nearest(axis: Axis, mode: Mode) -> Any:
    """The input element that each output element copies, int64[out]."""
    at = coordinates(axis, mode.coordinates)
    low = np.floor(at)
    if mode.rounding == "floor":
        rounded = low
    elif mode.rounding == "ceil":
        rounded = np.ceil(at)
    else:
        past = at - low - _HALF
        up = past > _TIE if mode.rounding == "round_prefer_floor" else past >= -_TIE
        rounded = np.where(up, low + _ONE, low)
    return np.minimum(np.maximum(rounded, _ZERO), np.float32(axis.size - 1)).astype(np.int64)


def outside(axis: Axis, mode: Mode) -> Any:
    """Which output elements ``tf_crop_and_resize`` fills with the extrapolation value, bool[out]."""
    at = coordinates(axis, mode.coordinates)
    return (at < _ZERO) | (at > np.float32(axis.size - 1))


def weights(axis: Axis, mode: Mode) -> Any:
    """The interpolation along an axis as a matrix, fp32[out, size]; every row sums to one
    (or to zero where ``exclude_outside`` leaves nothing)."""
    at = coordinates(axis, mode.coordinates)
    reach = {"linear": 1, "cubic": 2}[mode.interpolation]
    plain = reach == 1 and not mode.antialias
    if plain:
        at = np.minimum(np.maximum(at, _ZERO), np.float32(axis.size - 1))
    margin = 0 if plain or mode.exclude_outside else _margin(axis, reach, mode.antialias)
    taps = np.arange(-margin, axis.size + margin, dtype=np.float32)
    distance = np.abs(taps - at.reshape(-1, 1))
    if mode.antialias:
        distance = distance / np.maximum(_ONE / axis.scale, _ONE)
    values = np.maximum(_ONE - distance, _ZERO) if reach == 1 else _cubic(distance, mode.cubic_a)
    if mode.antialias or mode.exclude_outside:
        total = values.sum(axis=1, keepdims=True)
        values = values / np.where(total == _ZERO, _ONE, total)
    return _folded(values, axis.size, margin) if margin else values


def _margin(axis: Axis, reach: int, antialias: bool) -> int:
    """How many elements beyond either end of the axis have weight at most, whatever the scale is.

    Coordinates end half an element beyond the axis. A filter against aliasing is ``1 / scale`` wide, and the output
    is ``size * scale``, rounded to the nearest or down.
    """
    return math.ceil(0.5 + reach * max(1.0, axis.size / (axis.out - 0.5))) if antialias else reach


def _folded(values: Any, size: int, margin: int) -> Any:
    """``values``, the weights of what lies beyond the ends given to the first and the last element."""
    first, last = (np.eye(1, size, k, dtype=np.float32) for k in (0, size - 1))
    before = values[:, :margin].sum(axis=1, keepdims=True)
    after = values[:, margin + size :].sum(axis=1, keepdims=True)
    return values[:, margin : margin + size] + before * first + after * last


def _cubic(d: Any, a: float) -> Any:
    """Keys' cubic convolution kernel at distance ``d``, as products: exactly zero at 1, and from 2 on."""
    rest = np.minimum(d - 2, _ZERO)
    return (d - 1) * np.where(d <= _ONE, ((a + 2) * d - 1) * d - 1, rest * rest * a)


def _crops(roi: Array | None, n: int) -> list[tuple[Any, Any]]:
    if roi is None or roi.size != 2 * n:
        return [(_ZERO, _ONE)] * n
    return [(np.float32(roi[i]), np.float32(roi[n + i])) for i in range(n)]
