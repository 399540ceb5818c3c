"""MaxRoiPool under masks, against onnxruntime's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.decompose_max_roi_pool import DecomposeMaxRoiPool

RULE = DecomposeMaxRoiPool()
#: Corners on halves, regions beyond the image on every side, inside out, and without extent.
CORNERS = [
    [0.5, 1.5, 5.5, 6.5], [-2.5, -1.5, 3.5, 2.5], [4, 3, 30, 30], [20, 20, 25, 25], [5, 5, 2, 2], [3, 2, 3, 2],
    [1.25, 0.75, 6.75, 6.25], [-30, 2, -20, 4], [0, 0, 9, 7],
]  # fmt: skip


def operands(images: int) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((images, 3, 8, 10)).astype(np.float32)
    corners = np.concatenate([np.array(CORNERS), rng.uniform(-4, 14, (12, 4))])
    batch = rng.integers(0, images, (len(corners), 1))
    return [x, np.concatenate([batch, corners], 1).astype(np.float32)]


def of_onnxruntime(harness: Any, g: Any, feeds: Any) -> Any:
    older = g.copy()
    older.set_opsets({"": 21})  # MaxRoiPool-1, the same op; onnxruntime has no kernel registered for 22
    return harness.run(older, feeds)


@pytest.mark.parametrize("pooled", [(1, 1), (2, 3), (7, 7), (9, 4)])
@pytest.mark.parametrize("scale", [1.0, 0.5, 0.0625])
@pytest.mark.parametrize("images", [1, 2])
def test_options(harness: Any, pooled: tuple[int, int], scale: float, images: int) -> None:
    g, feeds = harness.graph("MaxRoiPool", operands(images), pooled_shape=pooled, spatial_scale=scale)
    after = harness.rewrite(RULE, g).after
    np.testing.assert_array_equal(harness.run(after, feeds)[0], of_onnxruntime(harness, g, feeds)[0])


@pytest.mark.parametrize("format", ["mlprogram", "neuralnetwork"])
@pytest.mark.parametrize("images", [1, 2])
def test_converted(harness: Any, format: str, images: int) -> None:
    g, feeds = harness.graph("MaxRoiPool", operands(images), pooled_shape=(3, 2), spatial_scale=0.5)
    harness.converts(g, feeds, format, want=of_onnxruntime(harness, g, feeds))


def test_declines(harness: Any) -> None:
    g, _ = harness.graph("MaxRoiPool", operands(1), pooled_shape=(2, 2))
    harness.declines(DecomposeMaxRoiPool(max_elements=1000), g, "max-elements=1000")
    g, _ = harness.graph("MaxRoiPool", operands(1), pooled_shape=(2, 2), dims={1: ("n", 5)})
    harness.declines(RULE, g, "number of regions")
