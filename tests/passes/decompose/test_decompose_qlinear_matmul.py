"""QLinearMatMul in float: within one level of onnxruntime's, and the same nearly everywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.decompose_qlinear_matmul import DecomposeQlinearMatmul
from coregraft.rewriter.types import Const

RULE = DecomposeQlinearMatmul()


def operands(columns: bool, scale_rank: int = 0) -> list[Any]:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (2, 5, 8), np.uint8), rng.integers(-127, 128, (8, 6), np.int8)
    scale = rng.uniform(0.01, 0.02, 6).astype(np.float32) if columns else np.array(0.015, np.float32)
    zero = np.zeros(6, np.int8) if columns else np.array(3, np.int8)
    a_scale = np.full([1] * scale_rank, 0.05, np.float32)
    rest: list[Any] = [
        a_scale,
        np.array(100, np.uint8).reshape([1] * scale_rank),
        b,
        scale,
        zero,
        np.array(0.2, np.float32),
        np.array(9, np.uint8),
    ]
    return [a, *(Const.of(v) for v in rest)]


@pytest.mark.parametrize("columns", [False, True])
def test_within_one_level(harness: Any, columns: bool) -> None:
    g, feeds = harness.graph("QLinearMatMul", operands(columns))
    outcome = harness.rewrite(RULE, g)
    assert outcome.types == ["DequantizeLinear", "DequantizeLinear", "MatMul", "QuantizeLinear"]
    want, got = (harness.run(which, feeds)[0].astype(int) for which in (g, outcome.after))
    assert np.abs(want - got).max() <= 1
    assert (want != got).mean() < 0.01


def test_declines_scales_with_more_axes(harness: Any) -> None:
    g, _ = harness.graph("QLinearMatMul", operands(False, scale_rank=2))
    harness.declines(RULE, g, "more than one axis")
