"""Saving: exact round trips, external data, names, and files that are whole or not there."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from coregraft.rewriter.errors import GraphError, UsageError
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.onnx_io import wire
from coregraft.rewriter.onnx_io.load import load
from coregraft.rewriter.onnx_io.save import attribute, function_proto, save, to_model
from coregraft.rewriter.onnx_io.text import parse
from coregraft.rewriter.types import Array, Const, DType


def bytes_of(model: onnx.ModelProto) -> bytes:
    return bytes(model.SerializeToString(deterministic=True))


def odd_model() -> onnx.ModelProto:
    """Everything about a file that a graph has no word for."""
    rng = np.random.default_rng(0)
    body = helper.make_graph([helper.make_node("Add", ["x", "w"], ["t"])], "body", [], [onnx.ValueInfoProto(name="t")])
    body.output[0].type.SetInParent()
    nodes = [
        helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(rng.random(3), "value name")),
        helper.make_node("If", ["cond"], ["y"], name="if", then_branch=body, else_branch=body),
        helper.make_node("F", ["y"], ["z"], domain="local", doc_string="a trace", alpha=0.5),
        onnx.NodeProto(op_type="Relu", input=["z"], output=["out", ""], domain="ai.onnx", name="", overload=""),
    ]
    nodes[2].metadata_props.add(key="pkg.scope", value="m.layer")
    nodes[2].attribute[0].doc_string = "slope"
    nodes[0].attribute[0].doc_string = ""
    initializers = [
        numpy_helper.from_array(rng.standard_normal(3).astype(np.float32), "w"),
        TensorProto(
            name="typed", dims=[2], data_type=1, float_data=[1, 2], doc_string="d", data_location=TensorProto.DEFAULT
        ),
        TensorProto(name="strings", dims=[2], data_type=8, string_data=[b"a", b"\xff"]),
        TensorProto(name="scalar", data_type=TensorProto.BFLOAT16, int32_data=[0x3F80]),
        TensorProto(name="four", dims=[3], data_type=TensorProto.INT4, raw_data=b"\x21\x03"),
        TensorProto(name="empty", dims=[0], data_type=1, raw_data=b""),
    ]
    inputs = [
        helper.make_tensor_value_info("typed", 1, [2]),
        helper.make_tensor_value_info("x", 1, ["N", None, 3], "an image", shape_denotation=["BATCH", "", ""]),
        helper.make_tensor_value_info("cond", 9, []),
        helper.make_tensor_sequence_value_info("seq", 1, None),
        helper.make_tensor_value_info("minus", 1, [-1]),
    ]
    outputs = [helper.make_tensor_value_info("out", 1, None), helper.make_tensor_value_info("x", 1, ["N", None, 3])]
    graph = helper.make_graph(nodes, "main", inputs, outputs[:1], initializers, doc_string="of the graph")
    graph.value_info.extend([helper.make_tensor_value_info(v, 1, [3]) for v in ("z", "nobody", "y")])
    graph.metadata_props.add(key="g", value="1")
    values = numpy_helper.from_array(np.array([5.0], np.float32), "sparse")
    graph.sparse_initializer.append(
        onnx.SparseTensorProto(values=values, indices=numpy_helper.from_array(np.array([1], np.int64)), dims=[4])
    )
    annotation = graph.quantization_annotation.add(tensor_name="y")
    annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="w")
    imports = [helper.make_opsetid("ai.onnx", 21), onnx.OperatorSetIdProto(version=21), helper.make_opsetid("local", 1)]
    leaky = helper.make_node("LeakyRelu", ["a"], ["b"])
    leaky.attribute.add(name="alpha", type=onnx.AttributeProto.FLOAT, ref_attr_name="alpha")
    function = helper.make_function(
        "local", "F", ["a"], ["b"], [leaky], [helper.make_opsetid("", 21)], ["alpha"],
        attribute_protos=[helper.make_attribute("beta", 2.0)], doc_string="f", value_info=[],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=imports, functions=[function], producer_name="p", doc_string="")
    model.metadata_props.add(key="author", value="me")
    model.metadata_props.add(key="author", value="you")
    model.training_info.add()
    model.ir_version = 8
    return model


def test_round_trip_is_byte_identical() -> None:
    model = odd_model()
    assert bytes_of(to_model(load(model))) == bytes_of(model)
    assert bytes_of(to_model(load(bytes_of(model)))) == bytes_of(model)


def test_a_copy_saves_like_the_original() -> None:
    g = load(odd_model())
    assert bytes_of(to_model(g.copy())) == bytes_of(to_model(g))


@pytest.mark.parametrize("small_file", [True, False])
def test_a_file_comes_back_byte_identical(small_file: bool, tmp_path: Path) -> None:
    model = odd_model()
    if not small_file:  # past the size from which weights stay in the file
        big = np.random.default_rng(1).standard_normal((300, 1000)).astype(np.float32)
        model.graph.initializer.insert(1, numpy_helper.from_array(big, "big"))
        model.graph.initializer[1].doc_string = "after raw_data in the file"
        body = next(a.g for a in model.graph.node[1].attribute)
        body.initializer.append(numpy_helper.from_array(big[:10], "inner"))
    source, target = tmp_path / "a.onnx", tmp_path / "b.onnx"
    source.write_bytes(bytes_of(model))
    save(load(source), target)
    assert target.read_bytes() == source.read_bytes()
    save(load(target), target)
    assert target.read_bytes() == source.read_bytes()


# -------------------------------------------------------------------- names, new ops


def test_an_output_keeps_its_public_name() -> None:
    g = parse(
        "input x: float[1]\nr: float[1] = Relu(x)\ny = Abs(r)\nz: float[1] = Neg(y)\n"
        "output y = r\noutput z\noutput again = r\noutput in = x"
    )
    model = to_model(g)
    onnx.checker.check_model(model, full_check=True)
    assert [o.name for o in model.graph.output] == ["y", "z", "again", "in"]
    by_output = {n.output[0]: n for n in model.graph.node}
    assert by_output["y"].op_type == "Relu"
    assert by_output["again"].op_type == "Identity" and list(by_output["again"].input) == ["y"]
    assert by_output["in"].op_type == "Identity" and list(by_output["in"].input) == ["x"]
    assert list(by_output["z"].input) == [by_output[by_output["z"].input[0]].output[0]] != ["y"]


def test_renamed_captures_do_not_meet_names_of_the_body() -> None:
    g = parse(
        """
        input x: float[1]
        input c: bool[]
        r: float[1] = Relu(x)
        s: float[1] = If(c, then_branch={
            y: float[1] = Abs(r)
            output y
        }, else_branch={
            value r: float[1]
            output y = r
        })
        output y = r
        output s
        """
    )
    model = to_model(g)
    onnx.checker.check_model(model, full_check=True)
    then = next(a.g for n in model.graph.node if n.op_type == "If" for a in n.attribute if a.name == "then_branch")
    assert list(then.node[0].input) == ["y"] and list(then.node[0].output) != ["y"]
    assert then.output[0].name == then.node[0].output[0]


def test_ops_of_the_internal_dialect_bring_their_definition() -> None:
    from onnx.reference import ReferenceEvaluator

    g = parse(
        "input x: float[1,3]\nconst w: float[2,3] = normal(seed=1)\nconst b: float[2] = ones\n"
        "y: float[1,2] = coregraft.Linear(x, w, b)\noutput y"
    )
    model = to_model(g)
    onnx.checker.check_model(model)
    x = np.array([[1, 2, 3]], np.float32)
    w = g.const("w")
    assert w is not None
    (y,) = ReferenceEvaluator(model).run(None, {"x": x})
    np.testing.assert_allclose(np.asarray(y), x @ w.numpy().T + np.float32(1), rtol=1e-6)


def test_inferred_types_are_written_after_the_listed_ones() -> None:
    g = load(helper.make_model(
        helper.make_graph(
            [helper.make_node(t, [a], [b]) for t, a, b in (("Relu", "x", "a"), ("Abs", "a", "b"), ("Neg", "b", "y"))],
            "g", [helper.make_tensor_value_info("x", 1, [2])], [helper.make_tensor_value_info("y", 1, [2])],
            value_info=[helper.make_tensor_value_info("b", 1, [2])],
        ), opset_imports=[helper.make_opsetid("", 24)],
    ))  # fmt: skip
    kind = g.type_of("x")
    g.nodes["a"]["type"] = kind
    assert [v.name for v in to_model(g).graph.value_info] == ["b", "a"]


def test_an_edited_type_replaces_the_type_of_the_file_and_keeps_its_documentation() -> None:
    g = load(odd_model())
    kind = g.tensor_type("x")
    assert kind is not None
    g.nodes["x"]["type"] = replace(kind, shape=(1, 3, 3))
    x = to_model(g).graph.input[1]
    assert [d.dim_value for d in x.type.tensor_type.shape.dim] == [1, 3, 3] and x.doc_string == "an image"


def test_an_output_cannot_take_the_name_of_an_input() -> None:
    with pytest.raises(GraphError, match="value-redefined"):
        to_model(parse("input x: float[1]\nr = Relu(x)\noutput x = r"))


@pytest.mark.parametrize("value", [None, {"a": 1}, (1, "a"), object()])
def test_an_attribute_that_onnx_does_not_have_is_refused(value: object) -> None:
    with pytest.raises(GraphError, match="attribute-type"):
        attribute("a", value)


def test_numpy_numbers_are_attributes() -> None:
    assert attribute("a", np.int64(3)).i == 3
    assert attribute("a", np.float32(0.5)).f == 0.5
    assert list(attribute("a", (np.int64(3), 4)).ints) == [3, 4]
    assert list(attribute("a", (1.0, 2)).floats) == [1.0, 2.0]


def test_a_function_comes_back() -> None:
    model = odd_model()
    (function,) = load(model).functions.values()
    assert bytes_of(function_proto(function)) == bytes_of(model.functions[0])


# -------------------------------------------------------------------- external data


def with_external(folder: Path, name: str = "m.onnx", data: str = "w.bin") -> Path:
    """A model with two external tensors, a gap between them, and one small inline."""
    folder.mkdir(exist_ok=True)
    content: dict[str, Array] = {"a": np.arange(4, dtype=np.float32), "b": np.arange(3, dtype=np.int64)}
    offsets = {"a": 0, "b": 4096}
    (folder / data).parent.mkdir(exist_ok=True)
    with (folder / data).open("wb") as file:
        for key, array in content.items():
            file.write(bytes(offsets[key] - file.tell()) + array.tobytes())
    tensors = []
    for key, array in content.items():
        tensor = TensorProto(name=key, dims=array.shape, data_type=helper.np_dtype_to_tensor_dtype(array.dtype))
        for k, v in (("location", data), ("offset", offsets[key]), ("length", array.nbytes), ("checksum", "x")):
            tensor.external_data.add(key=k, value=str(v))
        tensor.data_location = TensorProto.EXTERNAL
        tensors.append(tensor)
    tensors.append(numpy_helper.from_array(np.ones(1, np.float32), "inline"))
    nodes = [helper.make_node("Add", ["a", "inline"], ["y"]), helper.make_node("Neg", ["b"], ["z"])]
    outputs = [helper.make_tensor_value_info("y", 1, [4]), helper.make_tensor_value_info("z", 7, [3])]
    graph = helper.make_graph(nodes, "g", [], outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    (folder / name).write_bytes(bytes_of(model))
    return folder / name


@pytest.mark.parametrize("data", ["w.bin", "weights/w.bin"])
def test_external_data_keeps_its_layout(data: str, tmp_path: Path) -> None:
    source = with_external(tmp_path / "a", data=data)
    target = tmp_path / "b" / "out.onnx"
    target.parent.mkdir()
    assert save(load(source), target) == [target, target.parent / data]
    assert target.read_bytes() == source.read_bytes()
    assert (target.parent / data).read_bytes() == (source.parent / data).read_bytes()
    onnx.checker.check_model(str(target))


def test_a_file_with_the_same_content_is_reused(tmp_path: Path) -> None:
    source = with_external(tmp_path)
    before = (tmp_path / "w.bin").stat()
    assert save(load(source), tmp_path / "out.onnx") == [tmp_path / "out.onnx"]
    after = (tmp_path / "w.bin").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert (tmp_path / "out.onnx").read_bytes() == source.read_bytes()


@pytest.mark.parametrize("name", ["out.onnx", "m.onnx"])
def test_weights_of_another_model_are_never_overwritten(name: str, tmp_path: Path) -> None:
    source = with_external(tmp_path)
    weights = (tmp_path / "w.bin").read_bytes()
    g = load(source)
    kept = g.const("b")
    g.nodes["a"]["const"] = Const.of(np.full(4, 9, np.float32))
    assert kept is not None
    save(g, tmp_path / name)
    assert (tmp_path / "w.bin").read_bytes() == weights
    back = load(tmp_path / name)
    a, b = back.const("a"), back.const("b")
    assert a is not None and b is not None
    assert a.numpy().tolist() == [9] * 4 and b.numpy().tolist() == [0, 1, 2]


def test_two_files_whose_names_are_taken_go_into_one(tmp_path: Path) -> None:
    names = {f"{file}{i}": file for file in "vw" for i in range(2)}
    (tmp_path / "a").mkdir()
    for file in "vw":
        (tmp_path / file).write_bytes(b"another's")
        (tmp_path / "a" / file).write_bytes(file.encode() * 160)
    tensors = []
    for name, file in names.items():
        tensor = TensorProto(name=name, dims=[80], data_type=TensorProto.UINT8, data_location=TensorProto.EXTERNAL)
        for key, value in (("location", file), ("offset", 80 * int(name[1])), ("length", 80)):
            tensor.external_data.add(key=key, value=str(value))
        tensors.append(tensor)
    node = helper.make_node("Concat", list(names), ["y"], axis=0)
    graph = helper.make_graph([node], "g", [], [helper.make_tensor_value_info("y", TensorProto.UINT8, [320])], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]), tmp_path / "a" / "m.onnx")
    save(load(tmp_path / "a" / "m.onnx"), tmp_path / "m.onnx")
    back = load(tmp_path / "m.onnx")
    for name, file in names.items():
        const = back.const(name)
        assert const is not None and const.numpy().tobytes() == file.encode() * 80
    assert (tmp_path / "v").read_bytes() == b"another's"


def test_holes_that_passes_leave_are_closed(tmp_path: Path) -> None:
    big = Const.of(np.zeros(100_000, np.float32))
    g = parse("const s: int64[2] = [1, 2]\ny = Neg(s)\nconst t: float[2] = [3.0, 4.0]\nz = Neg(t)\noutput y\noutput z")
    g.add_value("big", const=big)
    g.add_op(Op("Abs", ("big",), ("w",)))
    save(g, tmp_path / "a.onnx", external_threshold=1)
    assert (tmp_path / "a.onnx.data").stat().st_size > 400_000
    loaded = load(tmp_path / "a.onnx")
    loaded.remove_nodes_from([loaded.producer("w"), "big", "w"])
    (tmp_path / "b").mkdir()
    save(loaded, tmp_path / "b" / "a.onnx")
    assert (tmp_path / "b" / "a.onnx.data").stat().st_size < 1000
    t = load(tmp_path / "b" / "a.onnx").const("t")
    assert t is not None and t.numpy().tolist() == [3.0, 4.0]


def test_threshold_decides_for_every_constant(tmp_path: Path) -> None:
    g = load(with_external(tmp_path / "a"))
    save(g, tmp_path / "big.onnx", external_threshold=24)  # what b takes; a takes 16
    structure = onnx.load(tmp_path / "big.onnx", load_external_data=False)
    stored = {t.name: t.data_location for t in structure.graph.initializer}
    assert stored == {"a": TensorProto.DEFAULT, "b": TensorProto.EXTERNAL, "inline": TensorProto.DEFAULT}
    (place,) = ({e.key: e.value for e in t.external_data} for t in structure.graph.initializer if t.name == "b")
    assert place == {"location": "big.onnx.data", "offset": "0", "length": "24"}
    onnx.checker.check_model(str(tmp_path / "big.onnx"))
    save(load(tmp_path / "big.onnx"), tmp_path / "all.onnx", external_threshold=1 << 40)
    assert not (tmp_path / "all.onnx.data").exists()
    for t in onnx.load(tmp_path / "all.onnx").graph.initializer:
        const = g.const(t.name)
        assert const is not None
        np.testing.assert_array_equal(numpy_helper.to_array(t), const.numpy())


def test_a_model_over_the_limit_of_protobuf_becomes_external(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from coregraft.rewriter.onnx_io import save as module

    monkeypatch.setattr(module, "MAX_MESSAGE", 300_000)
    g = parse("const w: float[100000] = normal(seed=1)\ny = Neg(w)\noutput y")
    save(g, tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx.data").stat().st_size == 400_000
    back, w = load(tmp_path / "m.onnx").const("w"), g.const("w")
    assert back is not None and w is not None and back.digest() == w.digest()
    with pytest.raises(UsageError, match="model-too-large"):
        save(g, tmp_path / "n.onnx", external_threshold=1 << 40)
    assert not (tmp_path / "n.onnx").exists()


# -------------------------------------------------------------------- whole or not there


def leftovers(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize("kind", ["missing folder", "a folder", "file as folder"])
def test_an_unwritable_output_is_one_clear_error(kind: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    target = tmp_path / {"missing folder": "no/m.onnx", "a folder": "folder", "file as folder": "file/m"}[kind]
    before = leftovers(tmp_path)
    with pytest.raises(UsageError) as caught:
        save(parse("input x: float[1]\ny = Relu(x)\noutput y"), target)
    assert caught.value.code == "output-unwritable" and caught.value.exit_code == 2
    assert leftovers(tmp_path) == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(UsageError, match="output-unwritable"):
        save(parse("input x: float[1]\ny = Relu(x)\noutput y"), tmp_path / "m.onnx")
    tmp_path.chmod(stat.S_IRWXU)


def test_a_failure_half_way_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    target = tmp_path / "m.onnx"
    target.write_bytes(b"old")

    def unreadable() -> bytes:
        raise OSError(5, "Input/output error")

    g = Graph()
    g.set_opsets({"": 24})
    g.add_value("a", const=Const.of(np.zeros(20_000, np.float32)))
    g.add_value("b", const=Const(DType.FLOAT, (20_000,), unreadable))
    g.add_op(Op("Add", ("a", "b"), ("y",)))
    g.set_outputs(["y"])
    for threshold in (None, 1):
        with pytest.raises(UsageError, match="output-unwritable"):
            save(g, target, external_threshold=threshold)
        assert target.read_bytes() == b"old"
        assert leftovers(tmp_path) == ["m.onnx"]


def test_saving_streams_what_serializing_builds(tmp_path: Path) -> None:
    g = parse(
        "const a: float[9000] = normal(seed=1)\nconst b: float16[9000] = normal(seed=2)\nconst c: int4[40001] = ones\n"
        "y = Neg(a)\nz = Neg(b)\nt = Neg(c)\noutput y\noutput z\noutput t"
    )
    save(g, tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == bytes_of(to_model(g))
    assert wire.cut_weights(memoryview(b"")) is None
