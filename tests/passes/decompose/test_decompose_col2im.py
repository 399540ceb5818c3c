"""Col2Im as a transposed convolution, against onnxruntime's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.decompose_col2im import DecomposeCol2im
from coregraft.rewriter.types import Const

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


def test_declines_a_shape_that_is_computed(harness: Any) -> None:
    x, two = np.zeros((1, 4, 4), np.float32), np.array([2, 2], np.int64)
    g, _ = harness.graph("Col2Im", [x, np.array([3, 3], np.int64), Const.of(two)])
    harness.declines(RULE, g, "computed at run time")
