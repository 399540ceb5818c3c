"""Det in products and sums, against onnxruntime's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.decompose_det import DecomposeDet
from coregraft.rewriter.types import Array

RULE = DecomposeDet()


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (3, 3), (4, 2, 2), (2, 3, 3, 3), (4, 4), (2, 5, 5), (1, 2, 8, 8)])
def test_sizes(harness: Any, shape: tuple[int, ...]) -> None:
    matrices = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    g, feeds = harness.graph("Det", [matrices])
    harness.same(RULE, g, feeds, atol=1e-5 * max(1, np.abs(np.linalg.det(matrices)).max()))


@pytest.mark.parametrize("matrix", [np.ones((4, 4)), np.eye(5)[::-1], np.diag([0.0, 1, 2, 3, 4])])
def test_singular_ones_and_zeros_on_the_diagonal(harness: Any, matrix: Array) -> None:
    g, feeds = harness.graph("Det", [matrix.astype(np.float32)])
    harness.same(RULE, g, feeds, atol=1e-6)


def test_declines_larger_ones(harness: Any) -> None:
    g, _ = harness.graph("Det", [np.eye(9, dtype=np.float32)])
    harness.declines(RULE, g, "at most 8x8")
