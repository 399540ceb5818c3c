"""Resize and Upsample of every version, from ONNX to a saved model and back, against onnxruntime."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, helper, numpy_helper

import coregraft
from coregraft.lowering.lift import lift
from coregraft.rewriter.execute import run
from coregraft.rewriter.types import Array

CROP = "tf_crop_and_resize"
SUFFIXES = {"mlprogram": ".mlpackage", "neuralnetwork": ".mlmodel"}


@st.composite
def resizes(draw: st.DrawFn) -> tuple[ModelProto, ModelProto, dict[str, Array]]:
    """A model whose scales, sizes and crop are constants, the same or one to which they are fed, and feeds."""
    opset = draw(st.sampled_from([9, 10, 11, 13, 19, 21]))
    mode = draw(st.sampled_from(["nearest", "linear", *(["cubic"] if opset > 10 else [])]))
    shape = [draw(st.integers(1, n)) for n in draw(st.sampled_from([(9, 9), (2, 2, 9, 9), (2, 2, 12, 5)]))]
    change = draw(st.sampled_from([0.4, 0.5, 1.3, 1.5, 2.0, 3.0])), draw(st.sampled_from([1.0, 0.7, 1.7, 2.0]))
    scales = np.array([*[1] * (len(shape) - 2), *change], np.float32)
    if opset == 9:
        scales = np.maximum(scales, np.float32(1))
    sizes = np.floor(scales * np.array(shape, np.float32)).astype(np.int64)
    assume(sizes.min() > 0 and tuple(sizes) != tuple(shape))  # onnxruntime copies where no axis changes its size
    attrs: dict[str, Any] = {"mode": mode}
    operands: dict[str, Array] = {"scales": scales}
    if opset > 10:
        attrs |= _attributes(draw, opset, mode)
        if attrs["coordinate_transformation_mode"] == CROP:
            assume((scales[-2:] != 1).all())  # onnxruntime crops no axis of scale 1
            start, end = np.zeros(len(shape)), np.ones(len(shape))
            start[-2:], end[-2:] = draw(st.sampled_from([(0, 0.1), (-0.2, 0.3)])), draw(st.sampled_from([0.83, 1.15]))
            operands = {"roi": np.concatenate([start, end]).astype(np.float32), **operands}
        if draw(st.booleans()):
            del operands["scales"]
            operands["sizes"] = sizes
    x = np.random.default_rng(7).standard_normal(shape).astype(np.float32)
    fed = draw(st.booleans())
    return _model(opset, attrs, x, operands, sizes, fed=False), _model(opset, attrs, x, operands, sizes, fed), {
        "x": x, **(operands if fed else {})
    }  # fmt: skip


def _attributes(draw: st.DrawFn, opset: int, mode: str) -> dict[str, Any]:
    """``half_pixel_symmetric`` is for interpolation, since its nearest is refused where scales are fed."""
    grids = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", CROP]
    grids += ["half_pixel_symmetric"] if opset >= 19 and mode != "nearest" else []
    attrs: dict[str, Any] = {"coordinate_transformation_mode": draw(st.sampled_from(grids)), "extrapolation_value": 2.5}
    if mode == "nearest":
        attrs["nearest_mode"] = draw(st.sampled_from(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]))
    elif opset >= 18:
        attrs["antialias"] = draw(st.integers(0, 1))
    if mode == "cubic":
        attrs |= {"cubic_coeff_a": draw(st.sampled_from([-0.75, -0.5])), "exclude_outside": draw(st.integers(0, 1))}
    return attrs


def _model(opset: int, attrs: dict[str, Any], x: Array, operands: dict[str, Array], sizes: Array, fed: bool) -> Any:
    given_to = ["scales"] if opset < 11 else ["roi", "scales", "sizes"]
    empty = {n: np.zeros(0, np.float32) for n in given_to[:2] if n not in operands} if opset in (11, 12) else {}
    known = {**operands, **empty}
    inputs = {"x": x, **(operands if fed else {})}
    names = ["x", *(name if name in known else "" for name in given_to)]
    graph = helper.make_graph(
        [helper.make_node("Upsample" if opset == 9 else "Resize", names, ["y"], **attrs)],
        "resize",
        [helper.make_tensor_value_info(n, _element(a), a.shape) for n, a in inputs.items()],
        [helper.make_tensor_value_info("y", 1, sizes.tolist())],
        [numpy_helper.from_array(a, n) for n, a in known.items() if n not in inputs],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def _element(array: Array) -> int:
    return int(helper.np_dtype_to_tensor_dtype(array.dtype))


@settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.filter_too_much])
@given(case=resizes(), format=st.sampled_from(["mlprogram", "neuralnetwork"]))
def test_it_computes_what_onnxruntime_computes(
    case: tuple[ModelProto, ModelProto, dict[str, Array]], format: Literal["mlprogram", "neuralnetwork"]
) -> None:
    constant, model, feeds = case
    want = run(coregraft.load(constant), {"x": feeds["x"]})["y"]
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"m{SUFFIXES[format]}"
        done = coregraft.convert(model, precision="fp32", format=format, fallback="error")
        done.save(path)
        graph = lift(path)
    fed = {f.feature: feeds[f.name].astype(f.dtype.numpy).reshape(f.shape) for f in done.report.inputs}
    found = run(graph, fed)[graph.outputs[done.report.outputs[0].feature]]
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("opset", [9, 10, 13])
def test_sizes_that_are_not_declared_are_those_of_onnxruntime(opset: int, tmp_path: Path) -> None:
    """Ten by 1.3 are thirteen in fp32, and twelve in double precision."""
    x, scales = np.arange(10, dtype=np.float32)[None], np.array([1, 1.3], np.float32)
    model = _model(opset, {"mode": "nearest"}, x, {"scales": scales}, np.array([1, 13]), fed=False)
    del model.graph.output[0].type.tensor_type.shape.dim[1]
    model.graph.output[0].type.tensor_type.shape.dim.add().dim_param = "n"
    want = run(coregraft.load(model), {"x": x})["y"]
    coregraft.convert(model, precision="fp32", fallback="error").save(tmp_path / "m.mlpackage")
    np.testing.assert_array_equal(run(lift(tmp_path / "m.mlpackage"), {"x": x})["y"], want)
    assert want.shape == (1, 13)
