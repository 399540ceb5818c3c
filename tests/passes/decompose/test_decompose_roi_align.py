"""RoiAlign as products, against onnxruntime's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.decompose_roi_align import DecomposeRoiAlign

RULE = DecomposeRoiAlign()


def operands(images: int = 2) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((images, 3, 8, 10)).astype(np.float32)
    corner, extent = rng.uniform(-3, 9, (6, 2)), rng.uniform(0.1, 12, (6, 2))
    rois = np.concatenate([corner, corner + extent], 1).astype(np.float32)
    return [x, rois, rng.integers(0, images, 6)]


@pytest.mark.parametrize("mode", ["half_pixel", "output_half_pixel"])
@pytest.mark.parametrize("samples", [1, 2, 3])
@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("images", [1, 2])
def test_options(harness: Any, mode: str, samples: int, scale: float, images: int) -> None:
    g, feeds = harness.graph(
        "RoiAlign",
        operands(images),
        coordinate_transformation_mode=mode,
        sampling_ratio=samples,
        spatial_scale=scale,
        output_height=3,
        output_width=4,
    )
    older = g.copy()
    older.set_opsets({"": 21})  # RoiAlign-16, the same op; onnxruntime has no kernel registered for 22
    after = harness.rewrite(RULE, g).after
    np.testing.assert_allclose(harness.run(after, feeds)[0], harness.run(older, feeds)[0], atol=1e-5)


def test_declines(harness: Any) -> None:
    g, _ = harness.graph("RoiAlign", operands(), sampling_ratio=0)
    harness.declines(RULE, g, "depends on the regions")
    g, _ = harness.graph("RoiAlign", operands(), sampling_ratio=2, mode="max")
    harness.declines(RULE, g, "maximum of the samples")
