"""Each invariant, broken once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest

from coregraft.rewriter.errors import GraphError
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.onnx_io.text import parse
from coregraft.rewriter.types import Const, DType, TensorType
from coregraft.rewriter.verify import verify


def sound() -> Graph:
    return parse(
        """
        input x: float[2]
        input c: bool[]
        const w: float[2] = [1.0, 2.0]
        y = Add(x, w)
        z = If(c, then_branch={
            t = Mul(y, y)
            output t
        }, else_branch={
            output t = w
        })
        out = Relu(z)
        output out
        """
    )


def id_of(g: Graph, op_type: str) -> int:
    return next(i for i, op in g.ops() if op.type == op_type)


def edit(g: Graph, op_type: str, **changes: object) -> None:
    op_id = id_of(g, op_type)
    g.nodes[op_id]["op"] = replace(g.op(op_id), **changes)  # type: ignore[arg-type]


def drop_edge(g: Graph) -> None:
    g.remove_edge("x", id_of(g, "Add"))


def operand_without_edge(g: Graph) -> None:
    edit(g, "Add", inputs=("x", "x"))


def second_producer(g: Graph) -> None:
    g.nodes[g.add_op(Op("Abs", ("x",), ("extra",)))]["op"] = Op("Abs", ("x",), ("y",))
    g.remove_node("extra")
    g.add_edge(max(i for i, _ in g.ops()), "y")


def produced_constant(g: Graph) -> None:
    g.nodes["y"]["const"] = Const.of(np.zeros(2, np.float32))


def undefined_operand(g: Graph) -> None:
    g.set_op(id_of(g, "Relu"), Op("Relu", ("nowhere",), ("out",)))


def undefined_output(g: Graph) -> None:
    g.set_outputs(["nowhere"])


def cycle(g: Graph) -> None:
    g.set_op(id_of(g, "Add"), Op("Add", ("out", "w"), ("y",)))


def short_constant(g: Graph) -> None:
    g.nodes["w"]["const"] = Const(DType.FLOAT, (2,), b"\0" * 7)


def wrong_array(g: Graph) -> None:
    g.nodes["w"]["const"] = Const(DType.FLOAT, (2,), np.zeros(2, np.float64))


def wrong_type(g: Graph) -> None:
    g.nodes["w"]["type"] = TensorType(DType.FLOAT, (3,))


def missing_capture(g: Graph) -> None:
    g.set_op(id_of(g, "If"), replace(g.op(id_of(g, "If")), captures=("y",)))


def too_many_captures(g: Graph) -> None:
    g.set_op(id_of(g, "If"), replace(g.op(id_of(g, "If")), captures=("w", "x", "y")))


def unknown_op(g: Graph) -> None:
    edit(g, "Relu", type="ReLU")


def later_op(g: Graph) -> None:
    g.set_opsets({"": 24})
    edit(g, "Relu", type="BitCast")


def too_many_operands(g: Graph) -> None:
    g.set_op(id_of(g, "Relu"), Op("Relu", ("z", "x"), ("out",)))


def omitted_required_operand(g: Graph) -> None:
    g.set_op(id_of(g, "Add"), Op("Add", ("", "w"), ("y",)))


def unknown_domain(g: Graph) -> None:
    edit(g, "Relu", domain="com.nobody")


def broken_body(g: Graph) -> None:
    branch = g.op(id_of(g, "If"))
    body: Graph = branch.attrs["then_branch"].copy()
    body.set_op(0, Op("Mull", ("y", "y"), ("t",)))
    edit(g, "If", attrs=MappingProxyType({**branch.attrs, "then_branch": body}))


def broken_function(g: Graph) -> None:
    g.graph["functions"] = MappingProxyType({("local", "F", ""): parse("input a\nb = Nope(a)\noutput b")})


def test_a_sound_graph_passes() -> None:
    verify(sound())
    verify(sound().copy())
    verify(Graph())


@pytest.mark.parametrize(
    ("breakage", "code"),
    [
        (drop_edge, "adjacency"),
        (operand_without_edge, "adjacency"),
        (second_producer, "value-redefined"),
        (produced_constant, "value-redefined"),
        (undefined_operand, "value-undefined"),
        (undefined_output, "value-undefined"),
        (cycle, "graph-cycle"),
        (short_constant, "initializer-size"),
        (wrong_array, "initializer-size"),
        (wrong_type, "initializer-type"),
        (missing_capture, "captures"),
        (too_many_captures, "captures"),
        (unknown_op, "op-unknown"),
        (later_op, "op-unknown"),
        (too_many_operands, "op-arity"),
        (omitted_required_operand, "op-arity"),
        (unknown_domain, "domain-unknown"),
        (broken_body, "op-unknown"),
        (broken_function, "op-unknown"),
    ],
)
def test_each_breakage_is_found(breakage: Callable[[Graph], None], code: str) -> None:
    g = sound()
    breakage(g)
    with pytest.raises(GraphError) as caught:
        verify(g)
    assert caught.value.code == code
    assert caught.value.node


def test_a_local_check_looks_at_the_neighbours_only() -> None:
    g = parse("input x: float[1]\na = Relu(x)\nb = Abs(a)\nc = Neg(b)\nd = Exp(c)\noutput d")
    edit(g, "Relu", type="Nope")
    verify(g, [id_of(g, "Exp")])
    with pytest.raises(GraphError, match="op-unknown"):
        verify(g, [id_of(g, "Abs")])


def test_an_op_that_is_a_function_of_the_model_needs_no_schema() -> None:
    g = parse('opset 24\nopset local 1\nfunction "local" "F" "" {\nopset 24\ninput a\nb = Relu(a)\noutput b\n}\n'
              "input x: float[1]\ny = local.F(x)\noutput y")  # fmt: skip
    verify(g)


def test_ops_of_the_internal_dialect_need_no_import() -> None:
    g = parse("input x: float[1,2]\nconst w: float[3,2] = ones\ny = coregraft.Linear(x, w)\noutput y")
    verify(g)
