"""QLinearConv in float: within one level of onnxruntime's, and the same nearly everywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.decompose_qlinear_conv import DecomposeQlinearConv
from coregraft.rewriter.types import Const

RULE = DecomposeQlinearConv()


def operands(per_channel: bool, bias: bool) -> list[Any]:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (2, 4, 7, 8), np.uint8)
    w = rng.integers(-127, 128, (6, 4, 3, 3), np.int8)
    n = 6 if per_channel else 1
    shape = (n,) if per_channel else ()
    w_scale = rng.uniform(0.01, 0.02, n).astype(np.float32).reshape(shape)
    w_zero = np.zeros(n, np.int8).reshape(shape)
    rest: list[Any] = [
        np.array(0.05, np.float32),
        np.array(128, np.uint8),
        w,
        w_scale,
        w_zero,
        np.array(0.3, np.float32),
        np.array(120, np.uint8),
    ]
    constants = [Const.of(v) for v in rest]
    return [x, *constants, *([Const.of(rng.integers(-1000, 1000, 6, np.int32))] if bias else [])]


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("attrs", [{}, {"pads": [1, 1, 1, 1], "strides": [2, 2]}])
def test_within_one_level(harness: Any, per_channel: bool, bias: bool, attrs: dict[str, Any]) -> None:
    g, feeds = harness.graph("QLinearConv", operands(per_channel, bias), **attrs)
    outcome = harness.rewrite(RULE, g)
    assert outcome.types[-2:] == ["Conv", "QuantizeLinear"]
    want, got = (harness.run(which, feeds)[0].astype(int) for which in (g, outcome.after))
    assert np.abs(want - got).max() <= 1
    assert (want != got).mean() < 0.01
    assert want.std() > 5


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("computed", [{1}, {4}, {8}, set(range(1, 9))], ids=str)
def test_operands_at_run_time(harness: Any, per_channel: bool, computed: set[int]) -> None:
    given = [v.numpy() if i in computed else v for i, v in enumerate(operands(per_channel, True))]
    g, feeds = harness.graph("QLinearConv", given, pads=[1, 0, 1, 0])
    want, got = (harness.run(which, feeds)[0].astype(int) for which in (g, harness.rewrite(RULE, g).after))
    assert np.abs(want - got).max() <= 1
    assert (want != got).mean() < 0.01


@pytest.mark.parametrize(("index", "shape"), [(1, (4,)), (4, (6, 1)), (6, (6,))])
def test_declines_scales_of_other_shapes(harness: Any, index: int, shape: tuple[int, ...]) -> None:
    """One for each channel of the input or of the result, and one for each channel of the weights as a column."""
    given = operands(False, True)
    given[index] = Const.of(np.full(shape, 0.1, np.float32))
    g, _ = harness.graph("QLinearConv", given)
    harness.declines(RULE, g, "neither one number")
