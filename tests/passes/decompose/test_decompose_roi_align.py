"""RoiAlign as products, against onnxruntime's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.decompose_roi_align import DecomposeRoiAlign

RULE = DecomposeRoiAlign()
HALVES = ["half_pixel", "output_half_pixel"]


def operands(images: int = 2) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((images, 3, 8, 10)).astype(np.float32)
    corner, extent = rng.uniform(-3, 9, (6, 2)), rng.uniform(0.1, 12, (6, 2))
    rois = np.concatenate([corner, corner + extent], 1).astype(np.float32)
    return [x, rois, rng.integers(0, images, 6)]


def of_onnxruntime(harness: Any, g: Any, feeds: Any) -> Any:
    older = g.copy()
    older.set_opsets({"": 21})  # RoiAlign-16, the same op; onnxruntime has no kernel registered for 22
    return harness.run(older, feeds)


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("samples", [0, 1, 2, 3])
@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("images", [1, 2])
def test_options(harness: Any, mode: str, half: str, samples: int, scale: float, images: int) -> None:
    g, feeds = harness.graph(
        "RoiAlign",
        operands(images),
        mode=mode,
        coordinate_transformation_mode=half,
        sampling_ratio=samples,
        spatial_scale=scale,
        output_height=3,
        output_width=4,
    )
    after = harness.rewrite(RULE, g).after
    np.testing.assert_allclose(harness.run(after, feeds)[0], of_onnxruntime(harness, g, feeds)[0], atol=1e-5)


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("half", HALVES)
def test_regions_without_extent_have_no_samples(harness: Any, mode: str, half: str) -> None:
    x, _, batch = operands()
    rois = np.array([[2, 2, 2, 2], [3, 3, 3, 5], [1, 4, 5, 4], [0, 0, 10, 8], [0, 0, 4, 4], [0, 0, 4, 5]], np.float32)
    g, feeds = harness.graph(
        "RoiAlign", [x, rois, batch], mode=mode, coordinate_transformation_mode=half, output_height=2, output_width=2
    )
    after = harness.rewrite(RULE, g).after
    np.testing.assert_allclose(harness.run(after, feeds)[0], of_onnxruntime(harness, g, feeds)[0], atol=1e-5)


def test_a_region_that_is_too_large_is_not_a_number(harness: Any) -> None:
    x, rois, batch = operands()
    rois[2] = [0, 0, 30, 2]
    g, feeds = harness.graph("RoiAlign", [x, rois, batch], output_height=2, output_width=2)
    found = harness.run(harness.rewrite(RULE, g).after, feeds)[0]
    assert np.isnan(found[2]).all() and not np.isnan(np.delete(found, 2, 0)).any()
    assert not np.isnan(harness.run(harness.rewrite(DecomposeRoiAlign(largest_region=3), g).after, feeds)[0]).any()


@pytest.mark.parametrize("format", ["mlprogram", "neuralnetwork"])
@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("samples", [0, 2])
def test_converted(harness: Any, format: str, mode: str, samples: int) -> None:
    g, feeds = harness.graph(
        "RoiAlign", operands(), mode=mode, sampling_ratio=samples, output_height=3, output_width=4, spatial_scale=0.5
    )
    harness.converts(g, feeds, format, want=of_onnxruntime(harness, g, feeds), atol=1e-5)


def test_declines(harness: Any) -> None:
    g, _ = harness.graph("RoiAlign", operands(), mode="median")
    harness.declines(RULE, g, "its mode is median")
    g, _ = harness.graph("RoiAlign", operands(), dims={0: (2, 3, "h", 10)})
    harness.declines(RULE, g, "not known")
