"""The pass around shape inference: facts, events, nothing but types changed."""

from __future__ import annotations

from coregraft.passes.shapes.infer_shapes import InferShapes
from coregraft.rewriter.facts import violated
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.manager import PassManager
from coregraft.rewriter.passes import Context, Fact
from coregraft.rewriter.types import DType, TensorType


def untyped() -> Graph:
    g = Graph()
    g.add_input("x", TensorType(DType.FLOAT, ("n", 3, 4)))
    g.add_op(Op("Flatten", ("x",), ("f",)))
    g.add_op(Op("Relu", ("f",), ("y",)))
    g.set_outputs(["y"])
    g.set_opsets({"": 24})
    return g


def test_it_ensures_what_it_says() -> None:
    g = untyped()
    assert violated(Fact.TYPED, g) is not None
    ctx = Context()
    InferShapes().run(g, ctx)
    assert violated(Fact.TYPED, g) is None
    assert g.type_of("y") == TensorType(DType.FLOAT, ("n", 12))
    assert set(ctx.events()) == {"retyped"}


def test_a_second_run_changes_nothing() -> None:
    g = untyped()
    InferShapes().run(g, Context())
    ctx = Context()
    InferShapes().run(g, ctx)
    assert not ctx.rewriter(g).changed


def test_it_can_be_undone() -> None:
    g = untyped()
    ctx = Context()
    InferShapes().run(g, ctx)
    ctx.rewriter(g).rollback()
    assert g.type_of("y") is None


def test_in_a_pipeline() -> None:
    result = PassManager("infer-shapes", checked=True).run(untyped())
    assert result.graph.type_of("f") == TensorType(DType.FLOAT, ("n", 12))
