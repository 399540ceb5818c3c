"""The logarithm of a sigmoid as one op, and what underflow did to it."""

from __future__ import annotations

from typing import Any

import numpy as np

from coregraft.passes.decompose.fuse_log_sigmoid import FuseLogSigmoid
from coregraft.rewriter.graph import Op
from coregraft.rewriter.passes import Rule
from coregraft.rewriter.types import DType, TensorType

RULE: Rule = FuseLogSigmoid()


def chain(harness: Any, x: np.ndarray[Any, Any]) -> tuple[Any, Any]:
    g, feeds = harness.graph("Sigmoid", [x])
    g.add_value("z", TensorType(DType.of(x.dtype)))
    g.add_op(Op("Log", ("y0",), ("z",), name="log"))
    g.set_outputs(["z"])
    return g, feeds


def test_agrees(harness: Any) -> None:
    g, feeds = chain(harness, np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32) * 3)
    assert harness.same(RULE, g, feeds, atol=1e-5).types == ["Neg", "Softplus", "Neg"]


def test_is_finite_where_the_detour_was_not(harness: Any) -> None:
    x = np.array([[-200.0, 1.0]], np.float32)
    g, feeds = chain(harness, x)
    outcome = harness.rewrite(RULE, g)
    assert not np.isfinite(harness.run(g, feeds)[0]).all()
    np.testing.assert_allclose(harness.run(outcome.after, feeds)[0], -np.logaddexp(0, -x), rtol=1e-5)
