"""Binarizer, OneHotEncoder and FeatureVectorizer against onnxruntime's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.decompose_feature_ops import DecomposeFeatureOps
from coregraft.rewriter.graph import Strings

RULE = DecomposeFeatureOps()
ML = "ai.onnx.ml"


def test_binarizer(harness: Any) -> None:
    g, feeds = harness.graph("Binarizer", [np.array([[1, 0.5, 2], [-1, 0, 0.6]], np.float32)], domain=ML, threshold=0.5)
    harness.same(RULE, g, feeds)


@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.float64])
def test_one_hot(harness: Any, dtype: Any) -> None:
    x = np.array([[1.7, 3, 9], [0, 1, -3.2]]).astype(dtype)
    g, feeds = harness.graph("OneHotEncoder", [x], domain=ML, cats_int64s=(1, 3, -3))
    harness.same(RULE, g, feeds)


@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.float64, np.int32])
def test_side_by_side(harness: Any, dtype: Any) -> None:
    a, b = np.arange(6).reshape(2, 3).astype(dtype), np.arange(4).reshape(2, 2).astype(dtype)
    g, feeds = harness.graph("FeatureVectorizer", [a, b], domain=ML, inputdimensions=(2, 2))
    harness.same(RULE, g, feeds)


@pytest.mark.parametrize(
    ("op_type", "attrs", "reason"),
    [
        ("OneHotEncoder", {"cats_strings": Strings(["a"])}, "categories are strings"),
        ("OneHotEncoder", {"cats_int64s": (1,), "zeros": 0}, "no network can raise"),
        ("FeatureVectorizer", {"inputdimensions": (4,)}, "matrix of 4 or more columns"),
        ("FeatureVectorizer", {"inputdimensions": (1, 1)}, "2 widths for 1 inputs"),
    ],
)
def test_declines(harness: Any, op_type: str, attrs: dict[str, Any], reason: str) -> None:
    g, _ = harness.graph(op_type, [np.array([[1, 2]])], domain=ML, **attrs)
    harness.declines(RULE, g, reason)
