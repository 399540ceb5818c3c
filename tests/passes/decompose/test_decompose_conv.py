"""decompose-conv: weights at run time, in every geometry."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.lowering import targets
from coregraft.passes.decompose.decompose_conv import DecomposeConv
from coregraft.rewriter.manager import PassManager
from coregraft.rewriter.onnx_io.text import parse
from coregraft.rewriter.types import Array, Const

from .conftest import Harness

RNG = np.random.default_rng(9)


def floats(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(("x", "w", "attrs"), [
    ((2, 4, 9), (4, 1, 3), {"group": 4}),
    ((1, 4, 9), (8, 1, 3), {"group": 4, "pads": [2, 1], "strides": [2]}),
    ((1, 4, 7, 8), (6, 2, 3, 2), {"group": 2, "pads": [1, 0, 0, 2], "dilations": [2, 3]}),
    ((1, 3, 7, 8), (5, 3, 2, 2), {"dilations": [1, 2], "strides": [3, 2]}),
    ((1, 2, 4, 4, 4), (2, 1, 2, 2, 2), {"group": 2}),
])  # fmt: skip
@pytest.mark.parametrize("bias", [False, True])
def test_geometries(harness: Harness, x: Any, w: Any, attrs: dict[str, Any], bias: bool) -> None:
    operands = [floats(*x), floats(*w), *([floats(w[0])] if bias else [])]
    found = harness.same(DecomposeConv(), *harness.graph("Conv", operands, **attrs))
    assert "Conv" not in found.types


@pytest.mark.parametrize(("w", "attrs"), [
    (Const.of(floats(4, 1, 3)), {"group": 4}),  # constant weights
    (floats(5, 4, 3), {}),  # neither groups nor dilations
    (floats(4, 1, 3), {"group": 4, "auto_pad": "SAME_UPPER"}),
    (floats(4, 1, 65), {"group": 4, "pads": [40, 40]}),  # more taps than max-taps
])  # fmt: skip
def test_what_is_left_alone(harness: Harness, w: Any, attrs: dict[str, Any]) -> None:
    harness.declines(DecomposeConv(), harness.graph("Conv", [floats(1, 4, 9), w], **attrs)[0], "")


def test_three_axes_of_a_neuralnetwork(harness: Harness) -> None:
    g, feeds = harness.graph("Conv", [floats(1, 2, 4, 4, 4), floats(3, 2, 2, 2, 2)])
    harness.declines(DecomposeConv(), g, "")
    harness.same(DecomposeConv(), g, feeds, target=targets.get("iOS17", "neuralnetwork"))


def test_quantised_weights_are_constants(harness: Harness) -> None:
    g = parse(
        "input x: float[1,4,9]\nconst q: int8[4,1,3] = [[[1, -2, 3]], [[4, 5, -6]], [[7, 8, 9]], [[1, 0, 1]]]\n"
        "w = DequantizeLinear(q, 0.1)\ny = Conv(x, w, group=4)\noutput y\n"
    )
    harness.declines(DecomposeConv(), PassManager("infer-shapes").run(g).graph, "")
