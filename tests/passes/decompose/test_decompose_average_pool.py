"""AveragePool by slices, against onnxruntime's."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from coregraft.passes.decompose.decompose_average_pool import DecomposeAveragePool
from coregraft.rewriter.target import Target

RULE = DecomposeAveragePool()


def image(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    size=st.tuples(st.integers(9, 14), st.integers(9, 14)),
    kernel=st.tuples(st.integers(1, 3), st.integers(2, 3)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 4)),
    dilations=st.tuples(st.integers(1, 3), st.integers(2, 3)),
    begin=st.tuples(st.integers(0, 1), st.integers(0, 1)),
    end=st.tuples(st.integers(0, 1), st.integers(0, 1)),
    ceil=st.integers(0, 1),
    include=st.integers(0, 1),
)
def test_windows(
    harness: Any, size: Any, kernel: Any, strides: Any, dilations: Any, begin: Any, end: Any, ceil: int, include: int
) -> None:
    pads = tuple(min(p, k - 1) for p, k in zip(begin + end, kernel + kernel, strict=True))
    g, feeds = harness.graph(
        "AveragePool",
        [image(2, 3, *size)],
        kernel_shape=kernel,
        strides=strides,
        dilations=dilations,
        pads=pads,
        ceil_mode=ceil,
        count_include_pad=include,
    )
    harness.same(RULE, g, feeds, atol=2e-6)


def test_volumes(harness: Any) -> None:
    g, feeds = harness.graph("AveragePool", [image(1, 2, 6, 7, 8)], kernel_shape=[2, 2, 2], dilations=[2, 1, 3])
    harness.same(RULE, g, feeds)


def test_declines(harness: Any) -> None:
    g, _ = harness.graph(
        "AveragePool", [image(1, 2, 9, 9)], kernel_shape=[3, 3], ceil_mode=1, strides=[2, 2], pads=[1, 1, 1, 1]
    )
    harness.declines(RULE, g, "has a lowering")
    g, _ = harness.graph("AveragePool", [image(1, 2, 9)], kernel_shape=[3], dilations=[2])
    harness.declines(RULE, g, "has a lowering", target=Target.any())
    g, _ = harness.graph("AveragePool", [image(1, 2, 9)], dims={0: [1, 2, "w"]}, kernel_shape=[3], dilations=[2])
    harness.declines(RULE, g, "sizes are not known")
    g, _ = harness.graph("AveragePool", [image(1, 2, 9)], kernel_shape=[2], pads=[2, 0])
    harness.declines(RULE, g, "counts no element")
