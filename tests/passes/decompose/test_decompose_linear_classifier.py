"""LinearClassifier against onnxruntime's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.decompose_linear_classifier import DecomposeLinearClassifier
from coregraft.rewriter.graph import Floats, Strings

RULE = DecomposeLinearClassifier()
ML = "ai.onnx.ml"


def x(dtype: Any = np.float32) -> Any:
    return (np.random.default_rng(0).standard_normal((7, 3)) * 3).astype(dtype)


@pytest.mark.parametrize("how", ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO", "PROBIT"])
@pytest.mark.parametrize("labels", [(5, 7), (5, 7, 9), (9, 1)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.int32])
def test_scores(harness: Any, how: str, labels: tuple[int, ...], dtype: Any) -> None:
    scores = 1 if labels == (9, 1) and how != "PROBIT" else len(labels)
    coefficients = np.random.default_rng(1).standard_normal(3 * scores)
    g, feeds = harness.graph(
        "LinearClassifier", [x(dtype)], domain=ML, outputs=2, classlabels_ints=labels, post_transform=how,
        coefficients=Floats(coefficients.tolist()), intercepts=Floats([0.3, -0.1, 0.0][:scores]), multi_class=1,
    )  # fmt: skip
    harness.same(RULE, g, feeds, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("attrs", "reason"),
    [
        ({"classlabels_strings": Strings(["a", "b"])}, "labels are strings"),
        ({"classlabels_ints": (1, 2), "intercepts": Floats([0.5]), "post_transform": "PROBIT"}, "PROBIT"),
        ({"classlabels_ints": (1, 2, 3)}, "scores for 3 labels"),
    ],
)
def test_declines(harness: Any, attrs: dict[str, Any], reason: str) -> None:
    g, _ = harness.graph(
        "LinearClassifier", [x()], domain=ML, outputs=2, coefficients=Floats([0.5] * 6),
        **{"intercepts": Floats([0.5] * 2), **attrs},
    )  # fmt: skip
    harness.declines(RULE, g, reason)
