"""Ops that break their schemas, each in one way; and models of such ops, which end in one error before any pass."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, parser

import coregraft
from coregraft.passes.pipelines import rewrite_pipeline
from coregraft.rewriter.errors import CoregraftError, GraphError
from coregraft.rewriter.graph import AttrRef, Op
from coregraft.rewriter.legal import check_schema
from coregraft.rewriter.manager import PassManager
from coregraft.rewriter.onnx_io.text import parse
from coregraft.rewriter.verify import verify

INPUTS = "input x: float[2,4]\ninput i: int64[2,4]\ninput k: bool[]\n"
SCAN = "body={\ninput r: float[4]\nt = Relu(r)\noutput t\n}"
BROKEN = {
    "unknown attribute": ("y = Softmax(x, axes=[1])", "attribute-unknown"),
    "a list for a number": ("y = Softmax(x, axis=[1])", "attribute-type"),
    "a number for a list": ("y = Transpose(x, perm=1)", "attribute-type"),
    "a number for a text": ("y = Einsum(x, equation=3)", "attribute-type"),
    "a float for an int": ("y = Softmax(x, axis=1.0)", "attribute-type"),
    "a flag of 2": ("y = ReduceSum(x, keepdims=2)", "attribute-type"),
    "no element type": ("y = Cast(x, to=100)", "dtype-unknown"),
    "no attribute where one must be": ("y = Cast(x)", "attribute-missing"),
    "no body": ("y = If(k)", "attribute-missing"),
    "a body with inputs": (
        "y = If(k, then_branch={\ninput a: float[2]\noutput a\n}, else_branch={\noutput b = x\n})", "body-arity",
    ),
    "a loop body without its state": (
        "y = Loop(_, k, x, body={\ninput n: int64[]\ninput c: bool[]\noutput c\n})", "body-arity",
    ),
    "a scan body of fewer results": ("y, z = Scan(x, body={\ninput r: float[4]\nt = Relu(r)\noutput t\n}, "
                                     "num_scan_inputs=1)", "body-arity"),
    "branches of more results than the op": (
        "y = If(k, then_branch={\noutput a = x\noutput b = x\n}, else_branch={\noutput c = x\n})", "body-arity",
    ),
    "a scan over no sequence": (f"y = Scan(x, {SCAN}, num_scan_inputs=0)", "body-arity"),
    "a scan over more sequences than operands": (f"y = Scan(x, {SCAN}, num_scan_inputs=2)", "body-arity"),
    "a scan with an axis too many": (f"y = Scan(x, {SCAN}, num_scan_inputs=1, scan_input_axes=[0, 1])", "body-arity"),
    "a scan with no direction for one of two": (
        f"y = Scan(x, {SCAN}, num_scan_inputs=1, scan_output_directions=[0, 1])", "body-arity",
    ),
    "a constant without a value": ("y = Constant()", "attribute-missing"),
    "a constant of two values": ("y = Constant(value_int=1, value_float=2.0)", "attribute-missing"),
    "too many operands": ("y = Relu(x, x)", "op-arity"),
    "an operand left out": ("y = Mul(_, x)", "op-arity"),
    "two types where one is wanted": ("y = Add(x, i)", "dtype-mismatch"),
    "two types, the last of many": ("y = Concat(x, x, i, axis=0)", "dtype-mismatch"),
    "a type that the op does not take": ("y = Sigmoid(i)", "dtype-mismatch"),
    "a type that the operand cannot have": ("y = Gather(x, x)", "dtype-mismatch"),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_each_breach_is_found(what: str) -> None:
    line, code = BROKEN[what]
    g = parse(f"{INPUTS}{line}\noutput y")
    with pytest.raises(GraphError) as caught:
        verify(g)
    assert caught.value.code == code
    assert caught.value.node


@pytest.mark.parametrize(
    "line",
    [
        "y = Constant(value_ints=[])",
        "y = Clip(x, _, _)",
        "y, _ = MaxPool(a, kernel_shape=[2])\na = Reshape(x, s)\nconst s: int64[3] = [1, 2, 4]",
        "y = If(k, then_branch={\noutput a = x\n}, else_branch={\noutput b = x\n})",
        "y = Loop(_, k, x, body={\ninput n: int64[]\ninput c: bool[]\ninput s: float[2,4]\noutput c\noutput s\n})",
        "y = Where(k, i, i)",
        f"y = Scan(x, {SCAN}, num_scan_inputs=1, scan_input_axes=[1], scan_output_axes=[-1])",
        "y = SimplifiedLayerNormalization(x, x)",
    ],
)
def test_what_is_legal_passes(line: str) -> None:
    verify(parse(f"{INPUTS}{line}\noutput y"))


def test_numbers_are_of_the_kind_that_the_schema_says() -> None:
    """The text form reads ``alpha=1`` as 1.0; files and passes need not."""
    for alpha, legal in ((0.5, True), (np.float32(0.5), True), (1, False), ("1", False), (AttrRef("a", 1), True)):
        op = Op("LeakyRelu", ("x",), ("y",), {"alpha": alpha})
        if legal:
            check_schema(op, {"": 24})
        else:
            with pytest.raises(GraphError, match="attribute-type"):
                check_schema(op, {"": 24})


def test_an_op_from_before_its_time_is_what_it_became() -> None:
    """onnxruntime's optimizer writes LayerNormalization, born in opset 17, into models of opset 13."""
    check_schema(Op("LayerNormalization", ("x", "s"), ("y",), {"axis": -1}), {"": 13})
    with pytest.raises(GraphError, match="op-arity"):
        check_schema(Op("LayerNormalization", ("x",), ("y",)), {"": 13})


def test_of_a_domain_without_schemas_nothing_is_known() -> None:
    g = parse("opset 24\nopset other 1\ninput x: float[1]\ny = other.F(x, x, whatever=3)\noutput y")
    for _, op in g.ops():
        check_schema(op, g.opsets)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("c = Cast<to=7>(x) y = Add(x, c)", "dtype-mismatch"),  # seen when the types are inferred
        ("c = Cast<to=99>(x) y = Relu(c)", "dtype-unknown"),
        ("c = Gather<axis=\"x\">(x, x) y = Relu(c)", "attribute-type"),
    ],
)
def test_one_error_before_any_pass(body: str, code: str) -> None:
    model = parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 17]> g (float[2,4] x) => (float[2,4] y) {{ {body} }}'
    )
    with pytest.raises(GraphError) as converting:
        coregraft.convert(model, fallback="error")
    with pytest.raises(GraphError) as rewriting:
        PassManager(rewrite_pipeline()).run(coregraft.load(model))
    assert (converting.value.code, rewriting.value.code) == (code, code)


def test_shapes_that_do_not_go_together_are_told_before_any_pass() -> None:
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, d) for n, d in (("x", [2, 4]), ("y", None)))
    w = helper.make_tensor("w", TensorProto.FLOAT, [3, 1], [1.0, 2.0, 3.0])
    graph = helper.make_graph([helper.make_node("Mul", ["x", "w"], ["y"], name="m")], "g", [x], [y], [w])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(GraphError, match="shape-mismatch") as caught:
        coregraft.convert(model, fallback="error")
    assert caught.value.node == 'Mul "m"'


def test_a_size_beyond_all_bounds_is_told_before_any_pass() -> None:
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [2**31, 4]) for n in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(CoregraftError) as caught:
        coregraft.convert(model, fallback="error")
    assert (caught.value.code, caught.value.node) == ("tensor-too-large", "x")
