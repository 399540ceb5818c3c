"""MaxUnpool as a scatter, against onnxruntime's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.decompose_max_unpool import DecomposeMaxUnpool
from coregraft.rewriter.types import Const

RULE = DecomposeMaxUnpool()


@pytest.mark.parametrize(
    ("shape", "attrs"),
    [
        ((2, 3, 4), {"kernel_shape": [2], "strides": [2]}),
        ((2, 2, 3, 4), {"kernel_shape": [2, 3], "strides": [2, 3], "pads": [0, 1, 1, 0]}),
    ],
)
def test_places(harness: Any, shape: tuple[int, ...], attrs: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape).astype(np.float32)
    places = np.sort(rng.choice(x.size, x.size, replace=False)).reshape(shape).astype(np.int64)
    g, feeds = harness.graph("MaxUnpool", [x, places], **attrs)
    harness.same(RULE, g, feeds)


def test_declines_a_shape_of_its_own(harness: Any) -> None:
    x, places = np.zeros((1, 1, 2), np.float32), np.zeros((1, 1, 2), np.int64)
    g, _ = harness.graph(
        "MaxUnpool", [x, places, Const.of(np.array([1, 1, 5], np.int64))], kernel_shape=[2], strides=[2]
    )
    harness.declines(RULE, g, "output shape of its own")
