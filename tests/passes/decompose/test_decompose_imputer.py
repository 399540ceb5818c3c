"""Imputer as a choice, against onnxruntime's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.decompose_imputer import DecomposeImputer
from coregraft.rewriter.graph import Floats

RULE = DecomposeImputer()


@pytest.mark.parametrize("replaced", [float("nan"), -1.0])
@pytest.mark.parametrize("filled", [[7.0], [7.0, 8.0, 9.0]])
def test_floats(harness: Any, replaced: float, filled: list[float]) -> None:
    x = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    x[1, 2] = x[3, 0] = replaced
    g, feeds = harness.graph(
        "Imputer", [x], domain="ai.onnx.ml", imputed_value_floats=Floats(filled), replaced_value_float=replaced
    )
    harness.same(RULE, g, feeds)


def test_integers(harness: Any) -> None:
    x = np.array([[1, 0, 3], [0, 5, 0]], np.int64)
    g, feeds = harness.graph(
        "Imputer", [x], domain="ai.onnx.ml", imputed_value_int64s=(7, 8, 9), replaced_value_int64=0
    )
    harness.same(RULE, g, feeds)


def test_declines(harness: Any) -> None:
    g, _ = harness.graph("Imputer", [np.zeros((2, 2), np.float32)], domain="ai.onnx.ml", imputed_value_int64s=(1,))
    harness.declines(RULE, g, "no values of its input's type")
