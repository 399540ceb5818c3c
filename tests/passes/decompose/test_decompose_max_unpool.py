"""MaxUnpool as a scatter, against onnxruntime's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.decompose_max_unpool import DecomposeMaxUnpool
from coregraft.rewriter.types import Const, DType, TensorType

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


@pytest.mark.parametrize("constant", [True, False])
def test_an_output_shape_that_is_the_pools_own(harness: Any, constant: bool) -> None:
    x, places = np.arange(4, dtype=np.float32).reshape(1, 2, 2), np.array([[[1, 2], [6, 4]]])
    full: Any = np.array([1, 2, 4])
    g, feeds = harness.graph(
        "MaxUnpool", [x, places, Const.of(full) if constant else full], kernel_shape=[2], strides=[2]
    )
    g.nodes["y0"]["type"] = TensorType(DType.FLOAT, (1, 2, 4))
    harness.same(RULE, g, feeds)


def test_declines_a_shape_of_its_own(harness: Any) -> None:
    x, places = np.zeros((1, 1, 2), np.float32), np.zeros((1, 1, 2), np.int64)
    for shape in (Const.of(np.array([1, 1, 5])), np.array([1, 1, 5])):
        g, _ = harness.graph("MaxUnpool", [x, places, shape], kernel_shape=[2], strides=[2])
        harness.declines(RULE, g, "output shape of its own")
