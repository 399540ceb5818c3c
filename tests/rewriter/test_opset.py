"""The internal opset, and the stamp a graph needs."""

from __future__ import annotations

from onnx import defs

from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.opset import INTERNAL_OPSET, birth, required_opset
from coregraft.rewriter.types import DType, TensorType


def test_birth_is_the_first_version() -> None:
    first: dict[str, int] = {}
    for schema in defs.get_all_schemas_with_history():
        if schema.domain == "":
            first[schema.name] = min(first.get(schema.name, 99), schema.since_version)
    withdrawn = {"Upsample", "Scatter"}
    assert {name: birth(name) for name in first if name not in withdrawn} == {
        name: version for name, version in first.items() if name not in withdrawn
    }
    assert birth("NoSuchOp") is None


def graph(*ops: Op) -> Graph:
    g = Graph()
    g.add_input("x", TensorType(DType.FLOAT, (2,)))
    for op in ops:
        g.add_op(op)
    return g


def test_stamp_is_the_internal_opset_or_what_a_newer_op_needs() -> None:
    assert required_opset(graph(Op("Relu", ("x",), ("y",)))) == INTERNAL_OPSET
    assert required_opset(graph(Op("SwiGLU", ("x",), ("y",)))) == 28
    assert required_opset(graph(Op("SwiGLU", ("x",), ("y",), domain="vendor"))) == INTERNAL_OPSET
    branch = graph(Op("CumProd", ("x", "a"), ("z",)))
    assert required_opset(graph(Op("If", ("c",), ("y",), {"then_branch": branch, "else_branch": graph()}))) == 26
