"""Functions without a call, and constants that are inputs."""

from __future__ import annotations

from onnx import helper
from onnx.onnx_ml_pb2 import FunctionProto

from coregraft.passes.cleanup.eliminate_dead_code import EliminateDeadCode
from coregraft.rewriter.contract import Context
from coregraft.rewriter.onnx_io.load import from_model


def function(name: str, op_type: str, domain: str = "") -> FunctionProto:
    node = helper.make_node(op_type, ["a"], ["b"], domain=domain)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("mine", 1)]
    return helper.make_function("mine", name, ["a"], ["b"], [node], opsets)


def test_functions_without_a_call_go() -> None:
    x = helper.make_tensor_value_info("x", 1, [2])
    y = helper.make_tensor_value_info("y", 1, [2])
    graph = helper.make_graph([helper.make_node("Outer", ["x"], ["y"], domain="mine")], "g", [x], [y])
    model = helper.make_model(
        graph,
        functions=[function("Unused", "Neg"), function("Inner", "Exp"), function("Outer", "Inner", "mine")],
        opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("mine", 1)],
    )
    g = from_model(model)
    EliminateDeadCode().run(g, Context())
    assert sorted(name for _, name, _ in g.functions) == ["Inner", "Outer"]


def test_an_unused_default_of_an_input_goes_and_an_unused_input_stays() -> None:
    x, w, z = (helper.make_tensor_value_info(n, 1, [2]) for n in "xwz")
    y = helper.make_tensor_value_info("y", 1, [2])
    weight = helper.make_tensor("w", 1, [2], [1.0, 2.0])
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", [x, w, z], [y], [weight])
    g = from_model(helper.make_model(graph))
    EliminateDeadCode().run(g, Context())
    assert g.inputs == ("x", "z")
    assert "w" not in g
    assert g.graph["inputs"] == ("x", "z")
