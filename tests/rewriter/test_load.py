"""Loading: what a graph holds, and each kind of broken or hostile input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from coregraft.rewriter.errors import InputError
from coregraft.rewriter.graph import AttrRef, Floats, Graph, Op, RawAttr, Strings
from coregraft.rewriter.onnx_io.load import from_model, function_graph, load
from coregraft.rewriter.onnx_io.save import to_model
from coregraft.rewriter.types import Array, DType, OpaqueType, TensorType
from tests.rewriter.protos import ADD, RELU, code_of, external, info, model_of

# -------------------------------------------------------------------- what is read


def test_attributes_of_every_kind() -> None:
    tensor = numpy_helper.from_array(np.arange(3, dtype=np.int8), "t")
    node = helper.make_node(
        "Odd", ["x", "", "x"], ["y", ""], name="odd", domain="d", i=3, f=0.5, s="text", raw=b"\xff", ints=[1, 2],
        floats=[0.5, 2.0], strings=["a", "b"], t=tensor,
    )  # fmt: skip
    node.attribute.append(onnx.AttributeProto(name="none", type=onnx.AttributeProto.FLOATS))
    node.attribute.append(helper.make_attribute("tp", helper.make_tensor_type_proto(1, [2])))
    node.attribute.append(helper.make_attribute("ts", [tensor, tensor]))
    node.attribute.append(onnx.AttributeProto(name="no_ts", type=onnx.AttributeProto.TENSORS))
    g = from_model(model_of([node], opsets={"": 24, "d": 1}))
    op = g.op(0)
    assert [a.SerializeToString() for a in to_model(g).graph.node[0].attribute] == [
        a.SerializeToString() for a in node.attribute
    ]
    assert [t.numpy().tolist() for t in op.attrs["ts"]] == [[0, 1, 2]] * 2 and isinstance(op.attrs["no_ts"], RawAttr)
    assert (op.type, op.domain, op.name, op.inputs, op.outputs) == ("Odd", "d", "odd", ("x", "", "x"), ("y", ""))
    plain = {k: v for k, v in op.attrs.items() if k not in ("t", "tp", "ts", "no_ts")}
    assert plain == {
        "i": 3, "f": 0.5, "s": "text", "raw": b"\xff", "ints": (1, 2), "floats": (0.5, 2.0), "strings": ("a", "b"),
        "none": (),
    }  # fmt: skip
    assert isinstance(op.attrs["floats"], Floats) and isinstance(op.attrs["none"], Floats)
    assert isinstance(op.attrs["strings"], Strings) and isinstance(op.attrs["tp"], RawAttr)
    assert op.attrs["t"].numpy().tolist() == [0, 1, 2] and op.attrs["t"].dtype is DType.INT8


def test_types_keep_symbols_and_opaque_types() -> None:
    model = model_of([helper.make_node("SequenceAt", ["s", "x"], ["y"])], inputs=["x"])
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.INT64, ["N", None, 3]))
    sequence = helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None)
    model.graph.input.append(sequence)
    g = from_model(model)
    assert g.type_of("x") == TensorType(DType.INT64, ("N", None, 3))
    assert g.type_of("s") == OpaqueType(sequence.type.SerializeToString())


def test_bodies_capture_outer_values_through_two_levels() -> None:
    inner = helper.make_graph([helper.make_node("Add", ["t", "x"], ["u"])], "inner", [], [info("u")])
    nested = helper.make_node("If", ["c"], ["v"], then_branch=inner, else_branch=inner)
    outer = helper.make_graph([helper.make_node("Neg", ["w"], ["t"]), nested], "outer", [], [info("v")])
    branch = helper.make_node("If", ["c"], ["y"], then_branch=outer, else_branch=outer)
    model = model_of([branch], inputs=["x", "w"])
    model.graph.input.append(info("c", [], TensorProto.BOOL))
    g = from_model(model)
    op = g.op(0)
    assert op.captures == ("c", "w", "x")
    assert sorted(g.predecessors(0)) == ["c", "w", "x"]
    body = op.attrs["then_branch"]
    assert isinstance(body, Graph) and body.free_values() == ["c", "w", "x"]
    assert body.op(1).captures == ("t", "x")


def test_initializers_that_are_inputs_too_are_not_asked_for() -> None:
    weight = numpy_helper.from_array(np.ones(2, np.float32), "w")
    g = from_model(model_of([ADD], inputs=["x", "w"], initializers=[weight]))
    assert g.inputs == ("x",) and g.graph["inputs"] == ("x", "w")


@pytest.mark.parametrize(
    ("data_type", "field", "values", "expected"),
    [
        (TensorProto.FLOAT, "float_data", [1.5, 2.5], [1.5, 2.5]),
        (TensorProto.DOUBLE, "double_data", [1.5, 2.5], [1.5, 2.5]),
        (TensorProto.INT64, "int64_data", [-1, 2], [-1, 2]),
        (TensorProto.UINT32, "uint64_data", [1, 2], [1, 2]),
        (TensorProto.INT8, "int32_data", [-1, 2], [-1, 2]),
        (TensorProto.BOOL, "int32_data", [0, 1], [False, True]),
        (TensorProto.FLOAT16, "int32_data", [0x3C00, 0x4000], [1.0, 2.0]),
        (TensorProto.INT4, "int32_data", [0x2F], [-1, 2]),
        (TensorProto.STRING, "string_data", [b"a", b"\xff"], ["a", b"\xff"]),
        (TensorProto.COMPLEX64, "float_data", [1, 2, 3, 4], [1 + 2j, 3 + 4j]),
    ],
)
def test_typed_storage(data_type: int, field: str, values: list[object], expected: list[object]) -> None:
    tensor = TensorProto(name="w", dims=[2], data_type=data_type, **{field: values})  # type: ignore[arg-type]
    const = from_model(model_of([ADD], initializers=[tensor])).const("w")
    assert const is not None and const.numpy().tolist() == expected


def test_any_byte_but_zero_is_true(tmp_path: Path) -> None:
    """numpy keeps the byte of a bool: one of 7 is not equal to True, and would be written so."""
    raw = TensorProto(name="w", dims=[4], data_type=TensorProto.BOOL, raw_data=b"\x07\x00\xff\x01")
    const = from_model(model_of([ADD], initializers=[raw])).const("w")
    assert const is not None and const.numpy().view(np.uint8).tolist() == [1, 0, 1, 1]
    assert bytes(const.raw()) == raw.raw_data  # as it came, where nothing is changed


def test_sparse_initializers_are_dense_constants() -> None:
    model = model_of([ADD])
    values = numpy_helper.from_array(np.array([5, 7], np.float32), "w")
    indices = numpy_helper.from_array(np.array([[0, 1], [1, 2]], np.int64))
    model.graph.sparse_initializer.append(onnx.SparseTensorProto(values=values, indices=indices, dims=[2, 3]))
    const = from_model(model).const("w")
    assert const is not None and const.numpy().tolist() == [[0, 5, 0], [0, 0, 7]]


def test_a_function_may_have_the_name_that_a_later_opset_gives_to_an_op() -> None:
    model = with_functions([RELU], domain="", name="Gelu")  # born in opset 20
    model.opset_import[0].version = 18
    model.functions[0].opset_import[0].version = 18
    assert list(load(model).functions) == [("", "Gelu", "")]


def test_functions_are_graphs_with_attribute_references() -> None:
    body = helper.make_node("LeakyRelu", ["a"], ["b"])
    body.attribute.append(onnx.AttributeProto(name="alpha", type=onnx.AttributeProto.FLOAT, ref_attr_name="slope"))
    function = helper.make_function("local", "F", ["a"], ["b"], [body], [helper.make_opsetid("", 24)], ["slope"])
    model = model_of([helper.make_node("F", ["x"], ["y"], domain="local", slope=0.5)], opsets={"": 24, "local": 1})
    model.functions.append(function)
    g = from_model(model)
    for found in (function_graph(g.functions["local", "F", ""]), function_graph(function)):
        assert found.inputs == ("a",) and list(found.outputs) == ["b"] and found.opsets[""] == 24
        assert found.op(0).attrs == {"alpha": AttrRef("slope", 1)}
        assert found.graph["attributes"] == ("slope",)
    function_graph(g.functions["local", "F", ""]).remove_node(0)
    assert len(list(g.functions["local", "F", ""].ops())) == 1


def test_weights_of_a_file_are_views_of_it(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).standard_normal((700, 900)).astype(np.float32)
    path = tmp_path / "m.onnx"
    onnx.save(model_of([ADD], initializers=[numpy_helper.from_array(weight, "w")]), path)
    const = load(path).const("w")
    assert const is not None
    assert isinstance(const.raw(), memoryview)
    np.testing.assert_array_equal(const.numpy(), weight)
    assert not const.numpy().flags.writeable and not const.numpy().flags.owndata


def test_external_data_is_mapped(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"\0" * 4 + np.array([3, 4], np.float32).tobytes())
    path = tmp_path / "m.onnx"
    path.write_bytes(model_of([ADD], initializers=[external("w", "w.bin", offset=4, length=8)]).SerializeToString())
    const = load(str(path)).const("w")
    assert const is not None and const.numpy().tolist() == [3, 4]


def test_an_output_that_is_an_input_too_keeps_the_type_of_the_input() -> None:
    """Or of the constant that it is: files declare less of outputs."""
    model = model_of([RELU], outputs=["y"], initializers=[numpy_helper.from_array(np.ones(2, np.int64), "w")])
    for name in ("x", "w"):
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    g = load(model)
    assert g.type_of("x") == TensorType(DType.FLOAT, load(model_of([RELU])).tensor_type("x").shape)  # type: ignore[union-attr]
    assert g.type_of("w") == TensorType(DType.INT64, (2,))


@pytest.mark.parametrize(("inner", "legal"), [(1.0, True), (2.0, False)])
def test_a_constant_of_a_body_must_not_hide_another_one(inner: float, legal: bool) -> None:
    def branch(name: str) -> onnx.GraphProto:
        weight = numpy_helper.from_array(np.full(2, inner, np.float32), "w")
        return helper.make_graph([helper.make_node("Add", ["x", "w"], [name])], name, [], [info(name)], [weight])

    chosen = helper.make_node("If", ["k"], ["y"], then_branch=branch("a"), else_branch=branch("b"))
    outer = [numpy_helper.from_array(np.ones(2, np.float32), "w"), numpy_helper.from_array(np.array(True), "k")]
    model = model_of([chosen], initializers=outer)
    assert (code_of(lambda: load(model)) if not legal else load(model) and "") == ("" if legal else "value-redefined")


def test_a_file_out_of_order_is_sorted() -> None:
    nodes = [helper.make_node("Abs", ["a"], ["y"]), helper.make_node("Neg", ["x"], ["a"])]
    g = from_model(model_of(nodes))
    assert [g.op(i).type for i in g.topological()] == ["Neg", "Abs"]


# -------------------------------------------------------------------- what is refused


def test_a_missing_file(tmp_path: Path) -> None:
    assert code_of(lambda: load(tmp_path / "no.onnx")) == "file-not-found"
    assert code_of(lambda: load(tmp_path)) == "file-unreadable"


@pytest.mark.parametrize(
    "content", [b"", b"just text\n", b'{"a": 1}', b"\n\n", b"PK\x03\x04", b"version https://git-lfs", b"\x08\x09"]
)
def test_a_file_that_is_not_onnx(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    assert code_of(lambda: load(path)) == "model-not-onnx"


@pytest.mark.parametrize("size", [4, 200_000])
def test_a_truncated_model_at_any_place(size: int) -> None:
    weight = numpy_helper.from_array(np.ones(size, np.float64), "w")
    data = model_of([ADD], initializers=[weight]).SerializeToString()
    for end in {1, 2, len(data) // 3, len(data) // 2, len(data) - 9, len(data) - 1}:
        assert code_of(lambda end=end: load(data[:end])) in ("model-truncated", "model-not-onnx")  # type: ignore[misc]
    assert code_of(lambda: load(data[:-1])) == "model-truncated"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n", "git lfs pull"),
        (b"PK\x03\x04" + bytes(40), "torch.onnx.export"),
        (b"\n<!DOCTYPE html><html></html>", "web page"),
    ],
)
def test_what_people_take_for_a_model_is_told(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(InputError, match=says) as caught:
        load(tmp_path / "m.onnx")
    assert caught.value.code == "model-not-onnx"
    (tmp_path / "m.onnx").write_bytes(b"something else")
    with pytest.raises(InputError) as caught:
        load(tmp_path / "m.onnx")
    assert caught.value.hint is None


def test_damage_inside_the_graph_is_not_a_crash() -> None:
    weight = numpy_helper.from_array(np.ones(2, np.float32), "w")
    data = model_of([ADD], initializers=[weight]).SerializeToString()
    rng = np.random.default_rng(0)
    loaded = 0
    for _ in range(400):
        broken = bytearray(data)
        at = int(rng.integers(len(data)))
        broken[at : at + int(rng.integers(3))] = rng.bytes(int(rng.integers(3)))
        try:
            g = load(bytes(broken))
        except InputError as error:
            assert error.code
        else:
            to_model(g)
            loaded += 1
    assert 20 < loaded < 380


def broken_tensor(**fields: object) -> onnx.ModelProto:
    tensor = TensorProto(**{"name": "w", "dims": [2], "data_type": 1, "raw_data": bytes(8)} | fields)  # type: ignore[arg-type]
    return model_of([ADD], initializers=[tensor])


def nested(depth: int) -> onnx.ModelProto:
    model = onnx.ModelProto(ir_version=10, opset_import=[helper.make_opsetid("", 24)])
    graph = model.graph
    graph.input.extend([info("x"), info("c", [], TensorProto.BOOL)])
    for _ in range(depth):
        graph.output.add(name="y")
        branch = graph.node.add(op_type="If", input=["c"], output=["y"])
        graph = branch.attribute.add(name="then_branch", type=onnx.AttributeProto.GRAPH).g
    graph.output.add(name="y")
    graph.node.append(helper.make_node("Neg", ["x"], ["y"]))
    return model


REFERENCE = onnx.AttributeProto(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT)


def with_functions(*bodies: list[onnx.NodeProto], domain: str = "d", name: str = "F") -> onnx.ModelProto:
    model = model_of([RELU])
    imports = [helper.make_opsetid("", 24)]
    model.functions.extend(helper.make_function(domain, name, ["x"], ["y"], body, imports) for body in bodies)
    return model


REFUSED: dict[str, tuple[onnx.ModelProto, str]] = {
    "cycle": (
        model_of([helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Neg", ["a"], ["b"]),
                  helper.make_node("Abs", ["b"], ["y"])]), "graph-cycle",
    ),
    "self loop": (model_of([helper.make_node("Add", ["x", "y"], ["y"])]), "graph-cycle"),
    "undefined operand": (model_of([helper.make_node("Add", ["x", "no"], ["y"])]), "value-undefined"),
    "undefined output": (model_of([RELU], outputs=["no"]), "value-undefined"),
    "two producers": (model_of([RELU, RELU]), "value-redefined"),
    "input produced": (model_of([RELU], inputs=["x", "y"]), "value-redefined"),
    "input twice": (model_of([RELU], inputs=["x", "x"]), "value-redefined"),
    "output twice": (model_of([RELU], outputs=["y", "y"]), "value-redefined"),
    "initializer twice": (
        model_of([ADD], initializers=[numpy_helper.from_array(np.ones(2, np.float32), "w")] * 2), "value-redefined",
    ),
    "initializer of an input twice": (
        model_of([RELU], initializers=[numpy_helper.from_array(np.ones(2, np.float32), "x")] * 2), "value-redefined",
    ),
    "initializer computed": (
        model_of([RELU], initializers=[numpy_helper.from_array(np.ones(2, np.float32), "y")]), "value-redefined",
    ),
    "raw data too short": (broken_tensor(raw_data=bytes(7)), "initializer-size"),
    "raw data too long": (broken_tensor(raw_data=bytes(9)), "initializer-size"),
    "typed data too short": (broken_tensor(data_type=7, raw_data=None, int64_data=[1]), "initializer-size"),
    "no data": (broken_tensor(raw_data=None), "initializer-size"),
    "negative dim": (broken_tensor(dims=[-2]), "initializer-size"),
    "two negative dims": (broken_tensor(dims=[-2, -1]), "initializer-size"),
    "huge dims": (broken_tensor(dims=[2**40, 2**40]), "initializer-size"),
    "huge and zero": (broken_tensor(dims=[2**62, 0], raw_data=b""), "initializer-size"),
    "unknown type": (broken_tensor(data_type=99), "dtype-unknown"),
    "undefined type": (broken_tensor(data_type=0), "dtype-unknown"),
    "more dims than numpy has": (broken_tensor(dims=[1] * 65, raw_data=bytes(4)), "initializer-size"),
    "more dims than can be multiplied": (broken_tensor(dims=[2**40] * 300_000), "initializer-size"),
    "raw strings": (broken_tensor(data_type=8, raw_data=b""), "initializer-size"),
    "external strings": (
        broken_tensor(data_type=8, raw_data=None, data_location=TensorProto.EXTERNAL), "initializer-size",
    ),
    "segment": (broken_tensor(raw_data=None, segment=TensorProto.Segment(begin=0, end=8)), "tensor-segmented"),
    "opset 0": (model_of([RELU], opsets={"": 0}), "opset-unsupported"),
    "opset 29": (model_of([RELU], opsets={"": 29}), "opset-unsupported"),
    "no opset": (model_of([RELU], opsets={"other": 1}), "opset-unsupported"),
    "opset below 1 of another domain": (model_of([RELU], opsets={"": 24, "ai.onnx.ml": -3}), "opset-unsupported"),
    "two opsets of one domain": (model_of([RELU], opsets={"": 24, "ai.onnx": 23}), "opset-unsupported"),
    "function twice": (with_functions([RELU], [RELU]), "value-redefined"),
    "function of the name of an op": (with_functions([RELU], domain="", name="Abs"), "value-redefined"),
    "reference outside of a function": (
        model_of([onnx.NodeProto(op_type="LeakyRelu", input=["x"], output=["y"], attribute=[REFERENCE])]),
        "attribute-type",
    ),
    "unknown domain": (model_of([helper.make_node("Relu", ["x"], ["y"], domain="d")]), "domain-unknown"),
    "name not UTF-8": (
        onnx.ModelProto.FromString(model_of([RELU], outputs=["y"]).SerializeToString().replace(b"Relu", b"R\xff\xfeu")),
        "text-not-utf8",
    ),
    "value name not UTF-8": (
        onnx.ModelProto.FromString(
            model_of([helper.make_node("Relu", ["long"], ["y"])], inputs=["long"]).SerializeToString()
            .replace(b"long", b"l\xffng")
        ), "text-not-utf8",
    ),
    "input without a name": (model_of([RELU], inputs=["x", ""]), "name-empty"),
    "output without a name": (model_of([RELU], outputs=["y", ""]), "name-empty"),
    "no outputs": (model_of([RELU], outputs=[]), "graph-empty"),
    "attribute twice": (
        model_of([onnx.NodeProto(op_type="Relu", input=["x"], output=["y"],
                                 attribute=[helper.make_attribute("a", 1)] * 2)]), "attribute-repeated",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_broken_model_is_one_clear_error(name: str) -> None:
    model, code = REFUSED[name]
    assert code_of(lambda: load(model)) == code
    assert code_of(lambda: load(model.SerializeToString())) == code


def test_nesting_is_bounded() -> None:
    load(nested(30).SerializeToString())
    for depth in (31, 32, 60):
        assert code_of(lambda depth=depth: load(nested(depth))) == "nesting-depth"  # type: ignore[misc]
        assert code_of(lambda depth=depth: load(nested(depth).SerializeToString())) == "nesting-depth"  # type: ignore[misc]


def test_every_supported_opset_loads() -> None:
    for version in range(7, 29):
        assert load(model_of([RELU], opsets={"": version})).opsets[""] == version


def test_a_known_domain_without_ops_of_ours_loads() -> None:
    node = helper.make_node("FusedConv", ["x"], ["y"], domain="com.microsoft")
    g = load(model_of([node], opsets={"com.microsoft": 1}))
    assert g.op(0) == Op("FusedConv", ("x",), ("y",), domain="com.microsoft", attrs=g.op(0).attrs, meta=g.op(0).meta)


@pytest.mark.parametrize(
    "indices", [[[0, 3]], [[2, 0]], [[-1, 0]], [[0]], [[0, 0], [0, 1]], [6], [-1], 0, [[0.0, 1.0]]]
)
def test_indices_of_a_sparse_tensor_are_checked(indices: object) -> None:
    model = model_of([ADD])
    values = numpy_helper.from_array(np.array([5], np.float32), "w")
    model.graph.sparse_initializer.append(
        onnx.SparseTensorProto(values=values, indices=numpy_helper.from_array(np.array(indices)), dims=[2, 3])
    )
    assert code_of(lambda: load(model)) == "initializer-size"


@pytest.mark.parametrize(
    ("values", "indices", "dims"),
    [
        (np.ones((2, 1)), np.zeros(2), [2, 3]),  # values are a list
        (np.ones(2), np.zeros((2, 70)), [1] * 70),  # more dims than numpy has
        (np.ones(2), np.zeros(2), [2**40] * 300_000),
        (np.ones(2), np.zeros(2), [2, -3]),
        (np.ones(0), np.zeros((0, 2)), [2, 2**62]),
    ],
)
def test_shapes_of_a_sparse_tensor_are_checked(values: Array, indices: Array, dims: list[int]) -> None:
    model = model_of([ADD])
    model.graph.sparse_initializer.add(
        values=numpy_helper.from_array(values.astype(np.float32), "w"),
        indices=numpy_helper.from_array(indices.astype(np.int64)), dims=dims,
    )  # fmt: skip
    assert code_of(lambda: load(model)) == "initializer-size"
