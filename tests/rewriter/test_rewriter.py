"""The Rewriter: events, undoing, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from coregraft.rewriter.errors import CoregraftError
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.onnx_io.text import parse, to_text
from coregraft.rewriter.passes import Rewriter
from coregraft.rewriter.rewriter import TypeChangedError
from coregraft.rewriter.shapes import infer_shapes
from coregraft.rewriter.types import Const, DType, TensorType
from coregraft.rewriter.verify import verify


@pytest.fixture
def g() -> Graph:
    text = "input x: float[2]\nconst c: float[2] = [1.0, 2.0]\na = Add(x, c) @a\ny = Relu(a) @y\noutput y\n"
    graph = parse(text)
    infer_shapes(graph)
    return graph


def op_of(g: Graph, value: str) -> int:
    found = g.producer(value)
    assert found is not None
    return found


def test_everything_can_be_undone(g: Graph) -> None:
    before = to_text(g)
    rw = Rewriter(g, "test")
    rw.at((op_of(g, "y"),), "rule")
    made = rw.insert("Neg", ["a"])
    rw.replace_uses("y", made)
    rw.erase(op_of(g, "y"))
    rw.update(op_of(g, "a"), inputs=["x", np.ones(2, np.float32)])
    rw.set_fact("note", "hello")
    rw.set_const("x", Const.of(np.zeros(2, np.float32)))
    rw.set_type("a", TensorType(DType.FLOAT, ("N",)))
    assert rw.changed
    assert "const c:" not in to_text(g)
    rw.rollback()
    assert not rw.changed
    assert to_text(g) == before
    verify(g)


def test_events_are_counted(g: Graph) -> None:
    rw = Rewriter(g, "test")
    rw.at((op_of(g, "y"),), "rule")
    made = rw.insert("Neg", ["a"])
    rw.replace([op_of(g, "y")], {"y": made})
    assert (rw.events["inserted"], rw.events["removed"], rw.events["replaced"]) == (1, 1, 1)


def test_provenance_is_stamped(g: Graph) -> None:
    rw = Rewriter(g, "some-pass")
    rw.at((op_of(g, "y"), op_of(g, "a")), "SomeRule")
    made = rw.insert("Neg", ["a"])
    origin = g.op(op_of(g, made)).origin
    assert origin is not None
    assert (origin.pass_name, origin.rule, origin.replaced) == ("some-pass", "SomeRule", ("y", "a"))


def test_new_ops_take_the_place_of_what_they_replace() -> None:
    g = parse("input x: float[2]\na = Relu(x)\nb = Neg(x)\ny = Add(a, b)\noutput y\n")
    rw = Rewriter(g, "test")
    a = op_of(g, "a")
    rw.at((a,), "rule")
    made = rw.insert("Abs", ["x"])
    rw.replace([a], {"a": made})
    assert [g.op(i).type for i in g.topological()] == ["Abs", "Neg", "Add"]


def test_results_are_typed_at_once(g: Graph) -> None:
    rw = Rewriter(g, "test")
    made = rw.insert("Unsqueeze", ["a", np.array([0])])
    kind = rw.type_of(made)
    assert kind is not None
    assert kind.shape == (1, 2)


def test_a_replacement_of_another_type_is_refused(g: Graph) -> None:
    rw = Rewriter(g, "test")
    made = rw.insert("Unsqueeze", ["a", np.array([0])])
    with pytest.raises(TypeChangedError, match="would change"):
        rw.replace_uses("y", made)


def test_a_rule_must_return_as_many_values_as_it_matched(g: Graph) -> None:
    rw = Rewriter(g, "test")
    op_id = op_of(g, "y")
    rw.at((op_id,), "rule")
    with pytest.raises(CoregraftError, match="returned 2 values for 1"):
        rw.commit((op_id,), ("y",), lambda: ("a", "a"))


def test_declining_leaves_nothing_behind(g: Graph) -> None:
    before = to_text(g)
    rw = Rewriter(g, "test")
    op_id = op_of(g, "y")
    rw.at((op_id,), "rule")

    def build() -> None:
        rw.insert("Neg", ["a"])
        rw.const(np.ones(3, np.float32))

    assert rw.commit((op_id,), ("y",), build) is None
    assert to_text(g) == before
    assert not rw.changed


def test_unused_constants_of_a_rewrite_disappear(g: Graph) -> None:
    rw = Rewriter(g, "test")
    op_id = op_of(g, "y")
    rw.at((op_id,), "rule")

    def build() -> str:
        rw.const(np.ones(3, np.float32), "left-over")
        made: str = rw.insert("Abs", ["a"])
        return made

    rw.commit((op_id,), ("y",), build)
    assert "left-over" not in g


def test_renaming_reaches_into_bodies() -> None:
    g = parse(
        """
        input x: float[2]
        input p: bool[]
        a = Neg(x)
        i = If(p, then_branch={
            t = Abs(a)
            output t
        }, else_branch={
            output a
        })
        output i
        """
    )
    rw = Rewriter(g, "test")
    made = rw.insert("Exp", ["x"])
    rw.replace([op_of(g, "a")], {"a": made})
    verify(g)
    assert g.op(op_of(g, "i")).captures == (made,)
    assert f"Abs({made})" in to_text(g)


def test_op_names_stay_unique_when_a_value_name_is_freed(g: Graph) -> None:
    rw = Rewriter(g, "test")
    for _ in range(2):  # each time the fresh value "y/Abs" takes the name of "y", which frees "y/Abs"
        op_id = op_of(g, "y")
        rw.at((op_id,), "rule")
        rw.commit((op_id,), ("y",), lambda: rw.insert("Abs", ["a"], name="abs"))
        rw.insert("Neg", ["y"], name="abs")
    names = [op.name for _, op in g.ops()]
    assert len(names) == len(set(names))


def test_op_names_are_numbered_from_the_first_that_is_free(g: Graph) -> None:
    rw = Rewriter(g, "test")
    for name in ("abs", "abs_2", "abs", "abs", "abs_2"):
        rw.insert("Abs", ["a"], name=name)
    made = [op.name for _, op in g.ops() if op.type == "Abs"]
    assert made == ["abs", "abs_2", "abs_1", "abs_3", "abs_2_1"]


def test_rollback_restores_the_type_and_content_of_a_value_that_was_dropped_since() -> None:
    g = parse("input x: float[2]\nconst c: float[2] = [1.0, 2.0]\ny = Add(x, c)\nz = Neg(x)\noutput z\n")
    before = to_text(g)
    rw = Rewriter(g)
    rw.set_type("y", TensorType(DType.FLOAT, (2,)))
    rw.set_const("c", Const.of(np.array([3, 4], np.float32)))
    rw.erase(min(i for i, _ in g.ops()))
    assert "c" not in g
    rw.rollback()
    assert to_text(g) == before
