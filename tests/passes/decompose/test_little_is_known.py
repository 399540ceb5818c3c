"""Every rule that takes ops apart, on ops of whose operands little is known: it may decline, and never fails.

``com.microsoft`` has no schemas here, so that such an op may also lack operands and attributes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from coregraft.passes.catalogue import PASSES
from coregraft.passes.decompose._base import Decomposition
from coregraft.rewriter.graph import Floats, Graph, Op
from coregraft.rewriter.passes import Rewriter
from coregraft.rewriter.registry import pass_class
from coregraft.rewriter.schema import schema
from coregraft.rewriter.types import DType, TensorType
from tests.passes.decompose.conftest import BARE

#: What attributes that an op must have are set to.
ATTRIBUTES: dict[str, Any] = {"equation": "ab,bc->ac", "mode": "TF"}
BY_TYPE: dict[str, Any] = {"INT": 1, "INTS": (2, 2), "FLOAT": 1.0, "FLOATS": Floats([1.0]), "STRING": "x"}
OPS = sorted(
    (name, domain, op_type)
    for name in PASSES
    if issubclass(rule := pass_class(name), Decomposition)
    for domain, op_type in rule().root_keys()
)


def operand_counts(domain: str, op_type: str) -> set[int]:
    found = schema(domain, op_type)
    return {0, 1, 2, 3, 5, 9} if found is None else {found.min_input, min(found.max_input, found.min_input + 3)}


def kinds(domain: str, op_type: str) -> Iterator[TensorType | None]:
    """Nothing, an element type, a rank with it."""
    found = schema(domain, op_type)
    names = {"tensor(float)"} if found is None or not found.inputs else set(found.inputs[0].types)
    dtype = DType.FLOAT if "tensor(float)" in names or not any("int8" in n for n in names) else DType.INT8
    yield None
    yield TensorType(dtype, None)
    for rank in range(6):
        yield TensorType(dtype, (None,) * rank)
        yield TensorType(dtype, (2,) * rank)


def lone(domain: str, op_type: str, count: int, kind: TensorType | None) -> tuple[Graph, int]:
    g, found = Graph(), schema(domain, op_type)
    g.set_opsets({"": 24, **({domain: 4 if domain == "ai.onnx.ml" else 1} if domain else {})})
    inputs = tuple(g.add_value(f"x{i}", kind) for i in range(count))
    g.set_inputs(inputs)
    attrs: dict[str, Any] = {}
    for a in found.attributes.values() if found is not None else ():
        if a.required or a.name == "kernel_shape":
            attrs[a.name] = ATTRIBUTES.get(a.name, BY_TYPE.get(str(a.type).rpartition(".")[2]))
    outputs = tuple(f"y{i}" for i in range(max(1, 0 if found is None else found.min_output)))
    op = Op(op_type, inputs, outputs, {k: v for k, v in attrs.items() if v is not None}, domain, "node")
    op_id = g.add_op(op)
    g.set_outputs(outputs)
    return g, op_id


@pytest.mark.parametrize(("name", "domain", "op_type"), OPS, ids=lambda text: text or "ai.onnx")
def test_declines_or_rewrites(name: str, domain: str, op_type: str) -> None:
    rule = pass_class(name)()
    assert isinstance(rule, Decomposition)
    for count in sorted(operand_counts(domain, op_type)):
        for kind in kinds(domain, op_type):
            g, op_id = lone(domain, op_type, count, kind)
            rule.match_and_rewrite(op_id, Rewriter(g, rule.name, BARE))
