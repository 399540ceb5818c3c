"""Normalizer as a division, against onnxruntime's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.decompose_normalizer import DecomposeNormalizer

RULE = DecomposeNormalizer()


@pytest.mark.parametrize("norm", ["MAX", "L1", "L2"])
@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_norms(harness: Any, norm: str, dtype: Any) -> None:
    x = (np.random.default_rng(0).standard_normal((6, 4)) * 9).astype(dtype)
    x[:, 0] = np.abs(x[:, 0]) + 1
    x[2] = 0
    g, feeds = harness.graph("Normalizer", [x], domain="ai.onnx.ml", norm=norm)
    harness.same(RULE, g, feeds)
