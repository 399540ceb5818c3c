"""Resize with parameters that are fed, against onnxruntime's Resize."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from coregraft.passes.decompose.decompose_dynamic_resize import DecomposeDynamicResize
from coregraft.rewriter.types import Array, Const, DType, TensorType

RULE = DecomposeDynamicResize()
COORDINATES = ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"]
CROP = "tf_crop_and_resize"
ROI = np.array([0, 0, 0.1, -0.2, 1, 1, 0.9, 1.1], np.float32)


def image(*shape: int) -> Array:
    return np.random.default_rng(5).standard_normal(shape).astype(np.float32)


def scales(*values: float) -> Array:
    return np.array(values, np.float32)


def sizes(*values: int) -> Array:
    return np.array(values, np.int64)


def fed(harness: Any, operands: list[Any], **attrs: Any) -> tuple[Any, Any]:
    """A Resize whose result has its true shape declared."""
    g, feeds = harness.graph("Resize", operands, **attrs)
    (y,) = harness.run(g, feeds)
    g.nodes["y0"]["type"] = TensorType(DType.of(y.dtype), y.shape)
    return g, feeds


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    mode=st.sampled_from(["linear", "cubic"]),
    coordinates=st.sampled_from([*COORDINATES, CROP]),
    antialias=st.booleans(),
    exclude=st.booleans(),
    by_scale=st.booleans(),
    height=st.sampled_from([(5, 8), (7, 3), (8, 1), (6, 9), (1, 4), (2, 5)]),
    width=st.sampled_from([(7, 9), (9, 4), (3, 7), (6, 12), (23, 2)]),
    cubic=st.sampled_from([-0.75, -0.5]),
)
def test_interpolation(
    harness: Any,
    mode: str,
    coordinates: str,
    antialias: bool,
    exclude: bool,
    by_scale: bool,
    height: tuple[int, int],
    width: tuple[int, int],
    cubic: float,
) -> None:
    assume(not exclude or antialias or mode == "cubic")  # onnxruntime refuses the rest
    assume(by_scale or coordinates == CROP)  # sizes under "stretch" are bound to the shape of the result
    (h, out_h), (w, out_w) = height, width
    how: list[Any] = [scales(1, 1, (out_h + 0.3) / h, (out_w + 0.6) / w)]
    if not by_scale:
        how = [None, Const.of(sizes(1, 2, out_h, out_w))]
    g, feeds = fed(
        harness,
        [image(1, 2, h, w), ROI if coordinates == CROP else None, *how],
        mode=mode,
        coordinate_transformation_mode=coordinates,
        antialias=int(antialias),
        exclude_outside=int(exclude),
        cubic_coeff_a=cubic,
        extrapolation_value=2.5,
    )
    harness.same(RULE, g, feeds, atol=2e-5)


@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
@pytest.mark.parametrize("coordinates", [c for c in [*COORDINATES, CROP] if c != "half_pixel_symmetric"])
def test_nearest(harness: Any, rounding: str, coordinates: str) -> None:
    x = np.arange(5 * 10 * 9).reshape(1, 5, 10, 9).astype(np.int32)
    roi = ROI if coordinates == CROP else None
    for how in (scales(1, 1.3, 0.5, 2), scales(1, 0.61, 0.3, 0.7), scales(1, 1, 2.5, 1 / 3)):
        g, feeds = fed(
            harness,
            [x, roi, how],
            mode="nearest",
            nearest_mode=rounding,
            coordinate_transformation_mode=coordinates,
        )
        harness.same(RULE, g, feeds, rtol=0, atol=0)


@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
@pytest.mark.parametrize("mode", ["nearest", "cubic"])
def test_bounds_of_some_axes(harness: Any, policy: str, mode: str) -> None:
    attrs = {"mode": mode, "axes": [3, 2], "keep_aspect_ratio_policy": policy}
    g, feeds = fed(harness, [image(1, 2, 5, 7), None, None, sizes(9, 8)], **attrs)
    harness.same(RULE, g, feeds, atol=2e-5)


def test_crops_of_some_axes(harness: Any) -> None:
    attrs = {"mode": "linear", "axes": [3, 2], "coordinate_transformation_mode": CROP}
    roi = np.array([0.6, 0.4, 0.8, 0.6], np.float32)
    g, feeds = fed(harness, [image(1, 2, 5, 7), roi, None, sizes(4, 3)], **attrs)
    harness.same(RULE, g, feeds, atol=2e-5)


def test_an_axis_that_keeps_its_size_is_resized_all_the_same(harness: Any) -> None:
    """Three elements by 1.2 are three elements, which lie elsewhere."""
    g, feeds = fed(harness, [image(3, 4), None, scales(1.2, 2)], mode="linear")
    assert harness.same(RULE, g, feeds, atol=2e-5).types.count("MatMul") == 2


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_places_are_computed_in_full_precision(precision: Any, tmp_path: Path) -> None:
    """In half precision the places beyond 2048 would be multiples of two."""
    from onnx import TensorProto, helper

    import coregraft
    from coregraft.lowering.lift import lift
    from coregraft.rewriter.execute import run

    node = helper.make_node("Resize", ["x", "", "s"], ["y"], mode="nearest")
    given = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3000]),
        helper.make_tensor_value_info("s", TensorProto.FLOAT, [2]),
    ]
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4500])
    model = helper.make_model(
        helper.make_graph([node], "g", given, [result]), opset_imports=[helper.make_opsetid("", 19)]
    )
    x = (np.arange(3000) % 1024).astype(np.float32)[None]
    done = coregraft.convert(model, precision=precision, fallback="error")
    done.save(tmp_path / "m.mlpackage")
    found = run(lift(tmp_path / "m.mlpackage"), {"x": x, "s": scales(1, 1.5)})
    want = np.ceil((np.arange(4500) + 0.5) / 1.5 - 1).clip(0, 2999).astype(int)
    np.testing.assert_array_equal(found["y"], x[:, want])
