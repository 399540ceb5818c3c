"""LogSoftmax as a difference, against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.stabilize_log_softmax import StabilizeLogSoftmax
from coregraft.rewriter.target import Target

RULE = StabilizeLogSoftmax()


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_axes(harness: Any, axis: int) -> None:
    x = np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32) * 30
    g, feeds = harness.graph("LogSoftmax", [x], axis=axis)
    harness.same(RULE, g, feeds, atol=1e-5)


def test_a_masked_logit_stays_minus_infinity(harness: Any) -> None:
    x = np.array([[0, 50, -np.inf, -60000]], np.float32)
    g, feeds = harness.graph("LogSoftmax", [x])
    harness.same(RULE, g, feeds)


def test_stays_in_onnx(harness: Any) -> None:
    g, _ = harness.graph("LogSoftmax", [np.zeros((2, 3), np.float32)])
    harness.declines(RULE, g, "has a lowering", target=Target.any())
