"""GridSample by gathers, against onnxruntime's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.decompose_grid_sample import DecomposeGridSample
from coregraft.rewriter.target import Target

RULE = DecomposeGridSample()


def operands(axes: int, reach: float = 1.4) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    image, window = (5, 7, 4)[:axes], (4, 6, 3)[:axes]
    x = rng.standard_normal((2, 3, *image)).astype(np.float32)
    return [x, rng.uniform(-reach, reach, (2, *window, axes)).astype(np.float32)]


@pytest.mark.parametrize("aligned", [0, 1])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize(("mode", "axes"), [("nearest", 2), ("linear", 2), ("cubic", 2), ("nearest", 3), ("linear", 3)])
@pytest.mark.parametrize("reach", [1.4, 6.0])
def test_modes(harness: Any, mode: str, axes: int, padding: str, aligned: int, reach: float) -> None:
    g, feeds = harness.graph(
        "GridSample", operands(axes, reach), mode=mode, padding_mode=padding, align_corners=aligned
    )
    harness.same(RULE, g, feeds, atol=3e-5)


def test_bilinear_on_two_axes_stays(harness: Any) -> None:
    has = Target("iOS17", "mlprogram", ops={("", "GridSample"): frozenset({"mode", "padding_mode", "align_corners"})})
    g, _ = harness.graph("GridSample", operands(2), mode="linear")
    harness.declines(RULE, g, "has a lowering", target=has)
    g, feeds = harness.graph("GridSample", operands(2), mode="nearest")
    harness.same(RULE, g, feeds, target=has)


def test_declines(harness: Any) -> None:
    g, _ = harness.graph("GridSample", operands(2), dims={0: ["n", 3, 5, 7]}, mode="cubic")
    harness.declines(RULE, g, "shape of an operand is not known")
    g, _ = harness.graph("GridSample", operands(3), mode="cubic")
    harness.declines(RULE, g, "two axes only")
    g, _ = harness.graph("GridSample", operands(2), mode="cubic")
    harness.declines(RULE, g, "has a lowering", target=Target.any())
