"""Grouped dilated convolutions, one convolution a group."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.conv.split_grouped_dilated import SplitGroupedDilated


def whole(shape: Any, seed: int) -> Any:
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32)


@pytest.mark.parametrize("group", [2, 3, 6])
@pytest.mark.parametrize("bias", [False, True])
def test_exact(single: Any, run: Any, rewrite: Any, group: int, bias: bool) -> None:
    inputs = {"x": ["n", 6, "h", "w"], "w": whole((12, 6 // group, 3, 3), 1), **({"b": whole(12, 2)} if bias else {})}
    attrs = {"dilations": [2, 3], "strides": [2, 1], "pads": [2, 1, 0, 3], "auto_pad": "NOTSET"}
    g = single("Conv", inputs, group=group, **attrs)
    after, _ = rewrite(g, SplitGroupedDilated())
    types = sorted(op.type for _, op in after.ops())
    assert types == ["Concat", *["Conv"] * group, "Split"]
    x = whole((2, 6, 11, 12), 0)
    np.testing.assert_array_equal(run(after, {"x": x})[0], run(g, {"x": x})[0])


@pytest.mark.parametrize(
    ("inputs", "attrs", "reason"),
    [
        ({"x": [1, 4, 9], "w": whole((4, 2, 3), 0)}, {"group": 2}, "does not fit"),
        ({"x": [1, 4, 9], "w": whole((4, 4, 3), 0)}, {"dilations": [2]}, "does not fit"),
        ({"x": [1, 4, 9], "w": [4, 2, 3]}, {"group": 2, "dilations": [2]}, "run time"),
        ({"x": [1, 20, 9], "w": whole((20, 1, 3), 0)}, {"group": 20, "dilations": [2]}, "20 groups"),
    ],
)
def test_what_is_left_alone(single: Any, rewrite: Any, inputs: Any, attrs: Any, reason: str) -> None:
    after, ctx = rewrite(single("Conv", inputs, **attrs), SplitGroupedDilated())
    assert not ctx.rewriter(after).changed
    assert any(reason in text for text in ctx.declined), ctx.declined
