"""Optional values: what is known of them, and what is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

import coregraft
from coregraft.passes.decompose.dissolve_optionals import DissolveOptionals
from coregraft.rewriter.errors import UnsupportedError

RULE = DissolveOptionals()
X = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])
TENSOR = helper.make_tensor_type_proto(TensorProto.FLOAT, [2])


def model(nodes: list[Any], inputs: list[Any], dtype: int = TensorProto.FLOAT, shape: tuple[int, ...] = (2,)) -> Any:
    y = helper.make_tensor_value_info("y", dtype, shape)
    graph = helper.make_graph(nodes, "optional", inputs, [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.mark.parametrize("format", ["mlprogram", "neuralnetwork"])
@pytest.mark.parametrize("there", [True, False])
def test_a_branch_is_chosen(harness: Any, there: bool, format: str) -> None:
    made = helper.make_node("Optional", ["x"] if there else [], ["o"], **({} if there else {"type": TENSOR}))
    branches = {
        name: helper.make_graph(
            [helper.make_node(op, ["x"], ["b"])], name, [], [helper.make_tensor_value_info("b", TensorProto.FLOAT, [2])]
        )
        for name, op in (("then_branch", "Neg"), ("else_branch", "Abs"))
    }
    chosen = helper.make_node("If", ["c"], ["y"], **branches)
    nodes = [made, helper.make_node("OptionalHasElement", ["o"], ["c"]), chosen]
    x = np.array([-1.5, 2], np.float32)
    harness.converts(coregraft.load(model(nodes, [X])), {"x": x}, format, want=[-x if there else np.abs(x)])


def test_an_input_of_the_model_stays() -> None:
    o = helper.make_value_info("o", helper.make_optional_type_proto(TENSOR))
    get = model([helper.make_node("OptionalGetElement", ["o"], ["y"])], [o])
    with pytest.raises(UnsupportedError):
        coregraft.convert(get, fallback="error")


def test_an_empty_one_has_no_element(harness: Any) -> None:
    nodes = [helper.make_node("Optional", [], ["o"], type=TENSOR), helper.make_node("OptionalGetElement", ["o"], ["y"])]
    harness.declines(RULE, coregraft.load(model(nodes, [X])), "is empty")
