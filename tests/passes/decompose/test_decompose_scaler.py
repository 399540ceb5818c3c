"""Scaler as Sub and Mul."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.decompose_scaler import DecomposeScaler
from coregraft.rewriter.graph import Floats

RULE = DecomposeScaler()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.int32])
@pytest.mark.parametrize("one", [True, False])
def test_types_and_broadcasting(harness: Any, dtype: Any, one: bool) -> None:
    x = (np.random.default_rng(0).standard_normal((5, 3)) * 10).astype(dtype)
    offset, scale = (Floats([0.3]), Floats([1.7])) if one else (Floats([0.3, -2.5, 1e3]), Floats([1.7, 0.1, 3e-3]))
    g, feeds = harness.graph("Scaler", [x], domain="ai.onnx.ml", offset=offset, scale=scale)
    harness.same(RULE, g, feeds)


def test_needs_both(harness: Any) -> None:
    g, _ = harness.graph("Scaler", [np.zeros((2, 3), np.float32)], domain="ai.onnx.ml", scale=Floats([1.0]))
    harness.declines(RULE, g, "no offset or no scale")
