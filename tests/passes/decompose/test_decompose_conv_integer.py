"""ConvInteger in fp32: the same integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.decompose_conv_integer import DecomposeConvInteger
from coregraft.rewriter.types import Const

RULE = DecomposeConvInteger()


@pytest.mark.parametrize(
    "attrs",
    [{}, {"pads": [1, 2, 0, 1]}, {"strides": [2, 1], "dilations": [1, 2]}, {"group": 2}, {"auto_pad": "SAME_UPPER"}],
)
@pytest.mark.parametrize("zero", [False, True])
def test_attributes_and_zero_points(harness: Any, attrs: dict[str, Any], zero: bool) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (2, 4, 7, 8), np.uint8)
    w = rng.integers(0, 256, (6, 4 // attrs.get("group", 1), 3, 3), np.uint8)
    zeros = [np.array(9, np.uint8), Const.of(np.array(17, np.uint8))] if zero else []
    g, feeds = harness.graph("ConvInteger", [x, Const.of(w), *zeros], **attrs)
    harness.same(RULE, g, feeds)


def test_a_zero_point_for_each_channel_agrees_with_the_definition(harness: Any) -> None:
    """onnxruntime wants all of them equal: a convolution of 1x1 is a product, computed in numpy."""
    rng = np.random.default_rng(1)
    x, w = rng.integers(0, 256, (1, 4, 2, 2), np.uint8), rng.integers(0, 256, (3, 4, 1, 1), np.uint8)
    zero = np.array([1, 2, 3], np.uint8)
    g, feeds = harness.graph("ConvInteger", [x, Const.of(w), np.array(0, np.uint8), Const.of(zero)])
    got = harness.run(harness.rewrite(RULE, g).after, feeds)[0]
    want = np.einsum("oc,nchw->nohw", w[:, :, 0, 0].astype(int) - zero[:, None].astype(int), x.astype(int))
    np.testing.assert_array_equal(got, want)


def test_large_accumulators_take_two_parts(harness: Any) -> None:
    x, w = np.full((1, 64, 3, 3), 255, np.uint8), np.full((1, 64, 3, 3), 251, np.uint8)
    g, feeds = harness.graph("ConvInteger", [x, Const.of(w)])
    assert harness.same(RULE, g, feeds).types.count("Conv") == 2
    assert harness.run(g, feeds)[0].max() > 1 << 24


@pytest.mark.parametrize(("channels", "parts"), [(4, 1), (64, 2), (600, 4)])
@pytest.mark.parametrize("zeros", [False, True])
def test_weights_computed_at_run_time(harness: Any, channels: int, parts: int, zeros: bool) -> None:
    x, w = np.full((1, channels, 4, 4), 255, np.uint8), np.full((2, channels, 3, 3), 251, np.uint8)
    w[:, ::3] = 7
    operands = [x, w, np.array(3, np.uint8), np.array(11, np.uint8)] if zeros else [x, w]
    g, feeds = harness.graph("ConvInteger", operands, pads=[1, 1, 1, 1])
    assert harness.same(RULE, g, feeds).types.count("Conv") == parts


@pytest.mark.parametrize("zero", [0, 200])
def test_constant_weights_with_a_zero_point_computed_at_run_time(harness: Any, zero: int) -> None:
    """Each term is then at most 255 * 255, whatever the weights are: 300 of them no longer fit in one part."""
    x, w = np.full((1, 300, 2, 2), 255, np.uint8), np.full((2, 300, 1, 1), 3, np.uint8)
    g, feeds = harness.graph("ConvInteger", [x, Const.of(w), np.array(0, np.uint8), np.array(zero, np.uint8)])
    assert harness.same(RULE, g, feeds).types.count("Conv") == 2


def test_sums_that_are_too_long(harness: Any) -> None:
    x, w = np.zeros((1, 5000, 3, 3), np.uint8), np.zeros((1, 5000, 3, 3), np.uint8)
    g, _ = harness.graph("ConvInteger", [x, w])
    harness.declines(RULE, g, "may leave int32")
