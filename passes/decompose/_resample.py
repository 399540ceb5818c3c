"""ONNX Resize by axis: which input elements an output element reads, and with which weights.

Coordinates are computed in fp32, as onnxruntime does, so that the same element is taken where one lies on a boundary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from coregraft.rewriter.types import Array, Dim

_HALF = np.float32(0.5)


@dataclass(frozen=True)
class Axis:
    """One axis of a Resize.

    Attributes:
        index: which axis.
        size, out: elements before and after.
        scale: ONNX's scale, which is not always ``out / size``.
        roi: start and end of the crop of ``tf_crop_and_resize``, 0 and 1 without one.
    """

    index: int
    size: int
    out: int
    scale: float
    roi: tuple[float, float] = (0.0, 1.0)


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
        found.append(Axis(index, size, out, float(scale), crops[position]))
    if given is scales or policy == "stretch":
        return found
    common = (min if policy == "not_larger" else max)(axis.scale for axis in found)
    return [Axis(a.index, a.size, int(np.floor(a.size * common + 0.5)), common, a.roi) for a in found]


def coordinates(axis: Axis, mode: str) -> Array:
    """Where each output element lies on the input's axis, fp32[out]."""
    i = np.arange(axis.out, dtype=np.float32)
    size, out, scale = np.float32(axis.size), np.float32(axis.out), np.float32(axis.scale)
    one = np.float32(1)
    if mode == "asymmetric":
        return i / scale
    if mode == "align_corners":
        return i * (size - one) / (out - one) if axis.out > 1 else np.zeros_like(i)
    if mode == "tf_crop_and_resize":
        start, end = (np.float32(v) for v in axis.roi)
        if axis.out == 1:
            return np.array([_HALF * (start + end) * (size - one)], np.float32)
        return np.asarray(start * (size - one) + i * (end - start) * (size - one) / (out - one))
    if mode == "pytorch_half_pixel" and axis.out == 1:
        return np.zeros_like(i)
    offset = size / 2 * (one - out / (scale * size)) if mode == "half_pixel_symmetric" else np.float32(0)
    return np.asarray(offset + (i + _HALF) / scale - _HALF)  # onnxruntime's order: the last bit may decide


def nearest(axis: Axis, mode: Mode) -> Array:
    """The input element that each output element copies, int64[out]."""
    at = coordinates(axis, mode.coordinates)
    rounded = {
        "round_prefer_floor": np.ceil(at - _HALF),
        "round_prefer_ceil": np.floor(at + _HALF),
        "floor": np.floor(at),
        "ceil": np.ceil(at),
    }[mode.rounding]
    return np.clip(rounded, 0, axis.size - 1).astype(np.int64)


def outside(axis: Axis, mode: Mode) -> Array:
    """Which output elements ``tf_crop_and_resize`` fills with the extrapolation value, bool[out]."""
    at = coordinates(axis, mode.coordinates)
    return np.asarray((at < 0) | (at > axis.size - 1))


def weights(axis: Axis, mode: Mode) -> Array:
    """The interpolation along an axis as a matrix, fp64[out, size]; every row sums to one
    (or to zero where ``exclude_outside`` leaves nothing)."""
    at = coordinates(axis, mode.coordinates).astype(np.float64)
    stretch = max(1.0, 1.0 / axis.scale) if mode.antialias else 1.0
    if stretch == 1 and mode.interpolation == "linear":
        at = np.clip(at, 0, axis.size - 1)
    reach = {"linear": 1, "cubic": 2}[mode.interpolation]
    first = np.floor(at).astype(np.int64) - int(np.ceil(reach * stretch)) + 1
    taps = first[:, None] + np.arange(2 * int(np.ceil(reach * stretch)))
    distance = np.abs(taps - at[:, None]) / stretch
    values = np.maximum(1 - distance, 0) if reach == 1 else _cubic(distance, mode.cubic_a)
    inside = (taps >= 0) & (taps < axis.size)
    if mode.exclude_outside:
        values = np.where(inside, values, 0)
    total = values.sum(axis=1, keepdims=True)
    values = values / np.where(
        total == 0, 1, total
    )  # zero: all taps lie outside, and the extrapolation value goes there
    matrix = np.zeros((axis.out, axis.size))
    rows = np.repeat(np.arange(axis.out), taps.shape[1])
    np.add.at(matrix, (rows, np.clip(taps, 0, axis.size - 1).ravel()), values.ravel())
    return matrix


def _cubic(d: Array, a: float) -> Array:
    """Keys' cubic convolution kernel at distance ``d``."""
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((d - 5) * d + 8) * d * a - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


def _crops(roi: Array | None, n: int) -> list[tuple[float, float]]:
    if roi is None or roi.size != 2 * n:
        return [(0.0, 1.0)] * n
    return [(float(roi[i]), float(roi[n + i])) for i in range(n)]
