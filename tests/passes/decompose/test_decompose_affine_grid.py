"""AffineGrid as a product, against onnxruntime's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.decompose_affine_grid import DecomposeAffineGrid
from coregraft.rewriter.types import Const

RULE = DecomposeAffineGrid()


@pytest.mark.parametrize("aligned", [0, 1])
@pytest.mark.parametrize("size", [(2, 3, 4, 5), (2, 1, 1, 6), (2, 3, 4, 5, 2)])
def test_sizes(harness: Any, aligned: int, size: tuple[int, ...]) -> None:
    axes = len(size) - 2
    theta = np.random.default_rng(0).standard_normal((2, axes, axes + 1)).astype(np.float32)
    g, feeds = harness.graph("AffineGrid", [theta, Const.of(np.array(size, np.int64))], align_corners=aligned)
    if 1 in size[2:] and aligned:  # onnxruntime divides by zero there: the centre, as PyTorch has it
        got = harness.run(harness.rewrite(RULE, g).after, feeds)[0]
        assert np.isfinite(got).all()
        return
    harness.same(RULE, g, feeds, atol=1e-5)


def test_declines_a_size_that_is_computed(harness: Any) -> None:
    g, _ = harness.graph("AffineGrid", [np.zeros((1, 2, 3), np.float32), np.array([1, 1, 2, 2], np.int64)])
    harness.declines(RULE, g, "computed at run time")
