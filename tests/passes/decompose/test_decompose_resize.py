"""Resize by matrices and gathers, against onnxruntime's Resize."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from coregraft.passes.decompose.decompose_resize import DecomposeResize
from coregraft.rewriter.target import Target
from coregraft.rewriter.types import Const

RULE = DecomposeResize()
COORDINATES = [
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_crop_and_resize",
    "tf_half_pixel_for_nn",
]


def image(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def scales(*values: float) -> Const:
    return Const.of(np.array(values, np.float32))


def sizes(*values: int) -> Const:
    return Const.of(np.array(values, np.int64))


@settings(max_examples=120, deadline=None, derandomize=True)
@given(
    mode=st.sampled_from(["linear", "cubic"]),
    coordinates=st.sampled_from(COORDINATES),
    antialias=st.booleans(),
    exclude=st.booleans(),
    by_scale=st.booleans(),
    height=st.sampled_from([(5, 8), (7, 3), (8, 1), (6, 9), (4, 4)]),
    width=st.sampled_from([(7, 9), (9, 4), (3, 7), (6, 12)]),
    cubic=st.sampled_from([-0.75, -0.5]),
)
def test_interpolation(
    harness: Any,
    mode: str,
    coordinates: str,
    antialias: bool,
    exclude: bool,
    by_scale: bool,
    height: Any,
    width: Any,
    cubic: float,
) -> None:
    assume(not exclude or antialias or mode == "cubic")  # onnxruntime refuses the rest
    # onnxruntime leaves an axis that keeps its size as it is, whatever is to be filtered or cropped there.
    assume(height != (4, 4) or not (antialias or coordinates == "tf_crop_and_resize"))
    (h, out_h), (w, out_w) = height, width
    roi = (
        Const.of(np.array([0, 0, 0.1, -0.2, 1, 1, 0.9, 1.1], np.float32))
        if coordinates == "tf_crop_and_resize"
        else None
    )
    how = [scales(1, 1, (out_h + 0.3) / h, (out_w + 0.6) / w), None] if by_scale else [None, sizes(1, 2, out_h, out_w)]
    g, feeds = harness.graph(
        "Resize",
        [image(1, 2, h, w), roi, *how],
        mode=mode,
        coordinate_transformation_mode=coordinates,
        antialias=int(antialias),
        exclude_outside=int(exclude),
        cubic_coeff_a=cubic,
        extrapolation_value=2.5,
    )
    outcome = harness.rewrite(RULE, g)
    assert outcome.fired or "samples at the same places" in str(outcome.declined)
    if outcome.fired:
        harness.same(RULE, g, feeds, atol=2e-5)


@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
@pytest.mark.parametrize("coordinates", COORDINATES)
def test_nearest(harness: Any, rounding: str, coordinates: str) -> None:
    roi = (
        Const.of(np.array([0, 0, 0.1, 0.2, 1, 1, 0.87, 0.9], np.float32))
        if coordinates == "tf_crop_and_resize"
        else None
    )
    for how in ([scales(1, 1, 1.7, 3), None], [None, sizes(2, 3, 4, 9)]):
        g, feeds = harness.graph(
            "Resize",
            [image(2, 3, 5, 7), roi, *how],
            mode="nearest",
            nearest_mode=rounding,
            coordinate_transformation_mode=coordinates,
        )
        types = harness.same(RULE, g, feeds, rtol=0, atol=0).types
        assert set(types) <= {"Gather", "Where"}


@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
@pytest.mark.parametrize("coordinates", [c for c in COORDINATES if c != "tf_crop_and_resize"])
def test_nearest_at_ties(harness: Any, rounding: str, coordinates: str) -> None:
    """Ratios that fp32 does not hold, whose places would lie on boundaries: their rounding is onnxruntime's."""
    x = np.arange(20 * 46, dtype=np.float32).reshape(20, 46)
    for target in ((6, 28), (26, 14), (24, 30), (12, 45)):
        attrs = {"mode": "nearest", "nearest_mode": rounding, "coordinate_transformation_mode": coordinates}
        g, feeds = harness.graph("Resize", [x, None, None, sizes(*target)], **attrs)
        harness.same(RULE, g, feeds, rtol=0, atol=0)


def test_the_sizes_of_scaled_axes_are_rounded_in_fp32(harness: Any) -> None:
    """In double precision, 10 by 0.7 would be 6 elements, and 10 by 2.3 would be 22."""
    g, feeds = harness.graph("Resize", [image(10, 10), None, scales(0.7, 2.3)], mode="linear")
    assert g.tensor_type("y0").shape == harness.run(g, feeds)[0].shape == (7, 23)
    harness.same(RULE, g, feeds, atol=2e-5)


def test_a_neuralnetwork_has_the_half_pixel_grid_for_whole_factors(harness: Any) -> None:
    network = Target("iOS15", "neuralnetwork", ops={}, max_rank=5)
    g, feeds = harness.graph("Resize", [image(1, 2, 6, 6), None, scales(1, 1, 2, 1.5)], mode="linear")
    assert harness.same(RULE, g, feeds, atol=2e-5, target=network).types == ["MatMul", "MatMul"]
    harness.declines(RULE, g, "samples at the same places")
    g, _ = harness.graph("Resize", [image(1, 2, 6, 6), None, scales(1, 1, 2, 3)], mode="linear")
    harness.declines(RULE, g, "samples at the same places", target=network)


def test_extrapolation_that_the_elements_cannot_hold(harness: Any) -> None:
    x, roi = np.arange(4, dtype=np.uint8), Const.of(np.array([-0.5, 1], np.float32))
    attrs = {"mode": "nearest", "coordinate_transformation_mode": "tf_crop_and_resize"}
    g, feeds = harness.graph("Resize", [x, roi, scales(2)], extrapolation_value=9.0, **attrs)
    harness.same(RULE, g, feeds, rtol=0, atol=0)
    g, _ = harness.graph("Resize", [x, roi, scales(2)], extrapolation_value=-3.0, **attrs)
    harness.declines(RULE, g, "uint8 cannot hold -3.0")


def test_integers_can_be_gathered_but_not_interpolated(harness: Any) -> None:
    x = np.arange(2 * 3 * 5 * 7, dtype=np.uint8).reshape(2, 3, 5, 7)
    g, feeds = harness.graph("Resize", [x, None, scales(1, 1, 2, 3)], mode="nearest")
    assert harness.same(RULE, g, feeds).types == ["Gather", "Gather"]
    g, _ = harness.graph("Resize", [x, None, scales(1, 1, 1.5, 3)], mode="linear")
    harness.declines(RULE, g, "left open by ONNX")


@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
def test_axes_and_aspect_ratio(harness: Any, policy: str) -> None:
    g, feeds = harness.graph(
        "Resize",
        [image(1, 2, 5, 7), None, None, sizes(9, 8)],
        mode="cubic",
        axes=[2, 3],
        keep_aspect_ratio_policy=policy,
    )
    harness.same(RULE, g, feeds, atol=2e-5)


def test_volumes(harness: Any) -> None:
    g, feeds = harness.graph("Resize", [image(1, 2, 3, 4, 5), None, scales(1, 1, 2, 1.5, 3)], mode="linear")
    harness.same(RULE, g, feeds, atol=2e-5)


def test_the_batch_may_be_unknown(harness: Any) -> None:
    g, feeds = harness.graph(
        "Resize", [image(2, 3, 5, 7), None, scales(1, 1, 2, 2)], mode="cubic", dims={0: ["n", 3, 5, 7]}
    )
    assert harness.same(RULE, g, feeds, atol=2e-5).types == ["MatMul", "MatMul"]


@pytest.mark.parametrize(
    ("attrs", "how"),
    [
        ({"mode": "linear", "coordinate_transformation_mode": "align_corners"}, [scales(1, 1, 2, 3)]),
        ({"mode": "linear"}, [None, sizes(1, 2, 9, 3)]),
        ({"mode": "linear", "antialias": 1}, [scales(1, 1, 2, 2)]),
        (
            {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
            [scales(1, 1, 2, 3)],
        ),
        ({"mode": "nearest", "nearest_mode": "round_prefer_floor"}, [scales(1, 1, 2, 2)]),
    ],
)
def test_what_core_ml_does_exactly_stays(harness: Any, attrs: Any, how: list[Any]) -> None:
    g, _ = harness.graph("Resize", [image(1, 2, 6, 6), None, *how], **attrs)
    harness.declines(RULE, g, "samples at the same places")


def test_declines(harness: Any) -> None:
    g, _ = harness.graph("Resize", [image(1, 2, 6, 6), None, np.array([1, 1, 2, 2], np.float32)], mode="cubic")
    harness.declines(RULE, g, "computed at run time")
    g, _ = harness.graph(
        "Resize", [image(1, 2, 6, 6), None, scales(1, 1, 2, 2)], mode="cubic", dims={0: [1, 2, "h", 6]}
    )
    harness.declines(RULE, g, "size of axis 2 is not known")
    g, _ = harness.graph("Resize", [image(1, 2, 6, 6), None, scales(1, 1, 2, 2)], mode="cubic")
    harness.declines(RULE, g, "has a lowering", target=Target.any())


def test_a_resize_to_the_same_size_is_nothing(harness: Any) -> None:
    g, feeds = harness.graph("Resize", [image(1, 2, 6, 6), None, scales(1, 1, 1, 1)], mode="cubic")
    assert harness.same(RULE, g, feeds).types == []
