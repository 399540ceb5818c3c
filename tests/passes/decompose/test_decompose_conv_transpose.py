"""decompose-conv-transpose: weights at run time, in every geometry."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.lowering import targets
from coregraft.passes.decompose.decompose_conv_transpose import DecomposeConvTranspose
from coregraft.rewriter.manager import PassManager
from coregraft.rewriter.onnx_io.text import parse
from coregraft.rewriter.target import Target
from coregraft.rewriter.types import Array, Const

from .conftest import Harness

RNG = np.random.default_rng(9)
OLD = targets.get("iOS16")


def floats(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(("x", "w", "attrs"), [
    ((2, 4, 9), (4, 3, 3), {}),
    ((1, 4, 9), (4, 2, 3), {"group": 4, "pads": [2, 1], "strides": [3]}),
    ((1, 4, 5, 6), (4, 3, 3, 2), {"group": 2, "pads": [1, 0, 0, 1], "dilations": [2, 3], "strides": [1, 2]}),
    ((1, 3, 5, 6), (3, 5, 2, 2), {"strides": [3, 2], "output_padding": [2, 1]}),
    ((1, 3, 5, 6), (3, 5, 3, 3), {"strides": [2, 2], "output_shape": [10, 12]}),
    ((1, 2, 3, 4, 4), (2, 1, 2, 3, 2), {"group": 2, "strides": [2, 1, 2], "pads": [1, 1, 0, 0, 1, 1]}),
    ((1, 2, 4), (2, 3, 1), {"strides": [2]}),  # pads that take zeros away again
    ((1, 2, 5), (2, 3, 3), {"pads": [2, 2], "auto_pad": "NOTSET"}),
])  # fmt: skip
@pytest.mark.parametrize("bias", [False, True])
def test_geometries(harness: Harness, x: Any, w: Any, attrs: dict[str, Any], bias: bool) -> None:
    operands = [floats(*x), floats(*w), *([floats(w[1] * attrs.get("group", 1))] if bias else [])]
    found = harness.same(DecomposeConvTranspose(), *harness.graph("ConvTranspose", operands, **attrs), target=OLD)
    assert "ConvTranspose" not in found.types


@pytest.mark.parametrize(("target", "w"), [
    (OLD, Const.of(floats(4, 2, 3))),
    (targets.get("iOS17"), floats(4, 2, 3)),
    (Target.any(), floats(4, 2, 3)),
])  # fmt: skip
def test_what_is_left_alone(harness: Harness, target: Target, w: Any) -> None:
    g, _ = harness.graph("ConvTranspose", [floats(1, 4, 9), w])
    harness.declines(DecomposeConvTranspose(), g, "", target=target)


def test_a_neuralnetwork_of_any_target(harness: Harness) -> None:
    g, feeds = harness.graph("ConvTranspose", [floats(1, 4, 9), floats(4, 2, 3)])
    harness.same(DecomposeConvTranspose(), g, feeds, target=targets.get("iOS26", "neuralnetwork"))


def test_quantised_weights_are_constants(harness: Harness) -> None:
    g = parse(
        "input x: float[1,1,9]\nconst q: int8[1,2,3] = [[[1, -2, 3], [4, 5, -6]]]\n"
        "w = DequantizeLinear(q, 0.1)\ny = ConvTranspose(x, w)\noutput y\n"
    )
    harness.declines(DecomposeConvTranspose(), PassManager("infer-shapes").run(g).graph, "", target=OLD)
