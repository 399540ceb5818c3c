"""Which ops compute the same, by what they are and by their attributes of every kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from coregraft.passes.cleanup.eliminate_common_subexpressions import _RANDOM
from coregraft.rewriter.graph import Floats, Graph, Op, Strings
from coregraft.rewriter.manager import PassManager
from coregraft.rewriter.onnx_io.text import parse
from coregraft.rewriter.types import Const, DType, TensorType


def left(op_type: str, first: Mapping[str, Any], second: Mapping[str, Any], domain: str = "", n_inputs: int = 1) -> int:
    """How many are left of two ops of the same operands."""
    g = Graph()
    names = tuple("xyz"[:n_inputs])
    for name in names:
        g.add_input(name, TensorType(DType.BOOL if name == "z" else DType.FLOAT, () if name in "yz" else (2, 3)))
    for i, attrs in enumerate((first, second)):
        g.add_op(Op(op_type, names, (f"a{i}",), attrs, domain))
        g.add_op(Op("Identity", (f"a{i}",), (f"b{i}",)))
    g.set_outputs(["b0", "b1"])
    g.set_opsets({"": 24, "mine": 1, "ai.onnx.ml": 5})
    done = PassManager("eliminate-common-subexpressions").run(g).graph
    return sum(op.type == op_type for _, op in done.ops())


@pytest.mark.parametrize("op_type", sorted(_RANDOM))
def test_random_ops_are_never_the_same(op_type: str) -> None:
    shape = {"shape": (2, 3)} if op_type in ("RandomNormal", "RandomUniform") else {}
    assert left(op_type, shape, shape, n_inputs=0 if shape else 1) == 2


def test_training_dropout_draws_too() -> None:
    assert left("Dropout", {}, {}, n_inputs=3) == 2
    assert left("Dropout", {}, {}, n_inputs=2) == 1
    assert left("Dropout", {}, {}) == 1


def test_ops_of_an_unknown_domain_may_be_no_functions() -> None:
    assert left("Abs", {}, {}, domain="mine") == 2
    assert left("Binarizer", {}, {}, domain="ai.onnx.ml") == 1


ONE, TWO = Const.of(np.array([1.0], np.float32)), Const.of(np.array([2.0], np.float32))
ALSO_ONE = Const.of(np.array([1.0], np.float32))


@pytest.mark.parametrize(
    ("op_type", "domain", "name", "value", "equal", "other"),
    [
        ("LeakyRelu", "", "alpha", 0.5, 0.5, 0.25),
        ("Transpose", "", "perm", (1, 0), (1, 0), (0, 1)),
        ("Gelu", "", "approximate", "tanh", "tanh", "none"),
        ("LabelEncoder", "ai.onnx.ml", "keys_floats", Floats((1.0,)), Floats((1.0,)), Floats((2.0,))),
        ("LabelEncoder", "ai.onnx.ml", "keys_strings", Strings(("a",)), Strings(("a",)), Strings(("b",))),
        ("LabelEncoder", "ai.onnx.ml", "keys_tensor", ONE, ALSO_ONE, TWO),
    ],
)
def test_attributes_of_every_kind(op_type: str, domain: str, name: str, value: Any, equal: Any, other: Any) -> None:
    assert left(op_type, {name: value}, {name: equal}, domain) == 1
    assert left(op_type, {name: value}, {name: other}, domain) == 2
    assert left(op_type, {name: value}, {}, domain) == 2


def test_ops_with_bodies_are_left_alone() -> None:
    branch = "{\n value x: float[2]\n t = Neg(x)\n output t\n}"
    ifs = "\n".join(f"a{i} = If(c, then_branch={branch}, else_branch={branch})" for i in range(2))
    g = parse(f"input x: float[2]\ninput c: bool[]\n{ifs}\ny = Add(a0, a1)\noutput y")
    done = PassManager("eliminate-common-subexpressions").run(g).graph
    assert sorted(op.type for _, op in done.ops()) == ["Add", "If", "If"]


def test_merged_ops_are_counted() -> None:
    g = parse("input x: float[2]\na = Neg(x)\nb = Neg(x)\nc = Neg(x)\ny = Sum(a, b, c)\noutput y")
    result = PassManager("eliminate-common-subexpressions").run(g)
    assert result.reports[-1].counts["ops"] == 2
