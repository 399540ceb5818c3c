"""Softplus without overflow, against onnxruntime, and in fp16."""

from __future__ import annotations

from typing import Any

import numpy as np

from coregraft.passes.decompose.stabilize_softplus import StabilizeSoftplus
from coregraft.rewriter.target import Target

RULE = StabilizeSoftplus()


def test_agrees(harness: Any) -> None:
    x = np.concatenate([np.linspace(-90, 90, 401), [0.0, 1e4, -1e4]]).astype(np.float32)
    g, feeds = harness.graph("Softplus", [x])
    harness.same(RULE, g, feeds, rtol=1e-6, atol=1.2e-7)


def test_fp16_does_not_overflow(harness: Any) -> None:
    x = np.array([-50, -5, 0, 5, 11, 12, 40, 1000, 60000], np.float16)
    g, feeds = harness.graph("Softplus", [x])
    got = harness.run(harness.rewrite(RULE, g).after, feeds)[0]
    np.testing.assert_allclose(got, np.logaddexp(0, x.astype(np.float64)), rtol=2e-3, atol=1e-3)


def test_stays_in_onnx(harness: Any) -> None:
    g, _ = harness.graph("Softplus", [np.zeros(3, np.float32)])
    harness.declines(RULE, g, "has a lowering", target=Target.any())
