"""Dilated MaxPool by slices, with and without indices, against onnxruntime's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coregraft.passes.decompose.decompose_max_pool import DecomposeMaxPool
from coregraft.rewriter.target import Target

RULE = DecomposeMaxPool()


def image(*shape: int, dtype: Any = np.float32) -> np.ndarray[Any, Any]:
    values = np.random.default_rng(0).integers(-90, 90, shape)  # ties on purpose
    return (values + 90 if dtype is np.uint8 else values).astype(dtype)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    size=st.tuples(st.integers(9, 14), st.integers(9, 14)),
    kernel=st.tuples(st.integers(1, 3), st.integers(2, 3)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 4)),
    dilations=st.tuples(st.integers(1, 3), st.integers(2, 3)),
    begin=st.tuples(st.integers(0, 1), st.integers(0, 1)),
    end=st.tuples(st.integers(0, 1), st.integers(0, 1)),
    ceil=st.integers(0, 1),
)
def test_windows(
    harness: Any, size: Any, kernel: Any, strides: Any, dilations: Any, begin: Any, end: Any, ceil: int
) -> None:
    pads = tuple(min(p, k - 1) for p, k in zip(begin + end, kernel + kernel, strict=True))
    g, feeds = harness.graph(
        "MaxPool",
        [image(2, 3, *size)],
        kernel_shape=kernel,
        strides=strides,
        dilations=dilations,
        pads=pads,
        ceil_mode=ceil,
    )
    harness.same(RULE, g, feeds)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.float64])
def test_other_types(harness: Any, dtype: Any) -> None:
    g, feeds = harness.graph(
        "MaxPool", [image(1, 2, 9, 9, dtype=dtype)], kernel_shape=[3, 3], dilations=[2, 2], pads=[1, 1, 1, 1]
    )
    harness.same(RULE, g, feeds)


def test_one_and_three_axes(harness: Any) -> None:
    g, feeds = harness.graph("MaxPool", [image(2, 2, 11)], kernel_shape=[3], dilations=[4])
    assert harness.same(RULE, g, feeds).types == ["Slice", "Slice", "Slice", "Max"]
    g, feeds = harness.graph("MaxPool", [image(1, 2, 6, 7, 8)], kernel_shape=[2, 2, 2], dilations=[2, 1, 3])
    harness.same(RULE, g, feeds)


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("wanted", [(True, True), (False, True)])
def test_indices(harness: Any, order: int, wanted: tuple[bool, bool]) -> None:
    for shape, attrs in (
        ((2, 3, 7, 9), {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1]}),
        ((2, 3, 11), {"kernel_shape": [3], "strides": [2], "ceil_mode": 1}),
        ((2, 2, 4, 5, 6), {"kernel_shape": [2, 3, 2], "strides": [1, 2, 2], "pads": [0, 1, 1, 1, 1, 0]}),
        ((1, 2, 5, 6, 5), {"kernel_shape": [2, 2, 3], "dilations": [2, 3, 1], "ceil_mode": 1}),
    ):
        g, feeds = harness.graph("MaxPool", [image(*shape)], outputs=[True, True], storage_order=order, **attrs)
        if not wanted[0]:
            g.set_outputs(["y1"])
        harness.same(RULE, g, feeds)


def test_a_batch_that_is_unknown(harness: Any) -> None:
    g, feeds = harness.graph("MaxPool", [image(2, 2, 11)], dims={0: ["n", 2, 11]}, kernel_shape=[3], dilations=[4])
    harness.same(RULE, g, feeds)


def test_declines(harness: Any) -> None:
    g, _ = harness.graph("MaxPool", [image(1, 2, 9, 9)], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    harness.declines(RULE, g, "has a lowering")
    g, _ = harness.graph("MaxPool", [image(1, 2, 9, 9)], kernel_shape=[3, 3], dilations=[2, 2])
    harness.declines(RULE, g, "has a lowering", target=Target.any())
    g, _ = harness.graph("MaxPool", [image(1, 2, 9)], dims={0: [1, 2, "w"]}, kernel_shape=[3], dilations=[2])
    harness.declines(RULE, g, "sizes are not known")
    g, _ = harness.graph("MaxPool", [image(1, 2, 9)], kernel_shape=[3], dilations=[2], auto_pad="SAME_UPPER")
    harness.declines(RULE, g, "pads are not explicit")
    g, _ = harness.graph("MaxPool", [image(1, 2, 9)], dims={0: ["n", 2, 9]}, outputs=2, kernel_shape=[2])
    harness.declines(RULE, g, "its indices are read, and the shape of the input is not known")
    g, _ = harness.graph("MaxPool", [image(1, 2, 4)], kernel_shape=[3], dilations=[2], strides=[3])
    harness.declines(RULE, g, "no window fits")
