"""Resize and Upsample: every mode, way of placing coordinates and of saying the size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np

from coregraft.rewriter.types import Array
from tests.conformance.variants.variant import Variant, data, family, ints, versions

_MODES = ("nearest", "linear", "cubic")
_PLACES = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric")
_ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
#: Scales of height and width: up and down, whole and not.
_SCALES: Sequence[tuple[float, float]] = ((2, 2), (0.5, 0.5), (1.5, 2.5), (0.6, 0.8), (3, 0.5), (1, 2))
_SIZES: Sequence[tuple[int, int]] = ((8, 10), (2, 3), (7, 9), (3, 11), (1, 1), (4, 5))


def _scales(*values: float) -> Array:
    return np.array(values, np.float32)


def _image(*shape: int, dtype: Any = np.float32) -> Array:
    return data(*(shape or (1, 2, 4, 5)), dtype=dtype)


def _by_scales(opset: int, x: Array, scales: Array, attrs: dict[str, Any], **more: Any) -> Variant:
    roi = np.zeros(0, np.float32) if opset < 13 else None
    return Variant(opset, [x, roi, scales], attrs, **{"constants": [1, 2] if roi is not None else [2], **more})


def _by_sizes(opset: int, x: Array, sizes: Array, attrs: dict[str, Any], **more: Any) -> Variant:
    empty = np.zeros(0, np.float32) if opset < 13 else None
    constants = [1, 2, 3] if empty is not None else [3]
    return Variant(opset, [x, empty, empty, sizes], attrs, **{"constants": constants, **more})


@family("Resize")
def resize(op: str) -> Iterator[Variant]:
    for mode, scales in product(("nearest", "linear"), _SCALES):
        yield Variant(10, [_image(), _scales(1, 1, *scales)], {"mode": mode}, constants=[1])
    for mode, place in product(_MODES, _PLACES):
        attrs = {"mode": mode, "coordinate_transformation_mode": place}
        for scales in _SCALES:
            yield _by_scales(19, _image(), _scales(1, 1, *scales), attrs)
        for sizes in _SIZES:
            yield _by_sizes(19, _image(), ints(1, 2, *sizes), attrs)
    for place, rounding, size in product(_PLACES, _ROUNDINGS, ((7, 9), (3, 3))):
        attrs = {"coordinate_transformation_mode": place, "nearest_mode": rounding}
        yield _by_sizes(19, _image(), ints(1, 2, *size), attrs)
        yield _by_scales(19, _image(), _scales(1, 1, size[0] / 4, 0.7), attrs)
    for opset, mode in product(versions(op, oldest=11), _MODES):
        yield _by_scales(opset, _image(), _scales(1, 1, 2, 1.5), {"mode": mode})
        yield _by_sizes(opset, _image(), ints(1, 2, 3, 7), {"mode": mode})
    for rounding, scales in product(_ROUNDINGS, _SCALES[:3]):
        attrs = {"coordinate_transformation_mode": "tf_half_pixel_for_nn", "nearest_mode": rounding}
        yield _by_scales(11, _image(), _scales(1, 1, *scales), attrs)
    yield from _cubic()
    yield from _newer()
    yield from _shapes()


def _cubic() -> Iterator[Variant]:
    for a, outside, scales in product((-0.75, -0.5), (0, 1), _SCALES[:4]):
        attrs = {"mode": "cubic", "cubic_coeff_a": a, "exclude_outside": outside}
        yield _by_scales(19, _image(), _scales(1, 1, *scales), attrs)


def _newer() -> Iterator[Variant]:
    """What opset 18 brought: antialiasing, axes, a policy for the aspect ratio; and crops."""
    for mode, scales, outside in product(("linear", "cubic"), _SCALES, (0, 1)):
        attrs = {"mode": mode, "antialias": 1, "exclude_outside": outside}
        yield _by_scales(18, _image(1, 2, 6, 8), _scales(1, 1, *scales), attrs)
    for place in _PLACES:
        attrs = {"mode": "linear", "antialias": 1, "coordinate_transformation_mode": place}
        yield _by_sizes(18, _image(1, 2, 6, 8), ints(1, 2, 3, 5), attrs)
    for mode, axes in product(_MODES, ([2, 3], [-2, -1], [3, 2], [3])):
        yield _by_scales(18, _image(), _scales(1.5, 2)[: len(axes)], {"mode": mode, "axes": axes})
        yield _by_sizes(18, _image(), ints(7, 8)[: len(axes)], {"mode": mode, "axes": axes})
    for mode, policy in product(_MODES, ("not_larger", "not_smaller", "stretch")):
        attrs = {"mode": mode, "keep_aspect_ratio_policy": policy}
        yield _by_sizes(18, _image(), ints(7, 8), {**attrs, "axes": [2, 3]})
        # Not with negative axes: onnxruntime then forgets the policy, and the sizes.
        yield _by_sizes(18, _image(), ints(3, 9), {**attrs, "axes": [3, 2]})
    for mode, value in product(_MODES, (0.0, 10.0)):
        attrs = {"mode": mode, "coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": value}
        for roi in ((0, 0, 0.25, 0.1, 1, 1, 0.75, 0.8), (0, 0, -0.2, 0.1, 1, 1, 0.9, 1.3)):
            yield Variant(13, [_image(), _scales(*roi), None, ints(1, 2, 3, 4)], attrs, constants=[1, 3])
        crop = [_image(), _scales(0.4, 0.6, 0.6, 0.8), None, ints(3, 3)]
        yield Variant(18, crop, {**attrs, "axes": [2, 3]}, constants=[1, 3])


def _shapes() -> Iterator[Variant]:
    """Ranks, element types, batches that change size, sizes at run time."""
    shapes: Sequence[tuple[int, ...]] = ((5,), (3, 4), (2, 3, 4), (2, 1, 3, 4), (1, 2, 2, 3, 4))
    for shape, mode in product(shapes, ("nearest", "linear")):
        x, n = _image(*shape), len(shape)
        yield _by_scales(13, x, _scales(*[1] * (n - 1), 2), {"mode": mode})
        yield _by_scales(13, x, _scales(*[2] * n), {"mode": mode})
        if n > 1:
            attrs = {"mode": mode, "coordinate_transformation_mode": "asymmetric"}
            yield _by_sizes(13, x, ints(*shape[:-2], 3, 7), attrs)
    yield _by_scales(13, _image(1, 2, 2, 3, 4), _scales(1, 1, 2, 1.5, 2), {"mode": "linear"})
    for dtype, mode in product((np.float16, np.float64, np.int32, np.uint8, np.int8), _MODES):
        x = data(1, 2, 4, 4, dtype=dtype, low=0, high=9)
        yield _by_scales(13, x, _scales(1, 1, 2, 2), {"mode": mode})
    for mode in _MODES:
        yield _by_scales(19, _image(), _scales(1, 1, 2, 0.5), {"mode": mode}, constants=[])
        yield _by_sizes(19, _image(), ints(1, 2, 8, 3), {"mode": mode}, constants=[])


@family("Upsample")
def upsample(op: str) -> Iterator[Variant]:
    for mode, scales in product(("nearest", "linear"), ((1, 1, 2, 2), (1, 1, 1.5, 2.5), (1, 1, 1, 3))):
        yield Variant(7, [_image()], {"mode": mode, "scales": [float(s) for s in scales]})
        yield Variant(9, [_image(), _scales(*scales)], {"mode": mode}, constants=[1])
        yield Variant(9, [_image(), _scales(*scales)], {"mode": mode})
    for shape in ((4,), (2, 3), (2, 3, 4), (1, 2, 2, 3, 2)):
        yield Variant(9, [_image(*shape), _scales(*[1] * (len(shape) - 1), 2)], constants=[1])
    for dtype in (np.int32, np.uint8, np.float16):
        yield Variant(9, [data(1, 1, 2, 3, dtype=dtype, low=0, high=9), _scales(1, 1, 2, 3)], constants=[1])
