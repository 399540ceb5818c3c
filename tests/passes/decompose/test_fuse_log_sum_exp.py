"""The logarithm of a sum of exponentials as one op, which does not overflow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.fuse_log_sum_exp import FuseLogSumExp
from coregraft.passes.decompose.stabilize_log_sum_exp import StabilizeLogSumExp
from coregraft.rewriter.onnx_io.text import parse

RULE = FuseLogSumExp()
TEXT = """
input x: float[3,4]
e = Exp(x)
s: float[{}] = ReduceSum(e, [1], keepdims={})
y = Log(s)
output y
"""


@pytest.mark.parametrize("keep", [0, 1])
def test_agrees(harness: Any, keep: int) -> None:
    g = parse(TEXT.format("3,1" if keep else "3", keep))
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    assert harness.same(RULE, g, {"x": x}).types == ["ReduceLogSumExp"]


def test_the_two_rules_together_survive_large_exponents(harness: Any) -> None:
    g = parse(TEXT.format("3", 0))
    x = np.full((3, 4), 500, np.float32)
    both = harness.rewrite(StabilizeLogSumExp(), harness.rewrite(RULE, g).after).after
    assert np.isinf(harness.run(g, {"x": x})[0]).all()
    np.testing.assert_allclose(harness.run(both, {"x": x})[0], 500 + np.log(4), rtol=1e-6)
