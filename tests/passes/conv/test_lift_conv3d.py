"""Flat 3-D convolutions against onnxruntime's 3-D ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from coregraft.passes.conv.geometry import Axis
from coregraft.passes.conv.lift_conv3d import LiftConv3d


def whole(shape: Any, seed: int) -> Any:
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(data=st.data())
def test_exact(single: Any, run: Any, rewrite: Any, data: st.DataObject) -> None:
    def numbers(low: int, high: int) -> list[int]:
        return data.draw(st.lists(st.integers(low, high), min_size=3, max_size=3))

    kernel, sizes, strides, dilations = numbers(1, 3), numbers(2, 6), numbers(1, 2), numbers(1, 2)
    kernel = [kernel[0], 1, 1] if data.draw(st.booleans()) else [1, *kernel[1:]]
    begins, ends = numbers(0, 2), numbers(0, 2)
    axes = [Axis(*a) for a in zip(sizes, kernel, strides, dilations, begins, ends, strict=True)]
    assume(all((a.out or 0) > 0 for a in axes))
    group = data.draw(st.integers(1, 2))
    inputs = {"x": [2, 2 * group, *sizes], "w": whole((2 * group, 2, *kernel), 1)}
    if data.draw(st.booleans()):
        inputs["b"] = whole(2 * group, 2)
    g = single("Conv", inputs, strides=strides, dilations=dilations, pads=[*begins, *ends], group=group)
    after, ctx = rewrite(g, LiftConv3d())
    assert ctx.counts["rewrites"] == 1, ctx.declined
    conv = next(op for _, op in after.ops() if op.type == "Conv")
    assert len(conv.attrs["kernel_shape"]) == 2
    x = whole((2, 2 * group, *sizes), 0)
    np.testing.assert_array_equal(run(after, {"x": x})[0], run(g, {"x": x})[0])


@pytest.mark.parametrize("shape", [["n", 2, 4, 5, 6], [1, 2, "d", 5, 6], [1, 2, 4, "h", 6]])
@pytest.mark.parametrize("kernel", [(3, 1, 1), (1, 3, 3)])
def test_one_dim_may_be_symbolic(single: Any, run: Any, rewrite: Any, shape: Any, kernel: Any) -> None:
    g = single("Conv", {"x": shape, "w": whole((2, 2, *kernel), 1)}, pads=[1, 0, 1, 1, 0, 1])
    after, ctx = rewrite(g, LiftConv3d())
    assert ctx.counts["rewrites"] == 1, ctx.declined
    x = whole([d if isinstance(d, int) else 7 for d in shape], 0)
    np.testing.assert_array_equal(run(after, {"x": x})[0], run(g, {"x": x})[0])


def test_weights_may_be_computed(single: Any, run: Any, rewrite: Any) -> None:
    g = single("Conv", {"x": [1, 2, 4, 5, 6], "w": [3, 2, 3, 1, 1]})
    after, _ = rewrite(g, LiftConv3d())
    feeds = {"x": whole((1, 2, 4, 5, 6), 0), "w": whole((3, 2, 3, 1, 1), 1)}
    np.testing.assert_array_equal(run(after, feeds)[0], run(g, feeds)[0])


@pytest.mark.parametrize(
    ("shape", "kernel", "reason"),
    [
        ([1, 2, 4, 5, 6], (2, 2, 1), "not flat"),
        ([1, 2, 5, 6], (1, 3), "not a 3-D"),
        (["n", 2, "d", 5, 6], (3, 1, 1), "2 dims are unknown"),
    ],
)
def test_what_is_left_alone(single: Any, rewrite: Any, shape: Any, kernel: Any, reason: str) -> None:
    after, ctx = rewrite(single("Conv", {"x": shape, "w": whole((2, 2, *kernel), 0)}), LiftConv3d())
    assert not ctx.rewriter(after).changed
    assert any(reason in text for text in ctx.declined), ctx.declined
