"""ArrayFeatureExtractor as Gather, against onnxruntime's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.decompose_array_feature_extractor import DecomposeArrayFeatureExtractor
from coregraft.rewriter.types import Const

RULE = DecomposeArrayFeatureExtractor()


@pytest.mark.parametrize("shape", [(4, 5), (2, 3, 5), (5,)])
@pytest.mark.parametrize("places", [[0, 3, 3], [4]])
def test_shapes(harness: Any, shape: tuple[int, ...], places: list[int]) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    g, feeds = harness.graph("ArrayFeatureExtractor", [x, Const.of(np.array(places, np.int64))], domain="ai.onnx.ml")
    harness.same(RULE, g, feeds)
