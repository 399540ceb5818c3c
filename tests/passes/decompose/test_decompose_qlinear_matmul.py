"""QLinearMatMul in float: within one level of onnxruntime's, and the same nearly everywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.decompose_qlinear_matmul import DecomposeQlinearMatmul
from coregraft.rewriter.types import Const

RULE = DecomposeQlinearMatmul()


def operands(columns: bool) -> list[Any]:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (2, 5, 8), np.uint8), rng.integers(-127, 128, (8, 6), np.int8)
    scale = rng.uniform(0.01, 0.02, 6).astype(np.float32) if columns else np.array(0.015, np.float32)
    zero = np.zeros(6, np.int8) if columns else np.array(3, np.int8)
    one = (np.array(0.05, np.float32), np.array(100, np.uint8))
    return [a, *(Const.of(v) for v in (*one, b, scale, zero, np.array(0.2, np.float32), np.array(9, np.uint8)))]


@pytest.mark.parametrize("columns", [False, True])
def test_within_one_level(harness: Any, columns: bool) -> None:
    g, feeds = harness.graph("QLinearMatMul", operands(columns))
    outcome = harness.rewrite(RULE, g)
    assert outcome.types == ["DequantizeLinear", "DequantizeLinear", "MatMul", "QuantizeLinear"]
    want, got = (harness.run(which, feeds)[0].astype(int) for which in (g, outcome.after))
    assert np.abs(want - got).max() <= 1
    assert (want != got).mean() < 0.01


@pytest.mark.parametrize(
    ("left", "right", "result"),
    [((2, 5, 1), (), ()), ((), (2, 1, 6), ()), ((1, 1), (1, 1), (2, 5, 1)), ((2, 1, 1), (6,), (1, 1, 1))],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_scales_of_a_batch(
    harness: Any, left: tuple[int, ...], right: tuple[int, ...], result: tuple[int, ...], dtype: Any
) -> None:
    """Against the formula in numpy, since onnxruntime has them for the right operand only."""
    rng = np.random.default_rng(2)
    a, b = rng.integers(0, 256, (2, 5, 8), np.uint8), rng.integers(-127, 128, (2, 8, 6), np.int8)
    scales = [rng.uniform(0.02, 0.05, shape).astype(dtype) for shape in (left, right, result)]
    scales[2] = (scales[2] * 6).astype(dtype)
    zeros = [np.asarray(rng.integers(0, 20, s.shape)).astype(kind) for s, kind in zip(scales, "BbB", strict=True)]
    given = [a, scales[0], zeros[0], b, *(Const.of(v) for v in (scales[1], zeros[1], scales[2], zeros[2]))]
    g, feeds = harness.graph("QLinearMatMul", given)
    got = harness.run(harness.rewrite(RULE, g).after, feeds)[0]
    wide = [(v.astype(float) - z) * s for v, s, z in zip((a, b), scales, zeros, strict=False)]
    want = np.clip(np.rint(wide[0] @ wide[1] / scales[2]) + zeros[2], 0, 255)
    assert got.dtype == np.uint8
    assert np.abs(got - want).max() <= 1
    assert want.std() > 5


def test_vectors(harness: Any) -> None:
    rng = np.random.default_rng(0)
    given = operands(False)
    given[0], given[3] = rng.integers(0, 256, 8, np.uint8), Const.of(rng.integers(-127, 128, 8, np.int8))
    g, feeds = harness.graph("QLinearMatMul", given)
    want, got = (harness.run(which, feeds)[0].astype(int) for which in (g, harness.rewrite(RULE, g).after))
    assert want.shape == got.shape == ()
    assert abs(want - got) <= 1


def test_declines_scales_by_row_of_a_vector(harness: Any) -> None:
    given = operands(False)
    given[0], given[1] = np.zeros(8, np.uint8), Const.of(np.ones(8, np.float32))
    g, _ = harness.graph("QLinearMatMul", given)
    harness.declines(RULE, g, "for each row or column of matrices")
