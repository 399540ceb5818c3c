"""Transposed convolutions without overlap as 1x1 convolutions and a rearrangement."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coregraft.passes.conv.conv_transpose_to_depth_to_space import ConvTransposeToDepthToSpace


def whole(shape: Any, seed: int) -> Any:
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32)


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_exact(single: Any, run: Any, rewrite: Any, data: st.DataObject) -> None:
    rank, group = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 2))
    sizes, strides = (data.draw(st.lists(st.integers(*r), min_size=rank, max_size=rank)) for r in ((1, 5), (1, 4)))
    inputs = {"x": [2, 2 * group, *sizes], "w": whole((2 * group, 3, *strides), 1)}
    if data.draw(st.booleans()):
        inputs["b"] = whole(3 * group, 2)
    g = single("ConvTranspose", inputs, strides=strides, group=group)
    after, ctx = rewrite(g, ConvTransposeToDepthToSpace(min_stride=1))
    assert ctx.counts["rewrites"] == 1, ctx.declined
    assert all((t.rank or 0) <= 5 for v in after.values() if (t := after.tensor_type(v)) is not None)
    x = whole((2, 2 * group, *sizes), 0)
    np.testing.assert_array_equal(run(after, {"x": x})[0], run(g, {"x": x})[0])


def test_square_blocks_are_depth_to_space_at_any_size(single: Any, run: Any, rewrite: Any) -> None:
    g = single("ConvTranspose", {"x": ["n", 2, "h", "w"], "w": whole((2, 3, 4, 4), 1)}, strides=[4, 4])
    after, _ = rewrite(g, ConvTransposeToDepthToSpace())
    assert [after.op(i).type for i in after.topological()] == ["Conv", "DepthToSpace"]
    x = whole((2, 2, 3, 5), 0)
    np.testing.assert_array_equal(run(after, {"x": x})[0], run(g, {"x": x})[0])


@pytest.mark.parametrize(
    ("inputs", "attrs", "reason"),
    [
        ({"x": [1, 2, 5], "w": whole((2, 3, 4), 0)}, {"strides": [3]}, "differ"),
        ({"x": [1, 2, 5], "w": whole((2, 3, 3), 0)}, {"strides": [3], "dilations": [2]}, "dilation"),
        ({"x": [1, 2, 5], "w": whole((2, 3, 3), 0)}, {"strides": [3], "pads": [1, 0]}, "padding"),
        ({"x": [1, 2, 5], "w": whole((2, 3, 2), 0)}, {"strides": [2]}, "below 3"),
        ({"x": [1, 2, 5], "w": [2, 3, 3]}, {"strides": [3]}, "run time"),
        ({"x": ["n", 2, "t"], "w": whole((2, 3, 3), 0)}, {"strides": [3]}, "more than one dim"),
    ],
)
def test_what_is_left_alone(single: Any, rewrite: Any, inputs: Any, attrs: Any, reason: str) -> None:
    after, ctx = rewrite(single("ConvTranspose", inputs, **attrs), ConvTransposeToDepthToSpace())
    assert not ctx.rewriter(after).changed
    assert any(reason in text for text in ctx.declined), ctx.declined
