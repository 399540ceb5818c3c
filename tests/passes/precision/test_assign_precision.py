"""The lists of what stays in fp32 name ops and rules that exist."""

import pytest

from coregraft.passes.catalogue import PASSES
from coregraft.passes.precision.assign_precision import FEATURE_RULES, FULL_PRECISION, FULL_PRECISION_RULES
from coregraft.rewriter.graph import Graph, Op, Origin
from coregraft.rewriter.manager import PassManager
from coregraft.rewriter.onnx_io.text import parse
from coregraft.rewriter.schema import schema
from coregraft.rewriter.types import DType, TensorType


def test_the_lists_are_of_what_there_is() -> None:
    assert {reference.partition(":")[2] for reference in PASSES.values()} >= FULL_PRECISION_RULES | FEATURE_RULES
    assert all(schema("", op_type) is not None for op_type in FULL_PRECISION)


@pytest.mark.parametrize(
    ("rule", "dtype"),
    [("DecomposeDft", DType.FLOAT), ("DecomposeScaler", DType.FLOAT), ("FuseGelu", DType.FLOAT16)],
)
def test_what_a_rule_made(rule: str, dtype: DType) -> None:
    g = Graph()
    g.add_input("x", TensorType(DType.FLOAT, (3,)))
    g.add_op(Op("Relu", ("x",), ("t",), origin=Origin("a-pass", rule, ())))
    g.add_op(Op("Abs", ("t",), ("y",)))
    g.set_outputs(["y"])
    g.set_opsets({"": 24})
    kind = PassManager("infer-shapes,assign-precision").run(g).graph.tensor_type("t")
    assert kind is not None and kind.dtype is dtype


def dtypes(text: str) -> dict[str, DType]:
    """The element types of the values inside a graph, of which only Relu makes outputs."""
    g = PassManager("infer-shapes,assign-precision").run(parse(text)).graph
    return {v: kind.dtype for v in g.values() if (kind := g.tensor_type(v)) is not None and g.producer(v) is not None}


def test_an_op_of_coordinates_is_computed_in_full_between_ops_that_are_not() -> None:
    text = "input x: float[1,2,5,5]\ninput g: float[1,3,3,2]\na = Relu(x)\ns = GridSample(a, g)\nt = Relu(s)\noutput t"
    found = dtypes(text)
    assert (found["a"], found["s"], found["t"]) == (DType.FLOAT16, DType.FLOAT, DType.FLOAT16)


def test_our_own_dialect_has_a_half_precision_form() -> None:
    text = "input x: float[2,3]\nconst w: float[4,3] = normal(seed=1)\nconst b: float[4] = normal(seed=2)\n"
    assert dtypes(text + "y = coregraft.Linear(x, w, b)\nz = Relu(y)\noutput z")["y"] is DType.FLOAT16


def test_an_op_that_nobody_knows_has_none() -> None:
    g = Graph()
    g.add_input("x", TensorType(DType.FLOAT, (3,)))
    g.add_value("t", TensorType(DType.FLOAT, (3,)))
    g.add_op(Op("Spline", ("x",), ("t",), domain="mine"))
    g.add_op(Op("Relu", ("t",), ("y",)))
    g.set_outputs(["y"])
    g.set_opsets({"": 24, "mine": 1})
    result = PassManager("infer-shapes,assign-precision").run(g)
    kind = result.graph.tensor_type("t")
    assert kind is not None and kind.dtype is DType.FLOAT
    assert any("no half-precision form" in note for note in result.reports[-1].notes)
