"""SVMClassifier against onnxruntime's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.decompose_svm_classifier import DecomposeSvmClassifier
from coregraft.rewriter.graph import Floats, Strings

RULE = DecomposeSvmClassifier()
ML = "ai.onnx.ml"
KERNELS = ["LINEAR", "POLY", "RBF", "SIGMOID"]
TRANSFORMS = ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"]


def machine(labels: int, features: int = 3, *, probable: bool = False, seed: int = 0, **attrs: Any) -> dict[str, Any]:
    """Attributes of a machine with support vectors: 1, 2, 3, … of them for each label."""
    rng = np.random.default_rng(seed)
    per_label = [1 + (2 * i) % 3 for i in range(labels)]
    count, pairs = sum(per_label), labels * (labels - 1) // 2

    def numbers(*shape: int) -> Floats:
        return Floats(rng.standard_normal(shape).astype(np.float32).ravel().tolist())

    found = {
        "classlabels_ints": tuple(range(3, 3 + 2 * labels, 2)),
        "coefficients": numbers(labels - 1, count),
        "kernel_params": Floats([0.3, 0.2, 3.0]),
        "rho": numbers(pairs),
        "support_vectors": numbers(count, features),
        "vectors_per_class": tuple(per_label),
        **({"prob_a": numbers(pairs), "prob_b": numbers(pairs)} if probable else {}),
    }
    return {**found, **attrs}


def x(rows: int = 9, dtype: Any = np.float32) -> Any:
    return (np.random.default_rng(5).standard_normal((rows, 3)) * 2).astype(dtype)


def case(harness: Any, operand: Any, attrs: dict[str, Any], outputs: Any = 2) -> Any:
    return harness.graph("SVMClassifier", [operand], domain=ML, outputs=outputs, **attrs)


@pytest.mark.parametrize("labels", [2, 3, 5])
@pytest.mark.parametrize("probable", [False, True])
@pytest.mark.parametrize("how", TRANSFORMS)
def test_scores(harness: Any, labels: int, probable: bool, how: str) -> None:
    g, feeds = case(harness, x(), machine(labels, probable=probable, post_transform=how, kernel_type="RBF"))
    harness.same(RULE, g, feeds, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KERNELS)
@pytest.mark.parametrize("degree", [1.0, 2.0, 3.0, 4.0])
def test_kernels(harness: Any, kind: str, degree: float) -> None:
    attrs = machine(3, kernel_type=kind, kernel_params=Floats([0.3, 0.2, degree]))
    g, feeds = case(harness, x(), attrs)
    harness.same(RULE, g, feeds, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", range(8))
def test_many_estimates(harness: Any, seed: int) -> None:
    attrs = machine(2 + seed % 4, probable=True, seed=seed, kernel_type="LINEAR")
    attrs["prob_a"] = Floats([v * 10 ** (seed % 3) for v in attrs["prob_a"]])
    g, feeds = case(harness, x(200), attrs)
    harness.same(RULE, g, feeds, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("labels", [2, 3])
@pytest.mark.parametrize("how", TRANSFORMS)
@pytest.mark.parametrize("sign", ["mixed", "positive"])
@pytest.mark.parametrize("probable", [False, True])
def test_without_vectors(harness: Any, labels: int, how: str, sign: str, probable: bool) -> None:
    weights = np.random.default_rng(1).standard_normal(3 * labels)
    attrs = {
        "classlabels_ints": tuple(range(labels)), "kernel_params": Floats([0.0, 0.0, 0.0]), "rho": Floats([0.1]),
        "coefficients": Floats((np.abs(weights) if sign == "positive" else weights).tolist()), "post_transform": how,
    }  # fmt: skip
    if probable:
        pairs = [0.5] * (labels * (labels - 1) // 2)
        attrs |= {"prob_a": Floats(pairs), "prob_b": Floats(pairs)}
    g, feeds = case(harness, x(20), attrs)
    harness.same(RULE, g, feeds, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.int32])
def test_other_inputs(harness: Any, dtype: Any) -> None:
    g, feeds = case(harness, x(dtype=dtype), machine(3))
    harness.same(RULE, g, feeds, rtol=1e-4, atol=1e-5)


def test_one_row(harness: Any) -> None:
    g, feeds = case(harness, x()[0], machine(3, probable=True))
    harness.same(RULE, g, feeds, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("format", ["mlprogram", "neuralnetwork"])
@pytest.mark.parametrize(("kind", "probable"), [("LINEAR", False), ("POLY", False), ("SIGMOID", False), ("RBF", True)])
def test_converted(harness: Any, format: str, kind: str, probable: bool) -> None:
    g, feeds = case(harness, x(), machine(3, probable=probable, kernel_type=kind))
    harness.converts(g, feeds, format, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("attrs", "reason"),
    [
        ({"classlabels_ints": (), "classlabels_strings": Strings(["a", "b", "c"])}, "labels are strings"),
        ({"classlabels_ints": (1,)}, "one label"),
        ({"post_transform": "PROBIT"}, "PROBIT"),
        ({"kernel_type": "WAVELET"}, "its kernel is WAVELET"),
        ({"kernel_params": Floats([1.0])}, "1 parameters"),
        ({"rho": Floats([1.0])}, "every two labels"),
        ({"prob_a": Floats([1.0]), "prob_b": Floats([1.0])}, "probabilities"),
        ({"support_vectors": Floats([])}, "support vectors are not"),
        ({"vectors_per_class": (), "coefficients": Floats([1.0])}, "for each label"),
    ],
)
def test_declines(harness: Any, attrs: dict[str, Any], reason: str) -> None:
    g, _ = case(harness, x(), machine(3, **attrs))
    harness.declines(RULE, g, reason)
