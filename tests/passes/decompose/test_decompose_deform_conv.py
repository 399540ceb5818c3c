"""DeformConv by gathers, against onnxruntime's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.decompose_deform_conv import DecomposeDeformConv
from coregraft.rewriter.types import Const

RULE = DecomposeDeformConv()


def operands(
    *,
    group: int = 1,
    offset_group: int = 1,
    kernel: tuple[int, int] = (3, 3),
    window: tuple[int, int] = (6, 7),
    bias: bool = True,
    mask: bool = True,
    reach: float = 2.0,
) -> list[Any]:
    rng = np.random.default_rng(0)
    taps = kernel[0] * kernel[1]

    def normal(*shape: int) -> Any:
        return rng.standard_normal(shape).astype(np.float32)

    x, w = normal(2, 4, 6, 7), normal(6, 4 // group, *kernel)
    offset = normal(2, offset_group * taps * 2, *window) * reach
    return [
        x,
        Const.of(w),
        offset,
        Const.of(normal(6)) if bias else None,
        normal(2, offset_group * taps, *window) if mask else None,
    ]


@pytest.mark.parametrize(
    ("options", "attrs"),
    [
        ({}, {"pads": [1, 1, 1, 1]}),
        ({"reach": 20.0}, {"pads": [1, 1, 1, 1]}),
        ({"group": 2, "offset_group": 2}, {"pads": [1, 1, 1, 1], "group": 2, "offset_group": 2}),
        ({"offset_group": 4, "bias": False}, {"pads": [1, 1, 1, 1], "offset_group": 4}),
        ({"mask": False, "window": (3, 3)}, {"strides": [2, 3], "pads": [1, 2, 1, 1]}),
        ({"kernel": (2, 1), "window": (4, 7)}, {"dilations": [2, 1]}),
    ],
)
def test_attributes(harness: Any, options: dict[str, Any], attrs: dict[str, Any]) -> None:
    g, feeds = harness.graph("DeformConv", operands(**options), kernel_shape=options.get("kernel", (3, 3)), **attrs)
    harness.same(RULE, g, feeds, atol=2e-5)


def test_whole_offsets_of_zero_are_a_convolution(harness: Any) -> None:
    given = operands(mask=False)
    given[2] = Const.of(np.zeros((2, 18, 6, 7), np.float32))
    g, feeds = harness.graph("DeformConv", given, kernel_shape=(3, 3), pads=(1, 1, 1, 1))
    plain, _ = harness.graph("Conv", [given[0], given[1], given[3]], kernel_shape=(3, 3), pads=(1, 1, 1, 1))
    after = harness.rewrite(RULE, g).after
    np.testing.assert_allclose(harness.run(after, feeds)[0], harness.run(plain, feeds)[0], atol=2e-5)


def test_shapes_must_be_known(harness: Any) -> None:
    g, _ = harness.graph("DeformConv", operands(), dims={0: ["n", 4, 6, 7]}, kernel_shape=(3, 3), pads=(1, 1, 1, 1))
    harness.declines(RULE, g, "shape of an operand is not known")
