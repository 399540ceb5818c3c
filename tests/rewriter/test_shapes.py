"""The sweep: declarations and what follows, shape arithmetic, bodies, functions, one op on demand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from onnx import TypeProto, helper, parser

from coregraft.rewriter.graph import AttrRef, Graph, Op
from coregraft.rewriter.onnx_io.load import from_model
from coregraft.rewriter.onnx_io.text import to_text
from coregraft.rewriter.rewriter import Rewriter
from coregraft.rewriter.shapes import Inference, common, completed, infer_op_types, infer_shapes, propagated_value
from coregraft.rewriter.types import Const, DType, OpaqueType, TensorType, ValueType

F, I64, B = DType.FLOAT, DType.INT64, DType.BOOL


def build(
    inputs: dict[str, TensorType], ops: list[Op], outputs: list[str], consts: dict[str, Any] | None = None
) -> Graph:
    g = Graph()
    for name, kind in inputs.items():
        g.add_input(name, kind)
    for name, value in (consts or {}).items():
        g.add_value(name, const=Const.of(value))
    for op in ops:
        g.add_op(op)
    g.set_outputs(outputs)
    g.set_opsets({"": 24})
    return g


def t(*shape: Any, dtype: DType = F) -> TensorType:
    return TensorType(dtype, shape)


def i64(*values: Any) -> np.ndarray[Any, Any]:
    return np.array(values, np.int64)


def op(op_type: str, inputs: str, outputs: str, **attrs: Any) -> Op:
    names = tuple("" if n == "_" else n for n in inputs.split())
    return Op(op_type, names, tuple(outputs.split()), attrs)


def shape(g: Graph, value: str) -> Any:
    kind = g.tensor_type(value)
    return None if kind is None else kind.shape


# ---------------------------------------------------------------- declarations


def test_declarations_are_completed_and_corrected() -> None:
    ops = [op("NonZero", "x", "where"), op("Relu", "x", "r"), op("Identity", "r", "y")]
    g = build({"x": t("n", 4)}, ops, ["y", "where"])
    g.add_value("where", t(2, "found", dtype=I64))  # more than inference knows
    g.add_value("r", t("n", 5))  # wrong
    g.add_value("y", t(7, 7, 7, dtype=DType.INT8))  # wrong in everything, and an output
    infer_shapes(g)
    assert g.type_of("where") == t(2, "found", dtype=I64)
    assert g.type_of("r") == t("n", 4)
    assert g.type_of("y") == t("n", 4)


def test_what_inference_cannot_know_keeps_its_declaration() -> None:
    g = build({"x": t(2)}, [Op("Mystery", ("x",), ("y",), domain="vendor"), op("Relu", "y", "z")], ["z"])
    g.add_value("y", t(2, 9))
    infer_shapes(g)
    assert g.type_of("z") == t(2, 9)


def test_inputs_and_weights_are_not_touched() -> None:
    def forbidden() -> bytes:
        raise AssertionError("a weight was read")

    g = build({"x": t("n", 64)}, [op("MatMul", "x w", "y")], ["y"])
    g.add_value("w", const=Const(F, (64, 128), forbidden))
    infer_shapes(g)
    assert g.type_of("x") == t("n", 64)
    assert g.type_of("y") == t("n", 128)


@pytest.mark.parametrize(
    ("found", "declared", "result"),
    [
        (t(None, 3), t("n", 4), t("n", 3)),
        (t(2, 3), t("n", 3, 4), t(2, 3)),
        (TensorType(F), t(2), t(2)),
        (TensorType(DType.UNDEFINED, (2,)), t("n", dtype=I64), t(2, dtype=I64)),
        (None, t(2), t(2)),
        (t(2), None, t(2)),
        (t("m"), t(5), t("m")),
    ],
)
def test_completed(found: ValueType | None, declared: ValueType | None, result: ValueType) -> None:
    assert completed(found, declared) == result


def test_common_type_of_two_branches() -> None:
    assert common(t(2, "n"), t(2, "n")) == t(2, "n")
    assert common(t(2, "n"), t(3, "n")) == t(None, "n")
    assert common(t(2), t(2, 3)) == TensorType(F)
    assert common(t(2), None) is None


# ---------------------------------------------------------------- shape arithmetic


def split_heads() -> Graph:
    """``x[b, s, 12] -> reshape [b, s, 3, 12 // 3]`` with every dim taken from Shape, as exporters write it."""
    ops = [
        op("Shape", "x", "shape"),
        op("Gather", "shape zero", "b", axis=0),
        op("Slice", "shape one two", "s"),
        op("Shape", "x", "last", start=-1),
        op("Div", "last three", "width"),
        op("Unsqueeze", "b axis", "b1"),
        op("Concat", "b1 s three width", "target", axis=0),
        op("Reshape", "x target", "y"),
    ]
    consts = {"zero": np.array(0), "one": i64(1), "two": i64(2), "three": i64(3), "axis": i64(0)}
    return build({"x": t("batch", "seq", "hidden")}, ops, ["y"], consts)


def test_reshape_follows_its_target() -> None:
    g = split_heads()
    infer_shapes(g)
    assert shape(g, "y") == ("batch", "seq", 3, "hidden//3")


def test_propagated_value_on_demand() -> None:
    g = split_heads()
    infer_shapes(g)
    assert propagated_value(g, "target") == ("batch", "seq", 3, "hidden//3")
    assert propagated_value(g, "b") == ("batch",)
    assert propagated_value(g, "x") is None
    assert propagated_value(g, "two") == (2,)


@pytest.mark.parametrize("op_type", ["ReduceMin", "ReduceMax", "ReduceSum", "ReduceProd"])
@pytest.mark.parametrize("sizes", [(3, None, 2), (None, 3, 2), (3, 2, None)])
def test_a_reduction_of_numbers_that_are_known_in_part(op_type: str, sizes: tuple[int | None, ...]) -> None:
    ops = [op("Shape", "x", "shape"), op(op_type, "shape", "all", keepdims=1), op("Expand", "one all", "y")]
    g = build({"x": t(*sizes)}, ops, ["y"], {"one": np.ones(1, np.float32)})
    infer_shapes(g)
    assert propagated_value(g, "all") is None


def test_arithmetic_of_shapes() -> None:
    ops = [
        op("Shape", "x", "shape"),
        op("ReduceProd", "shape", "all", keepdims=1),
        op("Mul", "all two", "double"),
        op("Max", "double two", "same"),
        op("Cast", "shape", "as_float", to=1),
        op("Where", "yes shape ones", "chosen"),
        op("Equal", "shape shape", "equal"),
        op("ConstantOfShape", "shape", "zeros"),
        op("Expand", "one chosen", "wide"),
        op("Range", "zero n one0", "range"),
        op("Squeeze", "first", "n"),
        op("Slice", "shape zero1 one1", "first"),
    ]
    consts = {
        "two": i64(2), "yes": np.array([True, False]), "ones": i64(1, 1), "one": np.array([1], np.float32),
        "zero": np.array(0), "one0": np.array(1), "zero1": i64(0), "one1": i64(1),
    }  # fmt: skip
    g = build({"x": t("a", "b")}, ops, ["same", "as_float", "equal", "zeros", "wide", "range"], consts)
    infer_shapes(g)
    assert propagated_value(g, "same") == ("2*a*b",)
    assert propagated_value(g, "as_float") == (None, None)
    assert propagated_value(g, "equal") == (1, 1)
    assert shape(g, "zeros") == ("a", "b")
    assert shape(g, "wide") == ("a", 1)
    assert shape(g, "range") == ("a",)


def test_static_scales_through_floats() -> None:
    """``Resize`` to sizes computed in floats, the way exporters wrote Upsample."""
    ops = [
        op("Shape", "x", "s", start=2), op("Cast", "s", "f", to=1), op("Mul", "f k", "m"), op("Floor", "m", "fl"),
        op("Cast", "fl", "hw", to=7), op("Shape", "x", "nc", end=2), op("Concat", "nc hw", "sizes", axis=0),
        op("Resize", "x _ _ sizes", "y"),
    ]  # fmt: skip
    g = build({"x": t(1, 3, 10, 7)}, ops, ["y"], {"k": np.array([1.5, 0.7], np.float32)})
    infer_shapes(g)
    assert shape(g, "y") == (1, 3, 15, int(np.floor(np.float32(7) * np.float32(0.7))))


def test_a_long_chain_of_arithmetic_does_not_overflow_the_stack() -> None:
    ops = [op("Shape", "x", "v0")] + [op("Add", f"v{i} one", f"v{i + 1}") for i in range(400)]
    g = build({"x": t("n")}, [*ops, op("ConstantOfShape", "v400", "y")], ["y"], {"one": i64(1)})
    infer_shapes(g)
    assert shape(g, "y") == ("n + 400",)
    assert propagated_value(g, "v400") == ("n + 400",)


def test_bad_arithmetic_is_unknown_not_an_error() -> None:
    ops = [op("Shape", "x", "s"), op("Gather", "s nine", "g"), op("Div", "s zero", "d"), op("Reshape", "x d", "y")]
    g = build({"x": t(2, 3)}, ops, ["y", "g"], {"nine": i64(9), "zero": i64(0, 0)})
    infer_shapes(g)
    assert g.tensor_type("y") == t(None, None)


# ---------------------------------------------------------------- control flow


def body(inputs: dict[str, TensorType | None], ops: list[Op], outputs: list[str], consts: Any = None) -> Graph:
    g = Graph()
    for name, kind in inputs.items():
        g.add_value(name, kind)
    g.set_inputs(inputs)
    for name, value in (consts or {}).items():
        g.add_value(name, const=Const.of(value))
    for o in ops:
        g.add_op(o)
    g.set_outputs(outputs)
    return g


def with_body(op_type: str, inputs: str, outputs: str, captures: tuple[str, ...] = (), **attrs: Any) -> Op:
    return Op(op_type, tuple(inputs.split()), tuple(outputs.split()), attrs, captures=captures)


def test_if_takes_what_both_branches_agree_on() -> None:
    then = body({}, [op("Identity", "x", "a")], ["a"])
    other = body({}, [op("Concat", "x x", "b", axis=1)], ["b"])
    branch = with_body("If", "c", "y", ("x",), then_branch=then, else_branch=other)
    g = build({"c": t(dtype=B), "x": t("n", 4)}, [branch], ["y"])
    infer_shapes(g)
    assert g.type_of("y") == t("n", None)
    inner = g.op(0).attrs
    assert inner["then_branch"].type_of("a") == t("n", 4)
    assert inner["else_branch"].type_of("b") == t("n", 8)
    assert then.type_of("a") is None, "the body was changed in place"


def test_if_with_a_known_condition_takes_that_branch() -> None:
    then = body({}, [op("Identity", "x", "a")], ["a"])
    other = body({}, [op("Shape", "x", "b")], ["b"])
    branch = with_body("If", "c", "y", ("x",), then_branch=then, else_branch=other)
    ops = [op("Shape", "x", "s", end=1), op("Equal", "s four", "c"), branch]
    g = build({"x": t(4, 5)}, ops, ["y"], {"four": i64(4)})
    infer_shapes(g)
    assert g.type_of("y") == t(4, 5)


def loop_body(update: Op) -> Graph:
    inputs: dict[str, TensorType | None] = {"i": None, "go": None, "state": None}
    return body(inputs, [op("Identity", "go", "on"), update, op("Relu", "state", "scanned")], ["on", "new", "scanned"])


def test_loop_state_that_keeps_its_shape() -> None:
    loop = with_body("Loop", "m yes x", "last stack", body=loop_body(op("Relu", "state", "new")))
    g = build({"x": t("n", 4)}, [loop], ["last", "stack"], {"m": np.array(5), "yes": np.array(True)})
    infer_shapes(g)
    assert g.type_of("last") == t("n", 4)
    assert g.type_of("stack") == t(5, "n", 4)
    assert g.op(0).attrs["body"].type_of("i") == t(dtype=I64)


def test_loop_state_that_grows_loses_that_dim() -> None:
    loop = with_body("Loop", "m yes x", "last stack", body=loop_body(op("Concat", "state state", "new", axis=0)))
    g = build({"x": t(3, 4)}, [loop], ["last", "stack"], {"m": np.array(5), "yes": np.array(True)})
    infer_shapes(g)
    assert g.type_of("last") == t(None, 4)
    assert g.type_of("stack") == t(5, None, 4)


def test_loop_that_never_stops_early_stacks_its_trip_count() -> None:
    steps = [op("Identity", "truth", "on"), op("Relu", "state", "new"), op("Relu", "state", "scanned")]
    inner = body({"i": None, "go": None, "state": None}, steps, ["on", "new", "scanned"], {"truth": np.array(True)})
    loop = with_body("Loop", "m yes x", "last stack", body=inner)
    g = build({"x": t("n", 4)}, [loop], ["last", "stack"], {"m": np.array(5), "yes": np.array(True)})
    infer_shapes(g)
    assert g.type_of("stack") == t(5, "n", 4)


def test_scan_slices_and_stacks() -> None:
    steps = [op("Add", "h a", "h_out"), op("Concat", "h_out a", "o", axis=0)]
    inner = body({"h": None, "a": None}, steps, ["h_out", "o"])
    axes: dict[str, Any] = {"scan_input_axes": (1,), "scan_output_axes": (-1,)}
    scan = with_body("Scan", "h0 xs", "last ys", body=inner, num_scan_inputs=1, **axes)
    g = build({"h0": t(4), "xs": t(4, "time")}, [scan], ["last", "ys"])
    infer_shapes(g)
    assert g.type_of("last") == t(4)
    assert g.type_of("ys") == t(8, "time")


def test_bodies_see_the_contents_of_outer_values() -> None:
    inner = body({}, [op("Reshape", "x target", "a")], ["a"])
    other = body({}, [op("Reshape", "x target", "b")], ["b"])
    branch = with_body("If", "c", "y", ("target", "x"), then_branch=inner, else_branch=other)
    ops = [op("Shape", "x", "s", start=1), op("Concat", "s minus", "target", axis=0), branch]
    g = build({"c": t(dtype=B), "x": t("n", 4)}, ops, ["y"], {"minus": i64(-1)})
    infer_shapes(g)
    assert g.type_of("y") == t(4, "n")


# ---------------------------------------------------------------- functions, other types, events


def test_through_model_local_functions() -> None:
    function = parser.parse_function("""
        <domain: "mine", opset_import: ["" : 24]>
        Shrink <by> (a) => (b) {
            c = AveragePool <kernel_shape : ints = @by, strides : ints = @by> (a)
            b = Relu (c)
        }
    """)
    nodes = [helper.make_node("Shrink", ["x"], ["y"], domain="mine", by=[2, 3]),
             helper.make_node("Shrink", ["y"], ["z"], domain="mine", by=[1, 2])]  # fmt: skip
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", 1, ["n", 3, 8, "w"])],
        [helper.make_tensor_value_info("z", 1, None)],
    )  # fmt: skip
    imports = [helper.make_opsetid("", 24), helper.make_opsetid("mine", 1)]
    g = from_model(helper.make_model(graph, functions=[function], opset_imports=imports))
    infer_shapes(g)
    assert shape(g, "y") == ("n", 3, 4, "w//3")
    assert shape(g, "z") == ("n", 3, 4, "w//6")


def test_a_first_result_that_is_left_out() -> None:
    g = build({"x": t(2, 7)}, [Op("Split", ("x",), ("", "y"), {"num_outputs": 2, "axis": 1})], ["y"])
    infer_shapes(g)
    assert g.type_of("y") == t(2, 3)


def test_open_attributes_leave_results_unknown() -> None:
    g = build({"x": t(2, 3)}, [op("Transpose", "x", "y", perm=AttrRef("order", 7))], ["y"])
    infer_shapes(g)
    assert g.type_of("y") is None


def test_sequences_keep_their_element_type() -> None:
    g = build({"x": t(2, 3)}, [op("SequenceConstruct", "x x", "s"), op("SequenceAt", "s zero", "y")], ["y"],
              {"zero": np.array(0)})  # fmt: skip
    infer_shapes(g)
    sequence = g.type_of("s")
    assert isinstance(sequence, OpaqueType)
    element = TypeProto.FromString(sequence.proto).sequence_type.elem_type.tensor_type
    assert element.elem_type == int(F)
    assert g.tensor_type("y").dtype is F  # type: ignore[union-attr]


def test_changes_are_events_and_can_be_undone() -> None:
    then = body({}, [op("Identity", "x", "a")], ["a"])
    branch = with_body("If", "c", "y", ("x",), then_branch=then, else_branch=then)
    g = build({"c": t(dtype=B), "x": t("n", 4)}, [op("Relu", "x", "r"), branch], ["y", "r"])
    before = to_text(g)
    rw = Rewriter(g)
    infer_shapes(g, rw)
    assert rw.events["retyped"]
    assert g.type_of("y") == t("n", 4)
    again = Rewriter(g)
    infer_shapes(g, again)
    assert not again.changed
    rw.rollback()
    assert to_text(g) == before


def test_one_op_on_demand() -> None:
    g = split_heads()
    infer_shapes(g)
    by_output = {o.outputs[0]: i for i, o in g.ops()}
    for value in ("y", "target", "b1"):
        assert infer_op_types(g, by_output[value]) == [g.type_of(value)]
    branch = body({}, [op("Identity", "x", "a")], ["a"])
    new = g.add_op(with_body("If", "c", "z", ("x",), then_branch=branch, else_branch=branch))
    assert infer_op_types(g, new) == [t("batch", "seq", "hidden")]


def test_contents_are_found_through_any_number_of_ops_in_a_sweep_and_through_a_few_on_demand() -> None:
    n = 2000  # more than Python would call itself
    chain = [op("Shape", "x", "v0"), *(op("Add", f"v{i} one", f"v{i + 1}") for i in range(n))]
    g = build({"x": t("n", 4)}, [*chain, op("ConstantOfShape", f"v{n}", "y")], ["y"], {"one": i64(1)})
    infer_shapes(g)
    assert g.type_of("y") == t(f"n + {n}", n + 4)
    last = g.producer("y")
    assert last is not None
    assert infer_op_types(g, last) == [t(None, None)]


def test_mismatches_are_listed_for_the_top_graph_only() -> None:
    """A branch that is not taken may well be wrong for the sizes at hand."""
    bad = body({}, [op("Reshape", "x seven", "a")], ["a"], {"seven": i64(7)})
    good = body({}, [op("Identity", "x", "b")], ["b"])
    branch = with_body("If", "c", "y", ("x",), then_branch=bad, else_branch=good)
    g = build({"c": t(dtype=B), "x": t(2, 4)}, [branch], ["y"])
    inference = Inference(g)
    inference.run()
    assert inference.mismatches == []


@pytest.mark.parametrize("budget", [10_000, 30])
def test_loops_in_loops_end(budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every level infers its body until the state settles, the levels inside it each time; past a number of bodies
    the rest stays unknown."""
    monkeypatch.setattr("coregraft.rewriter.shapes.inference._MAX_BODIES", budget)
    inner = loop_body(op("Concat", "state state", "new", axis=0))
    for level in range(12):
        nested = with_body("Loop", f"_ go{level} grown{level}", f"last{level} s{level}", body=inner)
        nested = replace(nested, inputs=("", f"go{level}", f"grown{level}"))
        grown = op("Concat", f"x{level} x{level}", f"grown{level}", axis=0)
        steps = [op("Identity", f"go{level}", f"on{level}"), grown, nested]
        names = [f"on{level}", f"last{level}", f"s{level}"]
        inner = body({f"i{level}": None, f"go{level}": None, f"x{level}": None}, steps, names)
    g = build({"x": t(3, 4)}, [with_body("Loop", "m yes x", "last stack", body=inner)], ["last", "stack"],
              {"m": np.array(5), "yes": np.array(True)})  # fmt: skip
    infer_shapes(g)
    assert g.tensor_type("last") == (t(None, 4) if budget > 30 else TensorType(F))
