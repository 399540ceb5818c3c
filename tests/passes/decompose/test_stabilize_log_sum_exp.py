"""ReduceLogSumExp shifted, against onnxruntime, and where it would overflow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.stabilize_log_sum_exp import StabilizeLogSumExp
from coregraft.rewriter.target import Target
from coregraft.rewriter.types import Const

RULE = StabilizeLogSumExp()


@pytest.mark.parametrize("axes", [None, [1], [0, 2], [-1]])
@pytest.mark.parametrize("keep", [0, 1])
def test_axes(harness: Any, axes: Any, keep: int) -> None:
    x = np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32) * 5
    operands = [x] if axes is None else [x, Const.of(np.array(axes, np.int64))]
    g, feeds = harness.graph("ReduceLogSumExp", operands, keepdims=keep)
    harness.same(RULE, g, feeds)


def test_infinities_and_large_values(harness: Any) -> None:
    x = np.array([[-np.inf] * 3, [np.inf, 1, 2], [200, 201, 202], [-300, -301, -np.inf]], np.float32)
    g, feeds = harness.graph("ReduceLogSumExp", [x, Const.of(np.array([1], np.int64))], keepdims=0)
    got = harness.run(harness.rewrite(RULE, g).after, feeds)[0]
    np.testing.assert_allclose(got, np.logaddexp.reduce(x.astype(np.float64), axis=1), rtol=1e-6)


def test_half_precision_holds_its_constants(harness: Any) -> None:
    g, _ = harness.graph("ReduceLogSumExp", [np.zeros((2, 3), np.float32)])
    after = harness.rewrite(RULE, g).after
    constants = [const.numpy() for value in after.values() if (const := after.const(value)) is not None]
    assert constants
    assert all(np.isfinite(array.astype(np.float16)).all() for array in constants)


def test_no_axes_at_all(harness: Any) -> None:
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    g, _ = harness.graph("ReduceLogSumExp", [x, Const.of(np.zeros(0, np.int64))], noop_with_empty_axes=1)
    assert harness.rewrite(RULE, g).types == []


def test_declines(harness: Any) -> None:
    x = np.zeros((2, 3), np.float32)
    g, _ = harness.graph("ReduceLogSumExp", [x, np.array([1], np.int64)])
    harness.declines(RULE, g, "computed at run time")
    g, _ = harness.graph("ReduceLogSumExp", [x])
    harness.declines(RULE, g, "has a lowering", target=Target.any())
    g, _ = harness.graph("ReduceLogSumExp", [np.zeros((2, 3), np.int32)])
    harness.declines(RULE, g, "known to be a float")
