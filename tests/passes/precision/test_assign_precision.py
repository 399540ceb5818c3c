"""The lists of what stays in fp32 name ops and rules that exist."""

import pytest

from coregraft.passes.catalogue import PASSES
from coregraft.passes.precision.assign_precision import FULL_PRECISION, FULL_PRECISION_RULES
from coregraft.rewriter.graph import Graph, Op, Origin
from coregraft.rewriter.manager import PassManager
from coregraft.rewriter.schema import schema
from coregraft.rewriter.types import DType, TensorType


def test_the_lists_are_of_what_there_is() -> None:
    assert {reference.partition(":")[2] for reference in PASSES.values()} >= FULL_PRECISION_RULES
    assert all(schema("", op_type) is not None for op_type in FULL_PRECISION)


@pytest.mark.parametrize(("rule", "dtype"), [("DecomposeDft", DType.FLOAT), ("FuseGelu", DType.FLOAT16)])
def test_what_a_rule_made(rule: str, dtype: DType) -> None:
    g = Graph()
    g.add_input("x", TensorType(DType.FLOAT, (3,)))
    g.add_op(Op("Relu", ("x",), ("t",), origin=Origin("a-pass", rule, ())))
    g.add_op(Op("Abs", ("t",), ("y",)))
    g.set_outputs(["y"])
    g.set_opsets({"": 24})
    kind = PassManager("infer-shapes,assign-precision").run(g).graph.tensor_type("t")
    assert kind is not None and kind.dtype is dtype
