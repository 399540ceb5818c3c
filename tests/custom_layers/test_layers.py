"""Ops without a lowering as custom layers of a neuralnetwork, and the Swift class of each."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coregraft.custom_layers.islands import Islands
from coregraft.custom_layers.layers import CustomLayers, class_name
from coregraft.custom_layers.stubs import Stub, property_name, render, stubs_of
from coregraft.custom_layers.use import OPERANDS, OUTPUT_SHAPES, Use, use_of
from coregraft.lowering import package, pipeline, targets
from coregraft.lowering.fallback import fallback_for
from coregraft.lowering.metadata import Metadata
from coregraft.lowering.program import lower_graph
from coregraft.rewriter.errors import UnsupportedError, UsageError
from coregraft.rewriter.graph import Floats, Graph, Op, Strings
from coregraft.rewriter.types import Const, DType, TensorType

ACME = "com.acme"


def one(op: Op, shapes: dict[str, tuple[int, ...] | None], consts: dict[str, Any] | None = None) -> Graph:
    """A graph of one op on input ``x`` float[2,3]; ``shapes`` are those of its results."""
    g = Graph()
    g.add_input("x", TensorType(DType.FLOAT, (2, 3)))
    for name, value in (consts or {}).items():
        g.add_value(name, const=Const.of(value))
    for name, shape in shapes.items():
        g.add_value(name, TensorType(DType.FLOAT, shape))
    g.add_op(op)
    g.set_outputs([name for name in op.outputs if name])
    g.set_opsets({"": 24, ACME: 1})
    return g


def spec_of(g: Graph, layers: CustomLayers, folder: Path) -> Any:
    import coremltools

    target = targets.get("iOS17", "neuralnetwork")
    program = lower_graph(g, target, layers.emit).program
    pipeline.run(program, target)
    path = folder / "m.mlmodel"
    package.write(program, path, target, Metadata())
    return coremltools.models.MLModel(str(path), skip_model_load=True).get_spec()


def custom(spec: Any) -> list[Any]:
    return [layer for layer in spec.neuralNetwork.layers if layer.WhichOneof("layer") == "custom"]


def test_the_layer_holds_class_parameters_operands_and_weights(tmp_path: Path) -> None:
    attrs = {
        "axis": -1, "alpha": 0.5, "mode": "fast", "raw": b"bytes", "perm": (1, 0), "scales": Floats((1.0, 2.5)),
        "names": Strings(("a", "b")), "none": (), "table": Const.of(np.arange(6).reshape(2, 3)),
    }  # fmt: skip
    op = Op("Fancy", ("x", "w"), ("y",), attrs, ACME, "f")
    weights = np.linspace(0, 1, 12, dtype=np.float32)
    spec = spec_of(one(op, {"y": (4, 5)}, {"w": weights}), CustomLayers(), tmp_path)
    (layer,) = custom(spec)
    assert layer.custom.className == "ComAcmeFancy" and layer.custom.description == "com.acme.Fancy"
    assert list(layer.input) == ["x", "w"] and list(layer.output) == ["y"]
    found = {key: getattr(v, v.WhichOneof("value")) for key, v in layer.custom.parameters.items()}
    assert found.pop(OUTPUT_SHAPES) == "[[4,5]]"
    assert (found["axis"], found["alpha"], found["mode"], found["raw"]) == (-1, 0.5, "fast", "bytes")
    assert {key: json.loads(found[key]) for key in ("perm", "scales", "names", "none", "table")} == {
        "perm": [1, 0], "scales": [1.0, 2.5], "names": ["a", "b"], "none": [],
        "table": {"shape": [2, 3], "values": [0, 1, 2, 3, 4, 5]},
    }  # fmt: skip
    (constant,) = (x for x in spec.neuralNetwork.layers if list(x.output) == ["w"])
    np.testing.assert_array_equal(np.array(constant.loadConstantND.data.floatValue, np.float32), weights)


def test_several_results_and_operands_left_out(tmp_path: Path) -> None:
    op = Op("Two", ("x", "", "x"), ("a", "", "b"), {}, ACME)
    spec = spec_of(one(op, {"a": (2,), "b": (3, 3)}), CustomLayers(), tmp_path)
    (layer,) = custom(spec)
    assert list(layer.input) == ["x", "x"] and list(layer.output) == ["a", "b"]
    assert layer.custom.parameters[OUTPUT_SHAPES].stringValue == "[[2],[3,3]]"
    assert layer.custom.parameters[OPERANDS].stringValue == "[0,2]"
    assert [f.name for f in spec.description.output] == ["a", "b"]


def test_schema_defaults_reach_the_layer(tmp_path: Path) -> None:
    (layer,) = custom(spec_of(one(Op("DeformConv", ("x", "x", "x"), ("y",)), {"y": (2, 3)}), CustomLayers(), tmp_path))
    assert layer.custom.className == "OnnxDeformConv"
    assert layer.custom.parameters["group"].intValue == 1
    assert layer.custom.parameters["offset_group"].intValue == 1


def test_an_op_that_its_emitter_refuses_becomes_a_layer_too(tmp_path: Path) -> None:
    op = Op("Resize", ("x", "", "", "n"), ("y",), {"mode": "cubic"})
    layers = CustomLayers()
    spec = spec_of(one(op, {"y": (4, 6)}, {"n": np.array([4, 6])}), layers, tmp_path)
    assert [layer.custom.className for layer in custom(spec)] == ["OnnxResize"]
    assert layers.taken()[0]["rung"] == "custom-layer"


@pytest.mark.parametrize(
    ("attrs", "reason"),
    [
        ({"body": Graph()}, "owns a graph"),
        ({"big": 1 << 40}, "32 bits"),
        ({"raw": b"\xff"}, "UTF-8"),
        ({"scales": Floats((float("inf"),))}, "infinity"),
        ({"table": Const.of(np.zeros(1 << 20))}, "larger than"),
        ({"many": (Const.of(1), Const.of(2))}, "not a number"),
    ],
)
def test_what_a_layer_cannot_hold(attrs: dict[str, Any], reason: str) -> None:
    g = one(Op("Fancy", ("x",), ("y",), attrs, ACME), {"y": (2, 3)})
    with pytest.raises(UnsupportedError, match=reason) as error:
        lower_graph(g, targets.get("iOS17", "neuralnetwork"), CustomLayers().emit)
    assert error.value.code == "custom-layer-unsupported"


def test_the_output_shape_must_be_known() -> None:
    g = one(Op("Fancy", ("x",), ("y",), {}, ACME), {"y": None})
    with pytest.raises(UnsupportedError) as error:
        lower_graph(g, targets.get("iOS17", "neuralnetwork"), CustomLayers().emit)
    assert error.value.code == "shape-unknown"


def test_fallback_modes() -> None:
    assert isinstance(fallback_for("neuralnetwork", "auto"), CustomLayers)
    assert isinstance(fallback_for("neuralnetwork", "custom"), CustomLayers)
    assert fallback_for("neuralnetwork", "error") is None
    assert isinstance(fallback_for("mlprogram", "auto"), Islands)
    assert isinstance(fallback_for("mlprogram", "cut"), Islands)
    for kind, mode, code in (
        ("mlprogram", "custom", "fallback-unavailable"),
        ("neuralnetwork", "cut", "fallback-unavailable"),
        ("mlprogram", "maybe", "fallback-unknown"),
    ):
        with pytest.raises(UsageError) as error:
            fallback_for(kind, mode)
        assert error.value.code == code


# ---------------------------------------------------------------- Swift


@pytest.mark.parametrize(
    ("domain", "op_type", "name"),
    [("com.acme", "Fancy", "ComAcmeFancy"), ("", "DeformConv", "OnnxDeformConv"), ("9lives", "x_y", "Op9livesXY")],
)
def test_class_names(domain: str, op_type: str, name: str) -> None:
    assert class_name(Op(op_type, domain=domain)) == name


@pytest.mark.parametrize(
    ("key", "name"),
    [("axis", "axis"), ("pooled_shape", "pooledShape"), ("default", "`default`"), ("2d", "p2d"), ("_", "value")],
)
def test_property_names(key: str, name: str) -> None:
    assert property_name(key) == name


def use(attrs: dict[str, Any], inputs: int = 1, outputs: int = 1) -> Use:
    op = Op("Fancy", ("x",) * inputs, tuple(f"y{n}" for n in range(outputs)), attrs, ACME)
    return use_of(op, lambda _: TensorType(DType.FLOAT, (2, 3)), lambda _: None)


def stub() -> Stub:
    table = Const.of(np.zeros((2, 2), np.float32))
    (made,) = stubs_of([
        use({"alpha": 0.5, "perm": (), "a_b": 1, "aB": "text"}, inputs=2),
        use({"alpha": 2.0, "perm": (1, 0), "table": table}, outputs=2),
    ])  # fmt: skip
    return made


def test_the_class_is_complete_but_for_the_arithmetic() -> None:
    text = render(stub())
    assert "@objc(ComAcmeFancy)\npublic final class ComAcmeFancy: NSObject, MLCustomLayer {" in text
    for method in (
        "public required init(parameters: [String: Any]) throws",
        "public func setWeightData(_ weights: [Data]) throws",
        "public func outputShapes(forInputShapes inputShapes: [[NSNumber]]) throws -> [[NSNumber]]",
        "public func evaluate(inputs: [MLMultiArray], outputs: [MLMultiArray]) throws",
        "public func encode(commandBuffer: MTLCommandBuffer, inputs: [MTLTexture], outputs: [MTLTexture]) throws",
    ):
        assert method in text
    assert text.count("TODO") == 2, "shapes of other inputs, and the arithmetic"
    assert "{{" not in text and "{%" not in text
    assert "Reads 1 or 2 input(s), writes 1 or 2 output(s)" in text


def test_a_kernel_that_is_not_written_is_not_called() -> None:
    text = render(stub())
    assert text.index("#if false") < text.index("func encode") < text.index("#endif")


def test_parameters_are_typed_and_optional_where_a_layer_lacks_them() -> None:
    text = render(stub())
    declared = dict(re.findall(r"^        let (\S+): (\S+)$", text, re.MULTILINE))
    assert declared == {"aB": "String?", "aB_": "Int?", "alpha": "Double", "perm": "[Int]", "table": "TensorParameter?"}
    assert 'perm = try LayerParameters.decode(parameters, "perm")' in text
    assert 'aB_ = parameters["a_b"] == nil ? nil : try LayerParameters.value(parameters, "a_b")' in text


def test_a_class_without_parameters_has_no_empty_struct() -> None:
    (made,) = stubs_of([use({})])
    assert "Attributes" not in render(made)


def test_two_layers_of_one_class_share_a_file(tmp_path: Path) -> None:
    layers = CustomLayers()
    g = one(Op("Fancy", ("x",), ("a",), {"k": 1}, ACME), {"a": (2, 3), "b": (2, 3)})
    g.add_op(Op("Fancy", ("a",), ("b",), {"k": 2, "extra": ""}, ACME))
    g.set_outputs(["b"])
    spec = spec_of(g, layers, tmp_path)
    assert [x.custom.parameters["k"].intValue for x in custom(spec)] == [1, 2]
    files = layers.files("m")
    classes = [path for path in files if "/Sources/" in path and "Fancy" in path]
    assert classes == [f"MCustomLayers/Sources/MCustomLayers/ComAcmeFancy.{kind}" for kind in ("metal", "swift")]
    assert "let extra: String?" in files[classes[1]]
