"""Registering custom layers: from Python and TOML, what is refused and when, and what shape inference makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coregraft.custom_layers.registry import (
    custom_layer,
    layers,
    reference_for,
    register_layer,
    registered,
    temporarily,
)
from coregraft.custom_layers.toml_file import load_layers
from coregraft.rewriter.errors import UnsupportedError, UsageError
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.onnx_io.text import parse
from coregraft.rewriter.shapes import infer_shapes

ACME = "com.acme"


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    with temporarily():
        yield


def typed(text: str) -> Graph:
    g = parse(f"opset 17\nopset {ACME} 1\n{text}")
    infer_shapes(g)
    return g


def test_a_function_becomes_the_reference() -> None:
    @custom_layer(ACME, "Scale", inputs=("x", "w?"), parameters={"by": float}, shape="same as input 0")
    def scale(x: Any, w: Any, *, by: float) -> Any:
        return x * by if w is None else x * w * by

    layer = registered(ACME, "Scale")
    assert layer is not None and layer.swift_class == "ComAcmeScale" and layer.owner.endswith("scale")
    run = reference_for(ACME, "Scale")
    assert run is not None
    x = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(run([x], {"by": 2.0})[0], 2 * x)
    np.testing.assert_array_equal(run([x, None], {"by": 2.0})[0], 2 * x)
    np.testing.assert_array_equal(run([x, 3 * x], {"by": 2.0})[0], 6 * x)
    assert scale(x, None, by=1.0) is not None, "the function stays what it was"
    assert reference_for(ACME, "Other") is None


@pytest.mark.parametrize(
    ("options", "x", "attributes", "wanted"),
    [
        ({"elementwise": "x * sigmoid(a * x)", "parameters": {"a": float}}, [0.0, 2.0], {"a": 0.0}, [0.0, 1.0]),
        ({"gather": "x[x.shape[0] - 1 - i0]", "shape": "same as x"}, [1.0, 2.0, 3.0], {}, [3.0, 2.0, 1.0]),
        ({"gather": "x[i0 - n]", "outside": -1.0, "shape": ["x.shape[0] + 2 * n"], "parameters": {"n": int}},
         [1.0, 2.0], {"n": 1}, [-1.0, 1.0, 2.0, -1.0]),
        ({"reduction": {"reduce": "sum", "of": "x * x", "then": "sqrt(r)"}}, [3.0, 4.0], {}, 5.0),
        ({"reduction": {"reduce": "mean", "of": "x", "axes": "axes", "keepdims": True}, "parameters": {"axes": "ints"}},
         [[1.0, 3.0], [5.0, 7.0]], {"axes": (-1,)}, [[2.0], [6.0]]),
        ({"reduction": {"reduce": "max", "of": "abs(x)", "axes": [0]}}, [[1.0, 3.0], [-5.0, 2.0]], {}, [5.0, 3.0]),
    ],
)  # fmt: skip
def test_formulas_are_references(options: dict[str, Any], x: Any, attributes: dict[str, Any], wanted: Any) -> None:
    register_layer(ACME, "Op", **options)
    run = reference_for(ACME, "Op")
    assert run is not None
    (found,) = run([np.array(x, np.float32)], attributes)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_several_results_with_types_of_their_own() -> None:
    register_layer(
        ACME, "Sort", inputs=("x", "k"), outputs=2, elementwise=["x + k", "floor(x)"],
        dtypes=["same as x", "int64"],
    )  # fmt: skip
    run = reference_for(ACME, "Sort")
    assert run is not None
    a, b = run([np.array([1.5, -1.5], np.float32), np.array([1.0], np.float32)], {})
    assert (a.dtype.name, b.dtype.name) == ("float32", "int64")
    np.testing.assert_array_equal(b, [1, -2])
    g = typed(f"input x: float[n,4]\ninput k: float[4]\na, b = {ACME}.Sort(x, k)\noutput a\noutput b\n")
    assert (str(g.type_of("a")), str(g.type_of("b"))) == ("float[n,4]", "int64[n,4]")


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ("same as input 0", "float[n,6,4]"), ("same as x", "float[n,6,4]"), ([1, "x.shape[1] * 2"], "float[1,12]"),
        ("[x.shape[0] * 2, *x.shape[1:]]", "float[2*n,6,4]"), ("[*x.shape[:-1], 1]", "float[n,6,1]"),
        (["x.shape[axis] // 4"], "float[1]"), (["len(x.shape)", "steps[0]", "len(steps)"], "float[3,7,1]"),
        ("broadcast(x, w)", "float[n,6,4]"), ([], "float[]"), (["floor(x.shape[1] * 0.5)"], "float[3]"),
        (["max(x.shape[0], 1)"], "float[n]"), (["*w.shape"], "float[4]"),
    ],
)  # fmt: skip
def test_shape_rules_in_inference(shape: Any, wanted: str) -> None:
    register_layer(ACME, "Op", inputs=("x", "w"), parameters={"axis": int, "steps": list[int]}, shape=shape)
    g = typed(f"input x: float[n,6,4]\ninput w: float[4]\ny = {ACME}.Op(x, w, axis=1, steps=[7])\noutput y\n")
    assert str(g.type_of("y")) == wanted


def test_a_shape_function_is_asked_when_all_sizes_are_known() -> None:
    register_layer(ACME, "Pool", parameters={"k": int}, shape=lambda x, k: (x[0], x[1] // k))
    fixed = typed(f"input x: float[2,6]\ny = {ACME}.Pool(x, k=3)\nz = Relu(y)\noutput z\n")
    assert str(fixed.type_of("z")) == "float[2,2]"
    open_ = typed(f"input x: float[n,6]\ny = {ACME}.Pool(x, k=3)\noutput y\n")
    assert str(open_.type_of("y")) == "float[*]"


def test_a_shape_function_that_gives_no_shape() -> None:
    wrong: Any = lambda x: "nothing"  # noqa: E731
    register_layer(ACME, "Bad", shape=wrong)
    with pytest.raises(UsageError) as error:
        typed(f"input x: float[2]\ny = {ACME}.Bad(x)\noutput y\n")
    assert error.value.code == "custom-layer-shape"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({}, "custom-layer-shape"),
        ({"gather": "x[i0]"}, "custom-layer-shape"),
        ({"shape": ["1"], "outputs": 2}, "custom-layer-shape"),
        ({"shape": "like x"}, "custom-layer-expression"),
        ({"shape": "same as input 3"}, "custom-layer-expression"),
        ({"shape": ["x.shape[0] / 2"]}, "custom-layer-expression"),
        ({"shape": ["*x.shape[::2]"]}, "custom-layer-expression"),
        ({"shape": [1.5]}, "custom-layer-expression"),
        ({"elementwise": "2"}, "custom-layer-expression"),
        ({"elementwise": "x + alpha"}, "custom-layer-expression"),
        ({"gather": "x[i0 / 2]", "shape": "same as x"}, "custom-layer-expression"),
        ({"reduction": {"reduce": "median", "of": "x"}}, "custom-layer-expression"),
        ({"reduction": {"reduce": "sum", "of": "x", "axis": 1}}, "custom-layer-expression"),
        ({"reduction": {"reduce": "sum", "of": "x", "axes": "n"}}, "custom-layer-expression"),
        ({"parameters": {"t": np.ndarray}, "shape": "same as x"}, "custom-layer-parameter"),
        ({"parameters": {"t": dict[str, int]}, "shape": "same as x"}, "custom-layer-parameter"),
        ({"parameters": {"t": []}, "shape": "same as x"}, "custom-layer-parameter"),
        ({"parameters": {"t": {"type": "int", "default": 0.5}}, "shape": "same as x"}, "custom-layer-parameter"),
        ({"parameters": {"t": {"type": "int", "default": 1 << 40}}, "shape": "same as x"}, "custom-layer-parameter"),
        ({"parameters": {"t": {"type": "floats", "default": [np.inf]}}, "shape": [1]}, "custom-layer-parameter"),
        ({"parameters": {"t": {"typ": "int"}}, "shape": "same as x"}, "custom-layer-parameter"),
        ({"weights": (1,), "shape": "same as x"}, "custom-layer-schema"),
        ({"weights": ("w",), "shape": "same as x"}, "custom-layer-schema"),
        ({"inputs": ("x", "x"), "shape": "same as x"}, "custom-layer-schema"),
        ({"inputs": ("x", "in"), "shape": "same as x"}, "custom-layer-schema"),
        ({"inputs": ("x", "1y"), "shape": "same as x"}, "custom-layer-schema"),
        ({"inputs": ("x?",), "elementwise": "x"}, "custom-layer-schema"),
        ({"parameters": {"x": int}, "shape": "same as x"}, "custom-layer-schema"),
        ({"swift_class": "my class", "shape": "same as x"}, "custom-layer-schema"),
        ({"dtypes": ["float3"], "shape": "same as x"}, "custom-layer-schema"),
        ({"dtypes": "same as input 7", "shape": "same as x"}, "custom-layer-schema"),
        ({"dtypes": "same as y", "shape": "same as x"}, "custom-layer-schema"),
        ({"dtypes": "string", "shape": "same as x"}, "custom-layer-schema"),
        ({"weights": (True,), "shape": "same as x"}, "custom-layer-schema"),
        ({"dtypes": ["float", "float"], "shape": "same as x"}, "custom-layer-schema"),
        ({"outputs": 0, "shape": "same as x"}, "custom-layer-schema"),
        ({"inputs": (), "shape": [1]}, "custom-layer-schema"),
        ({"elementwise": "x", "gather": "x[i0]"}, "custom-layer-schema"),
        ({"elementwise": ["x", "x"]}, "custom-layer-schema"),
        ({"elementwise": "x", "outside": 0.0}, "custom-layer-schema"),
        ({"reference": lambda a, b: a, "shape": "same as x"}, "custom-layer-schema"),
    ],
)  # fmt: skip
def test_what_registration_refuses(options: dict[str, Any], code: str) -> None:
    with pytest.raises(UsageError) as error:
        register_layer(ACME, "Op", **options)
    assert error.value.code == code
    assert registered(ACME, "Op") is None


def test_conflicts_name_both_owners() -> None:
    register_layer(ACME, "Op", shape="same as x", owner="one")
    with pytest.raises(UsageError, match="both one and two") as error:
        register_layer(ACME, "Op", shape="same as x", owner="two")
    assert error.value.code == "custom-layer-duplicate"
    with pytest.raises(UsageError, match="one Swift class") as error:
        register_layer(ACME, "Other", shape="same as x", swift_class="ComAcmeOp", owner="two")
    assert error.value.code == "custom-layer-duplicate"


@pytest.mark.parametrize(
    ("attributes", "why"),
    [({}, "lacks the attribute k"), ({"k": 1, "z": 1}, "has the attribute z"), ({"k": 0.5}, "type int"),
     ({"k": 1 << 40}, "32 bits"), ({"k": "1"}, "type int")],
)  # fmt: skip
def test_attributes_are_those_that_were_registered(attributes: dict[str, Any], why: str) -> None:
    layer = register_layer(ACME, "Op", parameters={"k": int}, shape="same as x")
    with pytest.raises(UnsupportedError, match=why) as error:
        layer.settings(attributes, "here")
    assert error.value.code == "custom-layer-mismatch"


def test_temporarily_forgets() -> None:
    with temporarily():
        register_layer(ACME, "Op", shape="same as x")
        assert ACME in {layer.domain for layer in layers()}
    assert registered(ACME, "Op") is None


# ---------------------------------------------------------------- TOML

TOML = """
[[layer]]
domain = "com.acme"
type = "Swish"
swift_class = "AcmeSwish"
elementwise = "x * sigmoid(beta * x)"
[layer.parameters]
beta = {type = "float", default = 1.0}

[[layer]]
domain = "com.acme"
type = "Project"
inputs = ["x", "w", "bias?"]
weights = ["w"]
shape = ["x.shape[0]", "w.shape[1]"]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "layers.toml"
    path.write_text(text)
    return path


def test_layers_from_a_file(tmp_path: Path) -> None:
    swish, project = load_layers(written(tmp_path, TOML))
    assert (swish.swift_class, project.weights, project.optional) == ("AcmeSwish", (1,), frozenset({"bias"}))
    assert swish.reference is not None and project.reference is None
    assert load_layers(tmp_path / "layers.toml") == [swish, project], "reading it again changes nothing"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[[layer]\n", "custom-layers-file"), ("", "custom-layers-file"), ("[layer]\ntype='x'", "custom-layers-file"),
        ("[[layer]]\ntype = 'x'\n", "custom-layers-file"), ("layer = [1]\n", "custom-layers-file"),
        ("[[layer]]\ndomain='d'\ntype='x'\nshapes='same as x'\n", "custom-layers-file"),
        ("[[layer]]\ndomain='d'\ntype='x'\nshape=1\n", "custom-layers-file"),
        ("[[layer]]\ndomain='d'\ntype='x'\ninputs=[1]\n", "custom-layers-file"),
        ("[[layer]]\ndomain='d'\ntype='x'\noutputs=true\n", "custom-layers-file"),
        ("x = 1\n" + TOML, "custom-layers-file"), ("\xff", "custom-layers-file"),
        ("[[layer]]\ndomain='d'\ntype='x'\n", "custom-layer-shape"),
        (TOML + TOML, "custom-layer-duplicate"),
    ],
)  # fmt: skip
def test_files_that_are_none(tmp_path: Path, text: str, code: str) -> None:
    path = tmp_path / "layers.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError) as error:
        load_layers(path)
    assert error.value.code == code


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        load_layers(tmp_path / "none.toml")
    assert error.value.code == "file-not-found"
