"""Resizing and resampling of lifted packages against the documented grids."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from coregraft.rewriter.types import Array
from tests.lowering.lift.one_op import agree, floats, lift_program, mb, program_of, refusal, run_graph

MODES = ("DEFAULT", "STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "OFFSET_CORNERS", "UNALIGN_CORNERS")


def _image(*shape: int) -> Array:
    return np.random.default_rng(11).standard_normal(shape).astype(np.float32)


def _points(mode: str, low: float, high: float, out: int) -> list[float]:
    """The documented grid over an interval from ``low`` to ``high``, one point after the other."""
    size, points = high - low + 1, []
    for i in range(out):
        if mode == "ALIGN_CORNERS" and out == 1:
            at = (size - 1) / 2
        elif mode in ("ALIGN_CORNERS", "STRICT_ALIGN_CORNERS"):
            at = i * (size - 1) / (out - 1) if out > 1 else 0.0
        elif mode == "DEFAULT":
            at = i * (size - size / out) / (out - 1) if out > 1 else 0.0
        elif mode == "OFFSET_CORNERS":
            at = 0.5 * max(1, size - 1) / out + i * max(1, size - 1) / out
        else:
            at = i * size / out + 0.5 * size / out - 0.5
        points.append(low + min(size - 1, max(0, at)))
    return points


def _sample(x: Array, axis: int, points: list[float]) -> Array:
    """Linear interpolation along an axis at points within it."""
    moved = np.moveaxis(x.astype(np.float64), axis, -1)
    last = moved.shape[-1] - 1
    columns = []
    for p in points:
        i = min(int(np.floor(p)), last)
        columns.append(moved[..., i] * (1 - (p - i)) + moved[..., min(i + 1, last)] * (p - i))
    return np.moveaxis(np.stack(columns, axis=-1), -1, axis)


def _resized(x: Array, mode: str, sizes: dict[int, int]) -> Array:
    for axis, out in sizes.items():
        x = _sample(x, axis, _points(mode, 0, x.shape[axis] - 1, out))
    return x


def _picked(x: Array, sizes: dict[int, int], shift: float) -> Array:
    for axis, out in sizes.items():
        picks = [int(np.floor((i + shift) * x.shape[axis] / out)) for i in range(out)]
        x = np.take(x, picks, axis=axis)
    return x


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(5, 8), (2, 3), (7, 3), (1, 1), (3, 1), (3, 5)])
def test_resize_bilinear(mode: str, size: tuple[int, int]) -> None:
    x = _image(1, 2, 3, 5)
    options = {"target_size_height": size[0], "target_size_width": size[1], "sampling_mode": mode}
    agree(lambda x: mb.resize_bilinear(x=x, **options), {"x": x}, want=_resized(x, mode, {2: size[0], 3: size[1]}))


@pytest.mark.parametrize("shape", [(2, 3, 5), (1, 2, 2, 3, 5)])
@pytest.mark.parametrize("mode", MODES)
def test_resize_bilinear_of_other_ranks(mode: str, shape: tuple[int, ...]) -> None:
    x = _image(*shape)
    options = {"target_size_height": 4, "target_size_width": 7, "sampling_mode": mode}
    agree(lambda x: mb.resize_bilinear(x=x, **options), {"x": x}, want=_resized(x, mode, {-2: 4, -1: 7}))


@pytest.mark.parametrize("factors", [(2, 3), (1, 2), (1.5, 2.5), (1, 1)])
@pytest.mark.parametrize("aligned", [True, False])
def test_upsample_bilinear(factors: tuple[float, float], aligned: bool) -> None:
    x = _image(1, 2, 3, 5)
    options = {"scale_factor_height": factors[0], "scale_factor_width": factors[1], "align_corners": aligned}
    sizes = {2: int(3 * factors[0]), 3: int(5 * factors[1])}
    want = _resized(x, "STRICT_ALIGN_CORNERS" if aligned else "UNALIGN_CORNERS", sizes)
    agree(lambda x: mb.upsample_bilinear(x=x, **options), {"x": x}, want=want)


@pytest.mark.parametrize("aligned, half, mode, doubts", [
    (False, False, "DEFAULT", 0), (False, True, "UNALIGN_CORNERS", 0), (True, False, "STRICT_ALIGN_CORNERS", 0),
    (True, True, "STRICT_ALIGN_CORNERS", 1),
])  # fmt: skip
def test_upsample_bilinear_with_pixel_centres(aligned: bool, half: bool, mode: str, doubts: int) -> None:
    x = _image(1, 2, 3, 5)
    options = {"scale_factor_height": 2, "scale_factor_width": 3, "align_corners": aligned, "half_pixel_centers": half}
    want = _resized(x, mode, {2: 6, 3: 15})
    agree(lambda x: mb.upsample_bilinear(x=x, **options), {"x": x}, "iOS16", want=want, doubts=doubts)


def _free(build: Any, x: Array) -> Any:
    """A program whose input has a height and width that are not fixed."""
    from coremltools.converters.mil.mil import get_new_symbol, types

    shape = (*x.shape[:-2], get_new_symbol(), get_new_symbol())
    return program_of(build, {"x": x}, x=mb.placeholder(shape=shape, dtype=types.fp32))


@pytest.mark.parametrize("kind, options, mode", [
    ("upsample_nearest_neighbor", {}, ""), ("upsample_bilinear", {"align_corners": True}, "STRICT_ALIGN_CORNERS"),
    ("upsample_bilinear", {"align_corners": False}, "UNALIGN_CORNERS"),
])  # fmt: skip
def test_whole_factors_of_a_size_that_is_not_fixed(kind: str, options: dict[str, Any], mode: str) -> None:
    x = _image(1, 2, 3, 5)
    options = {"scale_factor_height": 2, "scale_factor_width": 3, **options}
    graph = lift_program(_free(lambda x: getattr(mb, kind)(x=x, **options), x))
    (result,) = run_graph(graph, {"x": x}).values()
    want = _resized(x, mode, {2: 6, 3: 15}) if mode else _picked(x, {2: 6, 3: 15}, 0)
    np.testing.assert_allclose(result, want, rtol=1e-4, atol=1e-5)
    assert graph.graph["lift_warnings"] == ()


def test_a_target_for_a_size_that_is_not_fixed() -> None:
    from coregraft.rewriter.errors import UnsupportedError

    x = _image(1, 2, 3, 5)
    options = {"target_size_height": 4, "target_size_width": 7}
    graph = lift_program(_free(lambda x: mb.resize_bilinear(x=x, sampling_mode="DEFAULT", **options), x))
    (result,) = run_graph(graph, {"x": x}).values()
    np.testing.assert_allclose(result, _resized(x, "DEFAULT", {2: 4, 3: 7}), rtol=1e-4, atol=1e-5)
    with pytest.raises(UnsupportedError) as caught:
        lift_program(_free(lambda x: mb.resize_bilinear(x=x, sampling_mode="OFFSET_CORNERS", **options), x))
    assert caught.value.code == "lift-op-unsupported"


@pytest.mark.parametrize("shape", [(2, 3, 5), (1, 2, 3, 5), (1, 2, 2, 3, 5)])
@pytest.mark.parametrize("factors, doubts", [((2, 3), 0), ((1, 1), 0), ((1.5, 1.0), 0), ((1.0, 1.7), 1)])
def test_upsample_nearest_neighbor(shape: tuple[int, ...], factors: tuple[float, float], doubts: int) -> None:
    x = _image(*shape)
    options = {"scale_factor_height": factors[0], "scale_factor_width": factors[1]}
    want = _picked(x, {-2: int(3 * factors[0]), -1: int(5 * factors[1])}, 0)
    agree(lambda x: mb.upsample_nearest_neighbor(x=x, **options), {"x": x}, want=want, doubts=doubts)


@pytest.mark.parametrize("size, doubts", [((6, 10), 0), ((3, 5), 0), ((7, 11), 1), ((2, 3), 1)])
def test_resize_nearest_neighbor(size: tuple[int, int], doubts: int) -> None:
    x = _image(1, 2, 3, 5)
    options = {"target_size_height": size[0], "target_size_width": size[1]}
    want = _picked(x, {2: size[0], 3: size[1]}, 0.5)
    agree(lambda x: mb.resize_nearest_neighbor(x=x, **options), {"x": x}, want=want, doubts=doubts)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape, dims, sizes", [
    ([1, 6, 8], 2, {2: 6, 3: 8}), ([1, 0, 8], 2, {3: 8}), ([7], 1, {3: 7}), ([3, 4, 9], 3, {1: 3, 2: 4, 3: 9}),
    ([1, 0, 0], 2, {}),
])  # fmt: skip
def test_resize(mode: str, shape: list[int], dims: int, sizes: dict[int, int]) -> None:
    x = _image(1, 2, 3, 5)
    full = {axis: int(sizes.get(axis) or x.shape[axis]) for axis in range(4 - dims, 4)}
    options = {"shape": shape, "resized_dims": np.uint32(dims), "sampling_mode": mode}
    agree(lambda x: mb.resize(x=x, **options), {"x": x}, "iOS17", want=_resized(x, mode, full))


@pytest.mark.parametrize("mode, size, doubts", [
    ("DEFAULT", (6, 10), 0), ("UNALIGN_CORNERS", (6, 10), 0), ("DEFAULT", (7, 8), 1), ("UNALIGN_CORNERS", (7, 8), 1),
    ("ALIGN_CORNERS", (5, 9), 1),
])  # fmt: skip
@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_resize_nearest(mode: str, size: tuple[int, int], doubts: int, dtype: Any) -> None:
    x = (_image(1, 2, 3, 5) * 10).astype(dtype)
    sizes = {2: size[0], 3: size[1]}
    want = _picked(x, sizes, 0.5 if mode == "UNALIGN_CORNERS" else 0)
    if mode == "ALIGN_CORNERS":
        want = x
        for axis, out in sizes.items():
            picks = [int(np.floor(p + 0.5)) for p in _points(mode, 0, x.shape[axis] - 1, out)]
            want = np.take(want, picks, axis=axis)
    options = {"shape": size, "resized_dims": np.uint32(2), "interpolation_mode": "NEAREST_NEIGHBOR"}
    agree(lambda x: mb.resize(x=x, **options, sampling_mode=mode), {"x": x}, "iOS17", want=want, doubts=doubts)


def test_resize_of_integers_is_reported() -> None:
    x = (_image(1, 1, 2, 2) * 100).astype(np.int32)
    options = {"shape": [4, 4], "resized_dims": np.uint32(2)}
    want = np.floor(_resized(x, "DEFAULT", {2: 4, 3: 4})).astype(np.int32)
    agree(lambda x: mb.resize(x=x, **options), {"x": x}, "iOS17", want=want, doubts=1)


@pytest.mark.parametrize("kind", ["LINEAR", "NEAREST_NEIGHBOR"])
@pytest.mark.parametrize("mode", ["DEFAULT", "UNALIGN_CORNERS"])
def test_resize_to_a_shape_that_is_computed(kind: str, mode: str) -> None:
    x, shape = _image(1, 2, 3, 5), np.array([9, 6, 0], np.int32)
    options = {"resized_dims": np.uint32(2), "interpolation_mode": kind, "sampling_mode": mode}
    feeds = {"x": x, "s": shape}
    graph = lift_program(program_of(lambda x, s: mb.resize(x=x, shape=s, **options), feeds, "iOS17"), "iOS17")
    (result,) = run_graph(graph, feeds).values()
    linear = kind == "LINEAR"
    want = _resized(x, mode, {2: 6}) if linear else _picked(x, {2: 6}, 0 if mode == "DEFAULT" else 0.5)
    np.testing.assert_allclose(result, want, rtol=1e-4, atol=1e-5)
    assert len(graph.graph["lift_warnings"]) == int(not linear)


def test_a_computed_shape_on_a_grid_that_onnx_lacks_is_refused() -> None:
    feeds = {"x": _image(1, 2, 3, 5), "s": np.array([6, 7], np.int32)}
    options = {"resized_dims": np.uint32(2), "sampling_mode": "OFFSET_CORNERS"}
    assert "grid" in refusal(lambda x, s: mb.resize(x=x, shape=s, **options), feeds, "iOS17").message


@pytest.mark.parametrize("height, width", [((1, 1), (2, 0)), ((0, 0), (0, 3)), ((0, 2), (1, 1))])
@pytest.mark.parametrize("shape", [(2, 4, 6), (1, 2, 4, 6)])
def test_crop(height: tuple[int, int], width: tuple[int, int], shape: tuple[int, ...]) -> None:
    x = _image(*shape)
    want = x[..., height[0] : 4 - height[1], width[0] : 6 - width[1]]
    agree(lambda x: mb.crop(x=x, crop_height=height, crop_width=width), {"x": x}, want=want)


def _resample_options(kind: str, padding: str, coordinates: str, aligned: bool, value: float = 0.0) -> dict[str, Any]:
    return {
        "sampling_mode": kind, "padding_mode": padding, "padding_value": np.float32(value),
        "coordinates_mode": coordinates, "align_corners": aligned,
    }  # fmt: skip


@pytest.mark.parametrize("padding", ["constant", "border", "reflection", "symmetric"])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("coordinates", ["unnormalized", "normalized_minus_one_to_one"])
@pytest.mark.parametrize("value", [0.0, 2.5])
def test_resample(padding: str, aligned: bool, coordinates: str, value: float) -> None:
    at = np.random.default_rng(2).uniform(-1.7, 1.7, (2, 3, 4, 2)).astype(np.float32)
    if coordinates == "unnormalized":
        at = (at + 1) * 3
    options = _resample_options("bilinear", padding, coordinates, aligned, value)
    agree(lambda x, at: mb.resample(x=x, coordinates=at, **options), {"x": _image(2, 3, 5, 6), "at": at}, atol=1e-4)


@pytest.mark.parametrize("aligned", [True, False])
def test_resample_between_zero_and_one(aligned: bool) -> None:
    x = _image(1, 2, 4, 5)
    at = np.random.default_rng(2).uniform(0, 1, (1, 3, 3, 2)).astype(np.float32)
    pixels = at * [4, 3] if aligned else at * [5, 4] - 0.5
    plain = _resample_options("bilinear", "border", "unnormalized", True)
    from tests.lowering.mil_numpy import RULES, load_rules

    load_rules()
    want = RULES["resample"]({"x": x, "coordinates": pixels, **plain})
    options = _resample_options("bilinear", "border", "normalized_zero_to_one", aligned)
    agree(lambda x, at: mb.resample(x=x, coordinates=at, **options), {"x": x, "at": at}, want=want, atol=1e-4)


def test_resample_at_the_nearest_pixel_and_at_integers() -> None:
    x = _image(1, 2, 4, 5)
    at = np.array([[[[0, 0], [4, 3]], [[2, 1], [9, 1]]]], np.int32)
    want = np.stack([x[0][:, [0, 3], [0, 4]], np.stack([x[0, :, 1, 2], np.full(2, 7, np.float32)], 1)], axis=1)[None]
    for kind, doubts in (("bilinear", 0), ("nearest", 1)):
        options = _resample_options(kind, "constant", "unnormalized", False, 7.0)

        def build(x: Any, at: Any, options: Any = options) -> Any:
            return mb.resample(x=x, coordinates=at, **options)

        agree(build, {"x": x, "at": at}, want=want, doubts=doubts)


def test_resample_reflects_nothing_in_a_single_column() -> None:
    x, at = _image(1, 2, 4, 1), np.array([[[[0.3, 1.5]]]], np.float32)
    options = _resample_options("bilinear", "reflection", "unnormalized", True)
    want = x[:, :, 1:2] / 2 + x[:, :, 2:3] / 2
    agree(lambda x, at: mb.resample(x=x, coordinates=at, **options), {"x": x, "at": at}, want=want, doubts=1)


@pytest.mark.parametrize("matrices", [1, 2])
def test_affine(matrices: int) -> None:
    x = _image(2, 3, 5, 4)
    transform = np.array([[0.8, 0.2, 0.1, -0.3, 1.1, 0.2], [1, 0, 0, 0, 1, 0]], np.float32)[:matrices]
    width, height = 6, 3
    want = np.zeros((2, 3, height, width))
    for n, row, column in product(range(2), range(height), range(width)):
        a = transform[n % matrices]
        place = np.array([2 * column / (width - 1) - 1, 2 * row / (height - 1) - 1, 1])
        px, py = (a[:3] @ place + 1) / 2 * 3, (a[3:] @ place + 1) / 2 * 4
        for i, j in product(range(5), range(4)):
            want[n, :, row, column] += max(0, 1 - abs(py - i)) * max(0, 1 - abs(px - j)) * x[n, :, i, j]
    options = {
        "output_height": height, "output_width": width, "sampling_mode": "bilinear", "padding_mode": "constant",
        "padding_value": np.float32(0), "coordinates_mode": "normalized_minus_one_to_one", "align_corners": True,
    }  # fmt: skip
    agree(lambda x, m: mb.affine(x=x, transform_matrix=m, **options), {"x": x, "m": transform}, want=want, atol=1e-4)


BOXES = np.array([[0, 1, 3, 4], [1, 0, 2, 3], [0.5, 0.25, 2.5, 4]], np.float32)


def _crop(image: Array, box: Array, mode: str, out: tuple[int, int]) -> Array:
    rows = _sample(image, -2, _points(mode, box[0], box[2], out[0]))
    return _sample(rows, -1, _points(mode, box[1], box[3], out[1]))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("out", [(3, 4), (1, 1)])
def test_crop_resize_of_every_image(mode: str, out: tuple[int, int]) -> None:
    x, roi = _image(2, 3, 4, 5), BOXES.reshape(3, 1, 4, 1, 1)
    want = np.stack([_crop(x, box, mode, out) for box in BOXES])
    options = {"target_height": out[0], "target_width": out[1], "sampling_mode": mode}
    doubts = int("_ALIGN" not in mode and mode != "ALIGN_CORNERS")
    agree(lambda x, r: mb.crop_resize(x=x, roi=r, **options), {"x": x, "r": roi}, want=want, doubts=doubts, atol=1e-4)


@pytest.mark.parametrize("images, doubts", [(1, 0), (2, 1)])
def test_crop_resize_with_an_index(images: int, doubts: int) -> None:
    x, which = _image(images, 3, 4, 5), np.array([0, images - 1, 0])
    roi = np.concatenate([which[:, None].astype(np.float32), BOXES], axis=1).reshape(3, 1, 5, 1, 1)
    want = np.stack([_crop(x[i : i + 1], box, "ALIGN_CORNERS", (2, 3)) for i, box in zip(which, BOXES, strict=True)])
    options = {"target_height": 2, "target_width": 3, "sampling_mode": "ALIGN_CORNERS"}
    agree(lambda x, r: mb.crop_resize(x=x, roi=r, **options), {"x": x, "r": roi}, want=want, doubts=doubts, atol=1e-4)


@pytest.mark.parametrize("coordinates", [
    "CORNERS_HEIGHT_FIRST", "CORNERS_WIDTH_FIRST", "CENTER_SIZE_HEIGHT_FIRST", "CENTER_SIZE_WIDTH_FIRST",
])  # fmt: skip
@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize("indices", [True, False])
def test_crop_resize_of_ios17(coordinates: str, normalized: bool, indices: bool) -> None:
    x = _image(3, 2, 4, 5)
    boxes, which = BOXES / 2, np.array([2, 0, 1] if indices else [0, 1, 2], np.int32)
    written = boxes / [3, 4, 3, 4] if normalized else boxes
    if "CENTER" in coordinates:
        written = np.concatenate([(written[:, :2] + written[:, 2:]) / 2, written[:, 2:] - written[:, :2]], axis=1)
    if "WIDTH" in coordinates:
        written = written[:, [1, 0, 3, 2]]
    options = {
        "target_height": 3, "target_width": 2, "sampling_mode": "STRICT_ALIGN_CORNERS", "spatial_scale": np.float32(2),
        "box_coordinate_mode": coordinates, "normalized_coordinates": normalized,
    }  # fmt: skip
    if indices:
        options["box_indices"] = which
    crops = [_crop(x[i], box, "STRICT_ALIGN_CORNERS", (3, 2)) for i, box in zip(which, boxes * 2, strict=True)]
    feeds = {"x": x, "b": written.astype(np.float32)}
    want, doubts = np.stack(crops), int("CENTER" in coordinates)
    agree(lambda x, b: mb.crop_resize(x=x, boxes=b, **options), feeds, "iOS17", want=want, doubts=doubts, atol=1e-4)


def test_crop_resize_outside_of_the_image() -> None:
    x, box = _image(1, 2, 4, 5), np.array([[-1, 1, 2, 6]], np.float32)
    options = {"target_height": 4, "target_width": 6, "sampling_mode": "STRICT_ALIGN_CORNERS", "pad_value": floats(9)}
    want = np.full((1, 2, 4, 6), 9, np.float32)
    want[:, :, 1:, :4] = x[:, :, 0:3, 1:5]
    agree(lambda x, b: mb.crop_resize(x=x, boxes=b, **options), {"x": x, "b": box}, "iOS17", want=want)
