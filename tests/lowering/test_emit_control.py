"""If as ``cond``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.lowering import pipeline, targets
from coregraft.lowering.program import lower_graph
from coregraft.rewriter.errors import UnsupportedError
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.types import Const, DType, TensorType

FLOATS = TensorType(DType.FLOAT, (2, 3))


def branch(ops: list[Op], outputs: list[str], kind: TensorType = FLOATS) -> Graph:
    body = Graph()
    body.add_value("k", const=Const.of(np.full((2, 3), 2.0, np.float32)))
    for op in ops:
        body.add_value(op.outputs[0], kind)
        body.add_op(op)
    for name in outputs:
        body.add_value(name, kind)
    body.set_outputs({f"o{i}": name for i, name in enumerate(outputs)})
    return body


def model(then: Graph, otherwise: Graph, results: int = 1, pred: tuple[int, ...] = (1, 1)) -> Graph:
    g = Graph()
    g.add_input("x", FLOATS)
    g.add_input("p", TensorType(DType.BOOL, pred))
    names = [f"y{i}" for i in range(results)]
    for name in names:
        g.add_value(name, FLOATS)
    g.add_op(Op("If", ("p",), tuple(names), {"then_branch": then, "else_branch": otherwise}, "", "if", captures=("x",)))
    g.set_outputs(names)
    g.set_opsets({"": 24})
    return g


def cond_of(g: Graph, format: str = "mlprogram") -> tuple[Any, Any]:
    target = targets.get("iOS15", format)
    program = lower_graph(g, target).program
    pipeline.run(program, target)
    return program, next(op for op in program.functions["main"].operations if op.op_type == "cond")


def types(block: Any) -> list[str]:
    return [op.op_type for op in block.operations if op.op_type != "const"]


@pytest.mark.parametrize("format", ["mlprogram", "neuralnetwork"])
@pytest.mark.parametrize("pred", [(), (1,), (1, 1)])
def test_each_branch_becomes_a_block(pred: tuple[int, ...], format: str) -> None:
    then = branch([Op("Mul", ("x", "k"), ("a",))], ["a"])
    otherwise = branch([Op("Add", ("x", "k"), ("a",)), Op("Relu", ("a",), ("b",))], ["b"])
    program, cond = cond_of(model(then, otherwise, pred=pred), format)
    assert [types(block) for block in cond.blocks] == [["mul"], ["add", "relu"]]
    assert cond.pred.shape == ()
    assert program.functions["main"].outputs[0] is cond.outputs[0]


def test_what_a_block_does_not_make_is_copied() -> None:
    then = branch([Op("Identity", ("x",), ("a",))], ["a", "k"])
    otherwise = branch([Op("Relu", ("x",), ("b",))], ["b", "b"])
    program, cond = cond_of(model(then, otherwise, results=2))
    assert [types(block) for block in cond.blocks] == [["identity"], ["relu", "identity"]]
    np.testing.assert_array_equal(cond.blocks[0].outputs[1].val, np.full((2, 3), 2.0))
    for block in cond.blocks:
        assert len({id(var) for var in block.outputs}) == 2
    assert [var.name for var in program.functions["main"].outputs] == ["y0", "y1"]


def test_branches_that_disagree_are_refused() -> None:
    then = branch([Op("Relu", ("x",), ("a",))], ["a"])
    otherwise = branch([Op("Transpose", ("x",), ("b",))], ["b"], TensorType(DType.FLOAT, (3, 2)))
    with pytest.raises(UnsupportedError, match=r"float\[2,3\] and float\[3,2\]") as error:
        lower_graph(model(then, otherwise), targets.get("iOS15"))
    assert error.value.code == "op-unsupported" and error.value.node == 'If "if"'
