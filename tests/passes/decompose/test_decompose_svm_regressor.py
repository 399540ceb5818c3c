"""SVMRegressor against onnxruntime's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.decompose_svm_regressor import DecomposeSvmRegressor
from coregraft.rewriter.graph import Floats

RULE = DecomposeSvmRegressor()
ML = "ai.onnx.ml"


def machine(count: int = 5, **attrs: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    found = {
        "coefficients": Floats(rng.standard_normal(count or 3).tolist()),
        "kernel_params": Floats([0.3, 0.2, 3.0]),
        "n_supports": count,
        "rho": Floats([0.25]),
        "support_vectors": Floats(rng.standard_normal(3 * count).tolist()),
    }
    return {**found, **attrs}


def case(harness: Any, attrs: dict[str, Any], operand: Any = None) -> Any:
    x = (np.random.default_rng(5).standard_normal((9, 3)) * 2).astype(np.float32)
    return harness.graph("SVMRegressor", [x if operand is None else operand], domain=ML, **attrs)


@pytest.mark.parametrize("kind", ["LINEAR", "POLY", "RBF", "SIGMOID"])
@pytest.mark.parametrize("one_class", [0, 1])
@pytest.mark.parametrize("count", [0, 5])
def test_kernels(harness: Any, kind: str, one_class: int, count: int) -> None:
    g, feeds = case(harness, machine(count, kernel_type=kind, one_class=one_class))
    harness.same(RULE, g, feeds, rtol=1e-4, atol=1e-5)


def test_one_row(harness: Any) -> None:
    g, feeds = case(harness, machine(), np.array([0.5, -1, 2], np.float32))
    harness.same(RULE, g, feeds, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("format", ["mlprogram", "neuralnetwork"])
@pytest.mark.parametrize("kind", ["POLY", "RBF"])
def test_converted(harness: Any, format: str, kind: str) -> None:
    g, feeds = case(harness, machine(kernel_type=kind))
    harness.converts(g, feeds, format, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("attrs", "reason"),
    [
        ({"post_transform": "LOGISTIC"}, "onnxruntime ignores"),
        ({"coefficients": Floats([])}, "no coefficients"),
        ({"rho": Floats([])}, "no offset"),
        ({"n_supports": 4}, "are not 4"),
        ({"kernel_type": "WAVELET"}, "its kernel is WAVELET"),
    ],
)
def test_declines(harness: Any, attrs: dict[str, Any], reason: str) -> None:
    g, _ = case(harness, machine(**attrs))
    harness.declines(RULE, g, reason)


def test_an_input_of_unknown_rank(harness: Any) -> None:
    g, _ = case(harness, machine(), np.zeros((1, 2, 3), np.float32))
    harness.declines(RULE, g, "the rank of its input is 3")
