"""DynamicQuantizeLinear written out: the same bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.decompose_dynamic_quantize_linear import DecomposeDynamicQuantizeLinear
from coregraft.rewriter.target import Target

RULE = DecomposeDynamicQuantizeLinear()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("shift", [-3.0, 0.0, 3.0])
@pytest.mark.parametrize("shape", [(50,), (3, 4, 5), ()])
def test_ranges(harness: Any, scale: float, shift: float, shape: tuple[int, ...]) -> None:
    x = np.asarray((np.random.default_rng(0).standard_normal(shape) + shift) * scale, np.float32)
    g, feeds = harness.graph("DynamicQuantizeLinear", [x], outputs=3)
    harness.same(RULE, g, feeds)


def test_all_zero(harness: Any) -> None:
    g, feeds = harness.graph("DynamicQuantizeLinear", [np.zeros((2, 3), np.float32)], outputs=3)
    harness.same(RULE, g, feeds)


def test_stays_where_there_is_no_target(harness: Any) -> None:
    g, _ = harness.graph("DynamicQuantizeLinear", [np.zeros(3, np.float32)], outputs=3)
    harness.declines(RULE, g, "has a lowering", target=Target.any())
