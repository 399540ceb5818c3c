"""What is counted how: applicability, reach, freezing, and the ratchet's order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from coregraft.rewriter.types import Array
from tests.conformance.cases import Case, Form, freeze
from tests.conformance.outcome import difference, outcome
from tests.conformance.ratchet import Entry, Ratchet, worse
from tests.conformance.rules import not_applicable, out_of_reach


def model(*nodes: Any, inputs: dict[str, Array], outputs: int = TensorProto.FLOAT) -> Any:
    kinds = {name: helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in inputs.items()}
    infos = [helper.make_tensor_value_info(name, kind, inputs[name].shape) for name, kind in kinds.items()]
    results = [helper.make_tensor_value_info("y", outputs, None)]
    graph = helper.make_graph(list(nodes), "g", infos, results)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


X = np.ones((2, 3), np.float32)


@pytest.mark.parametrize(("node", "output", "rule"), [
    (helper.make_node("Relu", ["x"], ["y"]), TensorProto.FLOAT, None),
    (helper.make_node("Cast", ["x"], ["y"], to=TensorProto.STRING), TensorProto.STRING, "dtype:string"),
    (helper.make_node("RandomNormalLike", ["x"], ["y"]), TensorProto.FLOAT, "random-op"),
    (helper.make_node("Scaler", ["x"], ["y"], domain="ai.onnx.ml"), TensorProto.FLOAT, "domain:ai.onnx.ml"),
    (helper.make_node("Dropout", ["x", "", "t"], ["y"]), TensorProto.FLOAT, "random-op"),
])  # fmt: skip
def test_applicability(node: Any, output: int, rule: str | None) -> None:
    inputs = {"x": X, "t": np.array(True)}
    assert not_applicable(model(node, inputs=inputs, outputs=output), inputs) == rule


def test_types_inside() -> None:
    inner = helper.make_node("Cast", ["x"], ["h"], to=TensorProto.BFLOAT16)
    outer = helper.make_node("Cast", ["h"], ["y"], to=TensorProto.FLOAT)
    assert not_applicable(model(inner, outer, inputs={"x": X}), {}) == "dtype:bfloat16"


@pytest.mark.parametrize(("array", "reason"), [
    (X, None), (np.zeros((0, 3)), "empty-tensor"), (np.zeros((1,) * 6), "rank"),
    (np.array([2**31]), "beyond-int32"), (np.array([2**31 - 1]), None),
])  # fmt: skip
def test_reach(array: Array, reason: str | None) -> None:
    assert out_of_reach([X, array]) == reason


def case(node: Any, want: Array, **inputs: Array) -> Case:
    return Case("node/x", node.op_type, "shipped", model(node, inputs=inputs), [(list(inputs.values()), [want])], None)


def test_freezing_makes_parameters_initializers() -> None:
    given = case(helper.make_node("Reshape", ["x", "s"], ["y"]), X.reshape(6), x=X, s=np.array([6]))
    frozen = freeze(given)
    assert [i.name for i in frozen.model.graph.input] == ["x"]
    assert [i.name for i in frozen.model.graph.initializer] == ["s"]
    assert len(frozen.data[0][0]) == 1
    assert outcome(frozen).status == "right"


def test_freezing_leaves_data_alone() -> None:
    """An input that is read as data too, and a model that would have no inputs left."""
    both = case(helper.make_node("Expand", ["s", "s"], ["y"]), np.ones(1), s=np.array([1]))
    assert freeze(both).model is both.model


@pytest.mark.parametrize(("want", "status"), [(np.maximum(X, 0), "right"), (-X, "wrong"), (X[:1], "wrong")])
def test_outcomes(want: Array, status: str) -> None:
    assert outcome(case(helper.make_node("Relu", ["x"], ["y"]), want, x=X)).status == status


def test_a_refusal_names_its_code() -> None:
    ended = outcome(case(helper.make_node("ImageDecoder", ["x"], ["y"]), X, x=np.zeros(4, np.uint8)))
    assert ended.status == "refused:op-no-lowering"
    assert "ImageDecoder" in ended.detail


@pytest.mark.parametrize(("found", "want", "same"), [
    (np.array([1.0009]), np.array([1], np.float32), True),
    (np.array([1.0012]), np.array([1], np.float32), False),
    (np.array([1.0015]), np.array([1], np.float16), True),
    (np.array([np.nan]), np.array([np.nan]), True),
    (np.array([3], np.int32), np.array([3]), True),
    (np.array([3], np.int32), np.array([4]), False),
    (np.array([2.0]), np.array(2.0), False),
    (np.zeros((1, 2)), np.zeros(2), False),
])  # fmt: skip
def test_tolerances(found: Array, want: Array, same: bool) -> None:
    assert (difference(found, want, case(helper.make_node("Relu", ["x"], ["y"]), X, x=X)) == "") is same


def test_the_ratchet_only_moves_up() -> None:
    record = Ratchet("1", "iOS17", {"a": "A"}, {("a", "shipped"): Entry("right"), ("a", "frozen"): Entry("refused:x")})
    assert Ratchet.parse(record.text()) == record
    better: dict[tuple[str, Form], Entry] = {("a", "frozen"): Entry("right"), ("a", "shipped"): Entry("right")}
    assert list(worse(record, better)) == []
    assert list(worse(record, {("a", "frozen"): Entry("refused:other")})) == []
    lower: dict[tuple[str, Form], Entry] = {("a", "shipped"): Entry("refused:x"), ("a", "frozen"): Entry("wrong")}
    assert list(worse(record, lower)) == ["a (frozen): refused:x became wrong", "a (shipped): right became refused:x"]
    assert (record.share("shipped"), record.share("frozen")) == (1.0, 0.0)
