"""Resize and GridSample: native on the rows where MIL is the same function, a gather for nearest, refused elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.lowering import targets
from coregraft.lowering.program import lower_graph
from coregraft.rewriter.errors import UnsupportedError
from tests.lowering.agreement import agree, by_runtime
from tests.lowering.fold_harness import Case, case, graph_of, lowered
from tests.lowering.mil_numpy import op_types, run_mil

_RNG = np.random.default_rng(16)
ROUNDING = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]
COORDINATES = ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"]


def floats(*shape: int, dtype: Any = np.float32) -> Any:
    return _RNG.standard_normal(shape).astype(dtype)


def resize(x: Any, *, scales: Any = None, sizes: Any = None, **attrs: Any) -> Case:
    operands = [x, None, np.array([] if scales is None else scales, np.float32)]
    operands += [] if sizes is None else [np.array(sizes, np.int64)]
    operands[2] = None if scales is None else operands[2]
    return case("Resize", *operands, constant=(2, 3), **attrs)


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("sizes", [(10, 14), (7, 5), (5, 9), (13, 3)], ids=str)
def test_linear_by_sizes_is_native(coordinates: str, sizes: tuple[int, int]) -> None:
    c = resize(floats(1, 2, 5, 7), sizes=(1, 2, *sizes), mode="linear", coordinate_transformation_mode=coordinates)
    assert agree(c) == ["resize_bilinear"]


@pytest.mark.parametrize("coordinates", COORDINATES)
def test_linear_by_whole_scales_is_native_on_every_target(coordinates: str) -> None:
    c = resize(floats(1, 2, 4, 6), scales=(1, 1, 2, 1.5), mode="linear", coordinate_transformation_mode=coordinates)
    assert agree(c, "iOS15") == ["resize_bilinear"]


@pytest.mark.parametrize("coordinates", ["half_pixel", "align_corners", "asymmetric"])
def test_linear_down_to_one_pixel(coordinates: str) -> None:
    c = resize(floats(1, 2, 4, 6), sizes=(1, 2, 1, 3), mode="linear", coordinate_transformation_mode=coordinates)
    assert agree(c) == ["resize_bilinear"]


def test_excluding_what_lies_outside_changes_nothing_for_linear() -> None:
    c = by_runtime(resize(floats(1, 2, 4, 6), scales=(1, 1, 2, 2), mode="linear"))  # onnxruntime: cubic only
    excluding = case(c.type, *c.operands, constant=c.constant, want=c.want, exclude_outside=1, **c.attrs)
    assert agree(excluding) == ["resize_bilinear"]


def test_linear_of_one_spatial_axis_goes_by_way_of_two() -> None:
    assert agree(resize(floats(1, 2, 6), scales=(1, 1, 2), mode="linear")) == ["reshape", "resize_bilinear", "reshape"]


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("rounding", ROUNDING)
@pytest.mark.parametrize("scales", [(2, 2), (3, 1), (1.5, 0.5), (1.3, 2.7), (0.61, 0.34)], ids=str)
def test_nearest_reads_what_onnx_reads(coordinates: str, rounding: str, scales: tuple[float, float]) -> None:
    attrs = {"mode": "nearest", "nearest_mode": rounding, "coordinate_transformation_mode": coordinates}
    c = resize(floats(1, 2, 5, 7), scales=(1, 1, *scales), **attrs)
    ops = agree(c)
    assert set(ops) <= {"gather", "upsample_nearest_neighbor"}


def test_nearest_by_a_whole_factor_repeats() -> None:
    attrs: dict[str, Any] = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    c = resize(floats(1, 2, 3, 4), scales=(1, 1, 3, 2), **attrs)
    assert agree(c) == ["upsample_nearest_neighbor"]
    c = resize(floats(1, 2, 3, 4), scales=(1, 1, 3, 2), **{**attrs, "nearest_mode": "round_prefer_floor"})
    assert agree(c) == ["gather", "upsample_nearest_neighbor"] or agree(c) == ["gather", "gather"]


def test_nearest_of_any_axis_and_of_integers() -> None:
    x = _RNG.integers(0, 99, (2, 3, 4)).astype(np.int32)
    assert agree(resize(x, scales=(2, 1, 2), mode="nearest")) == ["gather", "gather"]


@pytest.mark.parametrize("policy", ["stretch", "not_larger", "not_smaller"])
def test_sizes_under_a_policy_and_for_some_axes(policy: str) -> None:
    attrs: dict[str, Any] = {"mode": "nearest", "axes": [3, 2], "keep_aspect_ratio_policy": policy}
    agree(resize(floats(1, 2, 4, 6), sizes=(9, 8), **attrs))


def test_nothing_to_do() -> None:
    assert agree(resize(floats(1, 2, 4, 6), scales=(1, 1, 1, 1), mode="cubic")) == ["identity"]


REFUSED = [
    ("whole number", resize(floats(1, 1, 5, 5), scales=(1, 1, 1.5, 1.5), mode="linear")),
    ("cubic", resize(floats(1, 1, 4, 4), scales=(1, 1, 2, 2), mode="cubic")),
    ("aliasing", resize(floats(1, 1, 4, 4), sizes=(1, 1, 2, 2), mode="linear", antialias=1)),
    ("single pixel", resize(
        floats(1, 1, 4, 4), sizes=(1, 1, 1, 3), mode="linear", coordinate_transformation_mode="pytorch_half_pixel"
    )),
]  # fmt: skip


@pytest.mark.parametrize(("message", "c"), REFUSED, ids=str)
def test_other_interpolation_is_refused(message: str, c: Case) -> None:
    with pytest.raises(UnsupportedError, match=message) as caught:
        lowered(by_runtime(c))
    assert caught.value.hint is not None


def test_linear_over_the_channels_is_refused() -> None:
    x = floats(2, 4, 3, 3)
    want = (floats(2, 8, 3, 3),)
    with pytest.raises(UnsupportedError, match="last two axes"):
        lowered(case("Resize", x, None, np.array([1, 2, 1, 1], np.float32), constant=(2,), mode="linear", want=want))


def test_crop_and_resize_is_refused() -> None:
    roi = np.array([0, 0, 0.4, 0.6, 1, 1, 0.6, 0.8], np.float32)
    sizes = np.array([1, 1, 3, 3], np.int64)
    attrs: dict[str, Any] = {"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize"}
    with pytest.raises(UnsupportedError, match="tf_crop_and_resize"):
        lowered(by_runtime(case("Resize", floats(1, 1, 4, 4), roi, None, sizes, constant=(1, 3), **attrs)))


def test_scales_computed_at_run_time_are_refused() -> None:
    x, scales = floats(1, 1, 2, 2), np.array([1, 1, 2, 2], np.float32)
    with pytest.raises(UnsupportedError) as caught:
        lowered(by_runtime(case("Resize", x, None, scales, mode="nearest")))
    assert caught.value.code == "const-needed"


GRID = _RNG.uniform(-1.4, 1.4, (2, 3, 5, 2)).astype(np.float32)


@pytest.mark.parametrize("aligned", [0, 1])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_grid_sample_linear(aligned: int, padding: str) -> None:
    c = case("GridSample", floats(2, 3, 4, 6), GRID, mode="linear", padding_mode=padding, align_corners=aligned)
    assert agree(c) == ["resample"]


@pytest.mark.parametrize("aligned", [0, 1])
@pytest.mark.parametrize("padding", ["zeros", "border"])
def test_grid_sample_nearest_rounds_before_it_samples(aligned: int, padding: str) -> None:
    c = case("GridSample", floats(2, 3, 4, 6), GRID, mode="nearest", padding_mode=padding, align_corners=aligned)
    assert agree(c)[-2:] == ["round", "resample"]


def test_grid_sample_that_core_ml_lacks_is_refused() -> None:
    x = floats(2, 3, 4, 6)
    for mode, padding in (("cubic", "zeros"), ("nearest", "reflection")):
        with pytest.raises(UnsupportedError, match="resample"):
            lowered(by_runtime(case("GridSample", x, GRID, mode=mode, padding_mode=padding)))
    volume = case("GridSample", floats(1, 1, 2, 2, 2), floats(1, 1, 1, 1, 3), want=(floats(1, 1, 1, 1, 1),))
    with pytest.raises(UnsupportedError, match="two spatial axes"):
        lowered(volume)


def test_the_half_pixel_grid_of_a_neuralnetwork_takes_whole_factors() -> None:
    network = targets.get("iOS15", "neuralnetwork")
    for shape, scales in (((1, 2, 4, 6), (1, 1, 2, 3)), ((1, 2, 6), (1, 1, 2))):
        c = by_runtime(resize(floats(*shape), scales=scales, mode="linear"))
        program = lower_graph(graph_of(c, (0,)), network).program
        assert "upsample_bilinear" in op_types(program)
        assert c.want is not None
        assert c.operands[0] is not None
        np.testing.assert_allclose(run_mil(program, {"x0": c.operands[0]})["y0"], c.want[0], rtol=1e-5, atol=1e-5)
    fraction = by_runtime(resize(floats(1, 2, 4, 6), scales=(1, 1, 1.5, 2), mode="linear"))
    with pytest.raises(UnsupportedError, match="whole factors"):
        lower_graph(graph_of(fraction, (0,)), network)
