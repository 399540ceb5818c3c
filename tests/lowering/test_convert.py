"""convert(): what goes in, what comes out, and what is said about it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import parser

from coregraft.lowering.convert import convert, graph_of
from coregraft.lowering.lift import lift
from coregraft.rewriter.errors import CoregraftError, InputError, UnsupportedError, UsageError
from coregraft.rewriter.execute import run
from coregraft.rewriter.onnx_io.load import from_model

#: Enough passes for these models; what the default pipeline does is tested where it lives.
PLAIN = ["eliminate-dead-code"]


def mlp(opset: int = 21, batch: str = "N", op: str = "Relu") -> onnx.ModelProto:
    model = parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : {opset}], model_version: 3>
        mlp (float[{batch}, 4] "in/x") => (float[{batch}, 2] "out/y")
        <float[4, 8] w0 = {{{", ".join(["0.5"] * 32)}}}, float[8, 2] w1 = {{{", ".join(["-0.25"] * 16)}}}>
        {{
            h = MatMul ("in/x", w0)
            a = {op} (h)
            "out/y" = MatMul (a, w1)
        }}
    """)
    model.doc_string = "a small net"
    return model


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "mlp.onnx"
    onnx.save(mlp(), file)
    return file


def test_a_file_becomes_a_package(path: Path, tmp_path: Path) -> None:
    done = convert(path, dims={"N": 2}, precision="fp32", passes=PLAIN)
    written = done.save(tmp_path / "mlp.mlpackage")
    assert written == [tmp_path / "mlp.mlpackage"]
    spec = done.model.get_spec()
    assert [(f.name, list(f.type.multiArrayType.shape)) for f in spec.description.input] == [("in_x", [2, 4])]
    assert [f.name for f in spec.description.output] == ["out_y"]
    assert spec.specificationVersion == 8
    meta = spec.description.metadata
    assert (meta.shortDescription, meta.versionString) == ("a small net", "3")
    own = {key.removeprefix("com.coregraft."): value for key, value in meta.userDefined.items()}
    assert sorted(own) == ["io", "precision", "source_sha256", "target", "version"]
    assert own["source_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert json.loads(own["io"])["inputs"][0]["name"] == "in/x"


def test_the_report(path: Path) -> None:
    report = convert(path, dims={"N": 2}, precision="fp32", passes=PLAIN).report
    assert report.ops_before == {"MatMul": 2, "Relu": 1}
    assert sum(report.mil_ops.values()) == 3
    assert report.weight_bytes >= 4 * (32 + 16)
    assert report.names["out/y"] == "out_y"
    told = report.as_dict()
    assert json.loads(json.dumps(told)) == told
    assert told["inputs"][0]["feature_shape"] == [2, 4]
    assert {p.spec for p in report.passes} >= {"upgrade-opset"}, "lowering needs the internal opset"


def test_every_kind_of_source(path: Path) -> None:
    import onnx_graphsurgeon as gs

    model = mlp()
    sources: list[Any] = [path, str(path), model, from_model(model), gs.import_onnx(model)]
    programs = [str(convert(s, dims={"N": 2}, passes=PLAIN, precision="fp32").report.mil_ops) for s in sources]
    assert len(set(programs)) == 1
    with pytest.raises(InputError) as error:
        convert(42)
    assert error.value.code == "source-unknown"


def test_a_graph_is_not_changed() -> None:
    g = from_model(mlp())
    nodes, kind = dict(g.nodes(data=True)), g.tensor_type("in/x")
    convert(g, dims={"N": 2}, passes=["eliminate-dead-code", "cleanup"], precision="fp32")
    assert dict(g.nodes(data=True)) == nodes and g.tensor_type("in/x") == kind
    assert graph_of(g) is not g


@pytest.mark.parametrize(
    ("options", "kind", "code"),
    [
        ({"target": "iOS12"}, UsageError, "target-unknown"),
        ({"format": "onnx"}, UsageError, "format-unknown"),
        ({"precision": "int8"}, UsageError, "precision-unknown"),
        ({"coremltools_pipeline": "long"}, UsageError, "pipeline-unknown"),
        ({"fallback": "hope"}, UsageError, "fallback-unknown"),
        ({"fallback": "custom"}, UsageError, "fallback-unavailable"),
        ({"dims": {}}, UnsupportedError, "dims-unpinned"),
        ({"dims": {"M": 1}}, UsageError, "dim-unknown"),
        ({"passes": ["no-such-pass"]}, UsageError, "pass-unknown"),
    ],
)
def test_refusals(options: dict[str, Any], kind: type[CoregraftError], code: str) -> None:
    with pytest.raises(kind) as error:
        convert(mlp(), **{"dims": {"N": 2}, "passes": PLAIN, **options})
    assert error.value.code == code


def test_shapes_pin_as_well_as_dims() -> None:
    assert convert(mlp(), shapes={"in/x": (5, 4)}, passes=PLAIN).report.inputs[0].shape == (5, 4)


@pytest.mark.parametrize("pipeline", ["short", "default", "none"])
@pytest.mark.parametrize("format", ["mlprogram", "neuralnetwork"])
def test_every_coremltools_pipeline_gives_a_package(tmp_path: Path, pipeline: str, format: str) -> None:
    done = convert(
        mlp(), dims={"N": 2}, precision="fp32", passes=PLAIN, format=format, coremltools_pipeline=pipeline
    )
    suffix = ".mlpackage" if format == "mlprogram" else ".mlmodel"
    (written,) = done.save(tmp_path / f"m{suffix}")
    assert written.exists()
    assert done.report.precision == "fp32"


def test_a_neuralnetwork_has_no_fp16() -> None:
    assert convert(mlp(), dims={"N": 2}, passes=PLAIN, format="neuralnetwork").report.precision == "fp32"


# ---------------------------------------------------------------- ops without a lowering


def unknown() -> onnx.ModelProto:
    model = mlp(batch="2")
    model.opset_import.add(domain="com.acme", version=1)
    model.graph.node[1].op_type, model.graph.node[1].domain, model.graph.node[1].name = "Fancy", "com.acme", "f"
    model.graph.value_info.append(onnx.helper.make_tensor_value_info("a", 1, [2, 8]))
    return model


@pytest.mark.parametrize(
    "options", [{"fallback": "error"}, {"fallback": "error", "format": "neuralnetwork"}]
)
def test_an_unknown_op_is_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError) as error:
        convert(unknown(), passes=PLAIN, **options)
    assert error.value.code == "op-no-lowering"
    assert 'com.acme.Fancy "f"' in error.value.message
    assert error.value.hint and "neuralnetwork" in error.value.hint


def test_an_unknown_op_becomes_a_custom_layer(tmp_path: Path) -> None:
    done = convert(unknown(), passes=PLAIN, format="neuralnetwork")
    written = done.save(tmp_path / "m.mlmodel")
    assert written[0] == tmp_path / "m.mlmodel"
    assert {"Package.swift", "ComAcmeFancy.swift", "ComAcmeFancyTests.swift"} <= {p.name for p in written}
    layer = next(x for x in done.model.get_spec().neuralNetwork.layers if x.WhichOneof("layer") == "custom")
    assert layer.custom.className == "ComAcmeFancy"
    (entry,) = done.report.fallbacks
    assert (entry["op"], entry["rung"], entry["class"]) == ('com.acme.Fancy "f"', "custom-layer", "ComAcmeFancy")
    assert "Neural Engine" in entry["cost"]
    assert "ComAcmeFancy" in done.report.warnings[0]


def test_a_swift_class_that_was_filled_in_is_left_alone(tmp_path: Path) -> None:
    done = convert(unknown(), passes=PLAIN, format="neuralnetwork")
    (mine,) = [p for p in done.save(tmp_path / "m.mlmodel") if p.name == "ComAcmeFancy.swift"]
    mine.write_text("// done")
    assert mine not in done.save(tmp_path / "m.mlmodel")
    assert mine.read_text() == "// done"


@pytest.mark.parametrize(
    "node",
    ["a = Abs(x) y = Pow(a, c)", "y = Mod<fmod = 1>(x, c)", "y = Mod<fmod = 1>(c, x)", "m = Neg(c) y = Pow(m, x)"],
)
def test_scalar_constants_in_half_precision(node: str, tmp_path: Path) -> None:
    """coremltools folds arithmetic on fp16 constants to fp32 ones, and then finds that types do not agree."""
    model = parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> g (float[2,3] x) => (float[2,3] y) <float c = {1.7}> {' + f" {node} }}"
    )
    convert(model, precision="fp16").save(tmp_path / "m.mlpackage")


def test_weights_that_are_inputs_too_are_weights_in_half_precision(tmp_path: Path) -> None:
    """As files of IR version 3 list them all. A Cast of one at run time would leave the layer without its weights."""
    model = parser.parse_model(
        '<ir_version: 3, opset_import: ["": 8]> g (float[2,1,3] x, float[1,4,3] w, float[1,4,1] r)'
        " => (float[2,1,1,1] y)"
        " <float[1,4,3] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, float[1,4,1] r = {1, 2, 3, 4}> {"
        " y = LSTM<hidden_size = 1>(x, w, r) }"
    )
    done = convert(model, precision="fp16")
    assert done.report.ops_after["Cast"] == 2  # what goes in and what comes out
    done.save(tmp_path / "m.mlpackage")


def test_features_of_any_size_in_half_precision(tmp_path: Path) -> None:
    tree: dict[str, Any] = {
        "n_targets": 1, "nodes_treeids": [0] * 3, "nodes_nodeids": [0, 1, 2], "nodes_featureids": [0] * 3,
        "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"], "nodes_values": [100000.25, 0.0, 0.0],
        "nodes_truenodeids": [1, 0, 0], "nodes_falsenodeids": [2, 0, 0], "target_treeids": [0, 0],
        "target_nodeids": [1, 2], "target_ids": [0, 0], "target_weights": [1.0, 2.0],
    }  # fmt: skip
    line: dict[str, Any] = {"coefficients": [0.001], "intercepts": [1.0], "targets": 1}
    nodes = [
        onnx.helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", **tree),
        onnx.helper.make_node("LinearRegressor", ["x"], ["z"], domain="ai.onnx.ml", **line),
    ]
    x, *results = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2, 1]) for name in "xyz")
    opsets = [onnx.helper.make_opsetid("", 21), onnx.helper.make_opsetid("ai.onnx.ml", 3)]
    graph_proto = onnx.helper.make_graph(nodes, "g", [x], results)
    model = onnx.helper.make_model(graph_proto, opset_imports=opsets, ir_version=10)
    convert(model, precision="fp16").save(tmp_path / "m.mlpackage")
    graph = lift(tmp_path / "m.mlpackage")
    found = run(graph, {"x": np.array([[100000.0], [100000.5]], np.float32)})
    assert found[graph.outputs["y"]].tolist() == [[1.0], [2.0]]
    np.testing.assert_allclose(found[graph.outputs["z"]], [[101.0], [101.0005]], rtol=1e-6)
