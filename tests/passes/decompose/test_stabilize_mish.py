"""Mish without logarithm, against onnxruntime, and in fp16."""

from __future__ import annotations

from typing import Any

import numpy as np

from coregraft.passes.decompose.stabilize_mish import StabilizeMish
from coregraft.rewriter.target import Target

RULE = StabilizeMish()


def test_agrees(harness: Any) -> None:
    x = np.concatenate([np.linspace(-30, 30, 401), [0.0, 1e4, -1e4]]).astype(np.float32)
    g, feeds = harness.graph("Mish", [x])
    harness.same(RULE, g, feeds, rtol=2e-6, atol=1e-6)


def test_fp16_does_not_overflow(harness: Any) -> None:
    x = np.array([-1000, -20, -1, 0, 1, 11, 12, 1000, 60000], np.float16)
    g, feeds = harness.graph("Mish", [x])
    got = harness.run(harness.rewrite(RULE, g).after, feeds)[0]
    wide = x.astype(np.float64)
    np.testing.assert_allclose(got, wide * np.tanh(np.logaddexp(0, wide)), rtol=4e-3, atol=1e-3)


def test_stays_in_onnx(harness: Any) -> None:
    g, _ = harness.graph("Mish", [np.zeros(3, np.float32)])
    harness.declines(RULE, g, "has a lowering", target=Target.any())
