"""LinearRegressor as a product, against onnxruntime's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.decompose_linear_regressor import DecomposeLinearRegressor
from coregraft.rewriter.graph import Floats

RULE = DecomposeLinearRegressor()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize("targets", [1, 2])
@pytest.mark.parametrize("intercepts", [True, False])
def test_options(harness: Any, dtype: Any, targets: int, intercepts: bool) -> None:
    rng = np.random.default_rng(0)
    attrs = {"intercepts": Floats(rng.standard_normal(targets).tolist())} if intercepts else {}
    coefficients = Floats(rng.standard_normal(targets * 3).tolist())
    g, feeds = harness.graph(
        "LinearRegressor",
        [(rng.standard_normal((5, 3)) * 4).astype(dtype)],
        domain="ai.onnx.ml",
        coefficients=coefficients,
        targets=targets,
        **attrs,
    )
    if dtype is np.float32:
        harness.same(RULE, g, feeds)
        return
    got = harness.run(harness.rewrite(RULE, g).after, feeds)[0]  # onnxruntime has no kernel for these
    want = feeds["x0"].astype(np.float64) @ np.array(coefficients).reshape(targets, 3).T + (
        attrs.get("intercepts") or 0.0
    )
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("how", ["LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO", "PROBIT"])
@pytest.mark.parametrize("targets", [1, 2])
def test_transforms(harness: Any, how: str, targets: int) -> None:
    if targets == 1 and how != "PROBIT":
        return  # declined, see below
    rng = np.random.default_rng(0)
    g, feeds = harness.graph(
        "LinearRegressor", [rng.random((5, 3)).astype(np.float32)], domain="ai.onnx.ml", post_transform=how,
        coefficients=Floats((rng.random(3 * targets) / 3).tolist()), targets=targets,
    )  # fmt: skip
    harness.same(RULE, g, feeds, rtol=1e-4, atol=1e-5)


def test_declines_a_transform(harness: Any) -> None:
    g, _ = harness.graph(
        "LinearRegressor",
        [np.zeros((2, 2), np.float32)],
        domain="ai.onnx.ml",
        coefficients=Floats([1.0, 2.0]),
        post_transform="LOGISTIC",
    )
    harness.declines(RULE, g, "post_transform")
