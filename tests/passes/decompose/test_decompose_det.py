"""Det in closed form, against onnxruntime's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.decompose_det import DecomposeDet

RULE = DecomposeDet()


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (3, 3), (4, 2, 2), (2, 3, 3, 3)])
def test_sizes(harness: Any, shape: tuple[int, ...]) -> None:
    g, feeds = harness.graph("Det", [np.random.default_rng(0).standard_normal(shape).astype(np.float32)])
    harness.same(RULE, g, feeds, atol=1e-5)


def test_declines_larger_ones(harness: Any) -> None:
    g, _ = harness.graph("Det", [np.eye(4, dtype=np.float32)])
    harness.declines(RULE, g, "at most 3x3")
