"""Col2Im as a transposed convolution, against onnxruntime's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from coregraft.passes.conv.geometry import window_axes
from coregraft.passes.decompose.decompose_col2im import DecomposeCol2im
from coregraft.rewriter.types import Const, DType, TensorType

RULE = DecomposeCol2im()


@pytest.mark.parametrize(
    ("image", "block", "attrs"),
    [
        ((5, 5), (2, 3), {}),
        ((6, 7), (2, 3), {"strides": [2, 2], "pads": [1, 0, 0, 1]}),
        ((7, 8), (2, 2), {"dilations": [2, 3], "strides": [2, 1]}),
        ((9,), (4,), {"strides": [3]}),
        ((3, 4, 5), (2, 2, 2), {}),
    ],
)
def test_blocks(harness: Any, image: tuple[int, ...], block: tuple[int, ...], attrs: dict[str, Any]) -> None:
    rank = len(image)
    pads, strides, dilations = (
        attrs.get("pads", [0] * (2 * rank)),
        attrs.get("strides", [1] * rank),
        attrs.get("dilations", [1] * rank),
    )
    counts = [
        (image[i] + pads[i] + pads[rank + i] - dilations[i] * (block[i] - 1) - 1) // strides[i] + 1 for i in range(rank)
    ]
    x = np.random.default_rng(0).standard_normal((2, 3 * int(np.prod(block)), int(np.prod(counts)))).astype(np.float32)
    shapes = [Const.of(np.array(v, np.int64)) for v in (image, block)]
    g, feeds = harness.graph("Col2Im", [x, *shapes], **attrs)
    harness.same(RULE, g, feeds)


@pytest.mark.parametrize(
    ("image", "block", "attrs", "made"),
    [
        ((4, 9), (2, 3), {}, 1),
        ((5, 5), (1, 5), {}, 2),  # or (5, 1)
        ((4, 4, 4), (1, 2, 1), {}, 3),
        ((6, 6), (2, 3), {"pads": [1, 0, 1, 0], "dilations": [2, 1]}, 1),
    ],
)
def test_shapes_at_run_time(
    harness: Any, image: tuple[int, ...], block: tuple[int, ...], attrs: dict[str, Any], made: int
) -> None:
    axes = window_axes(attrs, image, block)
    assert axes is not None
    n_blocks = math.prod(axis.out or 0 for axis in axes)
    x = np.random.default_rng(0).standard_normal((2, 3 * math.prod(block), n_blocks)).astype(np.float32)
    g, feeds = harness.graph("Col2Im", [x, np.array(image), np.array(block)], **attrs)
    g.nodes["y0"]["type"] = TensorType(DType.FLOAT, (2, 3, *image))
    assert harness.same(RULE, g, feeds).types.count("ConvTranspose") == made


def test_dilated_blocks_of_other_ranks_than_two(harness: Any) -> None:
    """Against numpy: onnxruntime 1.31 does not spread the taps of one or three dilated axes."""
    x = np.arange(1, 7, dtype=np.float32).reshape(1, 2, 3)
    g, feeds = harness.graph("Col2Im", [x, *(Const.of(np.array([n])) for n in (5, 2))], dilations=[2])
    got = harness.run(harness.rewrite(RULE, g).after, feeds)[0]
    np.testing.assert_array_equal(got, [[[1, 2, 3 + 4, 5, 6]]])


def test_declines(harness: Any) -> None:
    x, three, two = np.zeros((1, 4, 4), np.float32), np.array([3, 3]), np.array([2, 2])
    g, _ = harness.graph("Col2Im", [x, three, Const.of(two)])
    harness.declines(RULE, g, "computed at run time, and the shape of its result is not known")
    g, _ = harness.graph("Col2Im", [x, Const.of(three), Const.of(three)])
    harness.declines(RULE, g, "blocks [3, 3] of an image [3, 3] are not what its input has")
    g, _ = harness.graph("Col2Im", [x.astype(np.int32), Const.of(three), Const.of(two)])
    harness.declines(RULE, g, "it adds integers")
    g, _ = harness.graph("Col2Im", [np.zeros((1, 64, 1), np.float32), np.array([9, 9, 9]), two], strides=[9, 9, 9])
    g.nodes["y0"]["type"] = TensorType(DType.FLOAT, (1, 1, 9, 9, 9))
    harness.declines(RULE, g, "parameters give the declared shape")
