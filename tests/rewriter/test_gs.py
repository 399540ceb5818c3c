"""Exchange with onnx-graphsurgeon."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from onnx import helper

from coregraft.rewriter.errors import InputError
from coregraft.rewriter.graph import AttrRef, Floats, Graph, Op, RawAttr, Strings
from coregraft.rewriter.onnx_io.gs import from_graphsurgeon, to_graphsurgeon
from coregraft.rewriter.onnx_io.load import load
from coregraft.rewriter.onnx_io.save import to_model
from coregraft.rewriter.onnx_io.text import equal, parse, to_text
from coregraft.rewriter.types import Const, DType, OpaqueType, TensorType

TEXT = """
    opset com.microsoft 1
    opset local 1
    opset 24
    fact metadata = [["author", "me"]]
    fact ir_version = 10
    function "local" "F" "" {
      opset 24
      fact attributes = ["slope"]
      default beta = 2.0
      input a
      b = LeakyRelu(a, alpha=ref(slope, 1)) @leaky
      output b
    }
    input x: float[N,3]
    input c: bool[]
    const w: float[3] = [1.0, 2.0, 3.0]
    const unused: bfloat16[2] = [1.0, 2.0]
    const only_in_body: int4[3] = [-1, 2, 3]
    value nowhere: int64[?]
    y: float[N,3] = Add(x, w) @"/add"
    z, _ = com.microsoft.Odd(y, _, y, empty=floats(), none=[], names=["a"], ints=[1, 2], f=0.5,
                             raw=raw(b64"CgNyYXc="), bytes=b64"/w==", t=int8[2] [1, 2], nostrings=strings()) @odd
    r = If(c, then_branch={
        const inner = 2.0
        t = Mul(z, inner)
        u = If(c, then_branch={
            v = Cast(only_in_body, to=1)
            output v
        }, else_branch={
            output w
        })
        output t
    }, else_branch={
        s = local.F(z, slope=0.5)
        output s
    })
    output r
    output y
"""


def there_and_back(g: Graph) -> Graph:
    return from_graphsurgeon(to_graphsurgeon(g))


def test_there_and_back_is_exact() -> None:
    g = parse(TEXT)
    assert to_text(there_and_back(g)) == to_text(g)


def test_there_and_back_saves_the_same_bytes() -> None:
    model = to_model(parse(TEXT))
    model.graph.node[0].doc_string = "a trace"
    model.graph.node[1].metadata_props.add(key="k", value="v")
    model.graph.input[0].doc_string = "an image"
    model.graph.initializer[0].doc_string = "the weight"
    model.graph.input.append(helper.make_tensor_value_info("w", 1, [3]))
    model.graph.input.append(helper.make_tensor_sequence_value_info("seq", 1, ["N"]))
    g = load(model)
    back = to_model(there_and_back(g))
    assert back.SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)
    assert isinstance(there_and_back(g).type_of("seq"), OpaqueType)


def test_constants_are_not_read_on_the_way() -> None:
    def never() -> bytes:
        raise AssertionError("read")

    g = parse("input x: float[2]\ny = Neg(x)\noutput y")
    g.add_value("w", const=Const(DType.FLOAT, (2,), never))
    g.add_op(Op("Add", ("y", "w"), ("z",)))
    g.set_outputs(["z"])
    made = to_graphsurgeon(g)
    assert made.tensors()["w"].shape == (2,)
    assert from_graphsurgeon(made).const("w") is g.const("w")


def test_gs_sees_a_graph_that_it_can_export() -> None:
    g = parse("input x: float[2,3]\nconst w: float[3] = [1.0, 2.0, 3.0]\ny: float[2,3] = Add(x, w)\noutput y")
    g.graph.update(producer_name="us", producer_version="1", ir_version=10)
    model = gs.export_onnx(to_graphsurgeon(g))
    onnx.checker.check_model(model, full_check=True)
    assert equal(load(model), from_graphsurgeon(gs.import_onnx(model)))


def test_an_output_that_was_re_sourced_keeps_its_name() -> None:
    made = to_graphsurgeon(parse("input x: float[1]\nr: float[1] = Relu(x)\noutput public = r"))
    assert [t.name for t in made.outputs] == ["public"]
    assert made.nodes[0].outputs[0] is made.outputs[0]


def test_an_edited_graph_comes_back_edited() -> None:
    made = to_graphsurgeon(parse(TEXT))
    add, odd = made.nodes[0], made.nodes[1]
    add.op, add.name = "Sub", "renamed"
    odd.attrs["ints"].append(3)
    odd.attrs["names"] = []
    del odd.attrs["f"]
    made.tensors()["w"].values = np.zeros(3, np.float32)
    made.tensors()["y"].shape = [4, 3]
    extra = gs.Variable("extra", np.float32, ["N", 3])
    attrs = {"gain": np.float32(0.5), "to": np.int64}
    made.nodes.append(gs.Node("Relu", inputs=[made.outputs[1]], outputs=[extra], attrs=attrs))
    made.outputs.append(extra)
    g = from_graphsurgeon(made)
    sub, odd_op = g.op(0), g.op(1)
    assert (sub.type, sub.name) == ("Sub", "renamed")
    assert odd_op.attrs["ints"] == (1, 2, 3) and "f" not in odd_op.attrs
    assert isinstance(odd_op.attrs["empty"], Floats) and isinstance(odd_op.attrs["raw"], RawAttr)
    w = g.const("w")
    assert w is not None and w.numpy().tolist() == [0, 0, 0]
    assert g.type_of("y") == TensorType(DType.FLOAT, (4, 3))
    assert g.type_of("extra") == TensorType(DType.FLOAT, ("N", 3))
    assert list(g.outputs) == ["r", "y", "extra"]
    assert g.op(3).attrs == {"gain": 0.5, "to": 7}
    assert g.graph["metadata"] == parse(TEXT).graph["metadata"]


def test_what_a_script_removes_stays_removed() -> None:
    made = to_graphsurgeon(parse("input x: float[2]\nconst w: float[2] = ones\ny = Add(x, w)\nz = Relu(y)\noutput z"))
    add, relu = made.nodes
    relu.inputs[0] = made.inputs[0]
    add.inputs.clear()
    made.nodes.remove(add)
    g = from_graphsurgeon(made)
    assert [op.type for _, op in g.ops()] == ["Relu"]
    assert "w" not in g and "y" not in g


def test_a_graph_authored_in_gs() -> None:
    x = gs.Variable("x", np.float32, (1, "N"))
    outer = gs.Variable("outer", np.float32)
    w = gs.Constant("w", np.ones((2,), np.float32))
    t, y = gs.Variable("t", np.float32), gs.Variable("y", np.float32, None)
    cond = gs.Variable("cond", bool, ())
    then = gs.Graph([gs.Node("Mul", inputs=[outer, w], outputs=[t])], [], [t], opset=17)
    nodes = [
        gs.Node("Relu", inputs=[x], outputs=[outer]),
        gs.Node("If", inputs=[cond], outputs=[y], attrs={"then_branch": then, "else_branch": then.copy()}),
    ]
    g = from_graphsurgeon(gs.Graph(nodes, [x, cond], [y], name="made", opset=17))
    assert dict(g.opsets) == {"": 17} and g.name == "made"
    branch = g.op(1)
    assert branch.captures == ("outer",)
    body = branch.attrs["then_branch"]
    assert body.const("w") is not None and body.free_values() == ["outer"]
    assert g.type_of("x") == TensorType(DType.FLOAT, (1, "N")) and g.type_of("cond") == TensorType(DType.BOOL, ())


@pytest.mark.parametrize("values", [["a", "bc"], [True, False], [1.5, 2.5]])
def test_arrays_of_gs(values: list[object]) -> None:
    w = gs.Constant("w", np.array(values))
    y = gs.Variable("y")
    const = from_graphsurgeon(gs.Graph([gs.Node("Identity", inputs=[w], outputs=[y])], [], [y])).const("w")
    assert const is not None and const.numpy().tolist() == values


def test_attribute_kinds_both_ways() -> None:
    function = parse(TEXT).functions["local", "F", ""]
    made = to_graphsurgeon(parse(TEXT)).functions[0]
    assert isinstance(made.nodes[0].attrs["alpha"], gs.Node.AttributeRef)
    assert made.attrs == {"slope": None, "beta": 2.0}
    assert function.op(0).attrs["alpha"] == AttrRef("slope", 1)
    odd = to_graphsurgeon(parse(TEXT)).nodes[1]
    assert odd.attrs["none"] == [] and odd.attrs["bytes"] == b"\xff" and "raw" not in odd.attrs
    assert isinstance(there_and_back(parse(TEXT)).op(1).attrs["nostrings"], Strings)


def test_faults_of_a_gs_graph_are_named() -> None:
    x, y = gs.Variable("x", np.float32, (1,)), gs.Variable("y", np.float32, (1,))
    lost = gs.Variable("lost", np.float32, (1,))
    with pytest.raises(InputError, match="value-undefined"):
        from_graphsurgeon(gs.Graph([gs.Node("Add", inputs=[x, lost], outputs=[y])], [x], [y]))
    twin = gs.Variable("x", np.float32, (1,))
    with pytest.raises(InputError, match="value-redefined"):
        from_graphsurgeon(gs.Graph([gs.Node("Relu", inputs=[x], outputs=[twin])], [x], [twin]))
    a = gs.Variable("a", np.float32, (1,))
    nodes = [gs.Node("Relu", inputs=[a], outputs=[y]), gs.Node("Abs", inputs=[y], outputs=[a])]
    with pytest.raises(InputError, match="graph-cycle"):
        from_graphsurgeon(gs.Graph(nodes, [], [y]))
