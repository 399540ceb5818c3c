"""Graph to MIL program: the border (names, types, ranks), constants, and the checks on emitters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from coregraft.lowering import pipeline, registry, targets
from coregraft.lowering.emitter import Emitter, canonical_array
from coregraft.lowering.program import Lowered, build_program, lower_graph, require_lowerings
from coregraft.rewriter.errors import CoregraftError, UnsupportedError
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.onnx_io.text import parse
from coregraft.rewriter.types import Const, DType, TensorType

F32, F16, I64, I32, BOOL = DType.FLOAT, DType.FLOAT16, DType.INT64, DType.INT32, DType.BOOL
DOMAIN = "test.program"

Kind = tuple[DType, tuple[Any, ...]]


def pass_through(b: Emitter, op: Op) -> Any:
    return b.var(op.inputs[0])


def relu(b: Emitter, op: Op) -> Any:
    return b.mb.relu(x=b.var(op.inputs[0]), name=b.name(op))


def add(b: Emitter, op: Op) -> Any:
    return b.mb.add(x=b.var(op.inputs[0]), y=b.var(op.inputs[1]), name=b.name(op))


def halves(b: Emitter, op: Op) -> Any:
    return b.mb.split(x=b.var(op.inputs[0]), num_splits=2, axis=0, name=b.name(op))


def first_half(b: Emitter, op: Op) -> Any:
    return halves(b, op)[:1]


def to_bool(b: Emitter, op: Op) -> Any:
    return b.mb.cast(x=b.var(op.inputs[0]), dtype="bool", name=b.name(op))


def choose(b: Emitter, op: Op) -> Any:
    yes, no = op.attrs["then"], op.attrs["else"]
    return b.mb.cond(
        pred=b.var(op.inputs[0]), _true_fn=lambda: b.body(yes), _false_fn=lambda: b.body(no), name=b.name(op)
    )


def refused(b: Emitter, op: Op) -> Any:
    b.refuse(op, "it cannot be had")


def broken(b: Emitter, op: Op) -> Any:
    return b.mb.reshape(x=b.var(op.inputs[0]), shape=[7, 7, 7])


def bad_type(b: Emitter, op: Op) -> Any:
    return b.mb.cast(x=b.var(op.inputs[0]), dtype="int32", name=b.name(op))


def bad_shape(b: Emitter, op: Op) -> Any:
    return b.mb.expand_dims(x=b.var(op.inputs[0]), axes=[0], name=b.name(op))


EMITTERS = {
    "Pass": pass_through, "Relu": relu, "Add": add, "Halves": halves, "FirstHalf": first_half, "ToBool": to_bool,
    "Choose": choose, "Broken": broken, "Refused": refused, "BadType": bad_type, "BadShape": bad_shape,
}  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def emitters() -> Iterator[None]:
    made = [
        registry.register_lowering(name, emit, domain=DOMAIN, attrs="then else") for name, emit in EMITTERS.items()
    ]
    yield
    for lowering in made:
        registry.unregister(lowering)


def graph(
    inputs: Mapping[str, Kind],
    ops: Sequence[tuple[str, str, str]],
    outputs: Mapping[str, str] | Sequence[str],
    values: Mapping[str, Kind] | None = None,
    consts: Mapping[str, Any] | None = None,
) -> Graph:
    """A graph of test ops, each ``(type, "inputs", "outputs")``; values without a type given are float[2,3]."""
    g = Graph()
    for name, (dtype, shape) in inputs.items():
        g.add_input(name, TensorType(dtype, shape))
    for name, value in (consts or {}).items():
        g.add_value(name, const=Const.of(value))
    for op_type, operands, results in ops:
        for name in results.split():
            dtype, shape = (values or {}).get(name, (F32, (2, 3)))
            g.add_value(name, TensorType(dtype, shape))
        g.add_op(Op(op_type, tuple(operands.split()), tuple(results.split()), domain=DOMAIN, name=f"n_{results}"))
    g.set_outputs(dict(outputs) if isinstance(outputs, Mapping) else outputs)
    g.set_opsets({"": 24, DOMAIN: 1})
    return g


def lower(g: Graph, target: str = "iOS17", format: str = "mlprogram") -> Lowered:
    return lower_graph(g, targets.get(target, format))


def main(lowered: Lowered) -> Any:
    return lowered.program.functions["main"]


def op_types(lowered: Lowered) -> list[str]:
    return [op.op_type for op in main(lowered).operations if op.op_type != "const"]


X = {"x": (F32, (2, 3))}


# ---------------------------------------------------------------- the border


def test_names_are_made_legal_and_kept_unique() -> None:
    g = graph(
        {"in/0": (F32, (2, 3)), "in.0": (F32, (2, 3)), "0": (F32, (2, 3)), "tensor": (F32, (2, 3))},
        [("Add", "in/0 in.0", "a:1"), ("Add", "a:1 0", "a.1"), ("Add", "a.1 tensor", "out/y")],
        ["out/y"],
    )
    lowered = lower(g)
    assert list(main(lowered).inputs) == ["in_0", "in_0_1", "var_0", "tensor_workaround"]
    assert [v.name for v in main(lowered).outputs] == ["out_y"]
    assert [f.name for f in lowered.inputs] == ["in/0", "in.0", "0", "tensor"]
    assert lowered.outputs[0].name == "out/y" and lowered.outputs[0].feature == "out_y"
    assert lowered.names()["a:1"] == "a_1" and lowered.names()["a.1"] == "a_1_1"


def test_one_value_under_two_output_names() -> None:
    lowered = lower(graph(X, [("Relu", "x", "y")], {"y": "y", "again": "y"}))
    assert [v.name for v in main(lowered).outputs] == ["y", "again"]
    assert op_types(lowered) == ["relu", "identity"]


def test_public_name_differs_from_the_value() -> None:
    lowered = lower(graph(X, [("Relu", "x", "t")], {"y": "t"}))
    assert [v.name for v in main(lowered).outputs] == ["y"]
    assert op_types(lowered) == ["relu"], "no copy is needed: the value takes the public name"


def test_an_output_that_is_an_input_gets_a_name_of_its_own() -> None:
    lowered = lower(graph(X, [("Relu", "x", "y")], {"x": "x", "y": "y"}))
    assert [(f.name, f.feature) for f in lowered.outputs] == [("x", "x_1"), ("y", "y")]
    assert main(lowered).outputs[0].op.op_type == "identity"


def test_identity_model() -> None:
    lowered = lower(graph(X, [("Pass", "x", "y")], ["y"]))
    assert op_types(lowered) == ["identity"]
    assert [v.name for v in main(lowered).outputs] == ["y"]


def test_an_output_that_is_a_constant() -> None:
    lowered = lower(graph(X, [], {"k": "w"}, consts={"w": np.ones(3, np.float32)}))
    assert main(lowered).outputs[0].name == "k"
    assert main(lowered).outputs[0].op.op_type == "identity"


def test_scalars_cross_the_border_as_vectors_of_one() -> None:
    g = graph({"s": (F32, ())}, [("Relu", "s", "y")], ["y"], values={"y": (F32, ())})
    lowered = lower(g)
    assert lowered.inputs[0].shape == (1,) and lowered.inputs[0].type.shape == ()
    assert op_types(lowered) == ["squeeze", "relu", "expand_dims"]
    assert main(lowered).outputs[0].shape == (1,) and main(lowered).outputs[0].name == "y"


def test_bools_cross_the_border_as_int32() -> None:
    g = graph({"m": (BOOL, (4,))}, [("Pass", "m", "y")], ["y"], values={"y": (BOOL, (4,))})
    lowered = lower(g)
    assert lowered.inputs[0].dtype is I32 and lowered.outputs[0].dtype is I32
    assert lowered.outputs[0].type.dtype is BOOL
    assert op_types(lowered) == ["cast", "cast"]
    assert main(lowered).outputs[0].name == "y"


@pytest.mark.parametrize("dtype", [I64, I32, DType.UINT8, DType.INT8, DType.UINT16, DType.INT16, DType.UINT32])
def test_integers_cross_the_border_as_int32(dtype: DType) -> None:
    lowered = lower(graph({"x": (dtype, (4,))}, [("Pass", "x", "y")], ["y"], values={"y": (dtype, (4,))}))
    assert lowered.inputs[0].dtype is I32 and lowered.inputs[0].type.dtype is dtype
    assert op_types(lowered) == ["identity"]


@pytest.mark.parametrize(("target", "expected", "casts"), [("iOS15", F32, 2), ("iOS16", F16, 0), ("iOS26", F16, 0)])
def test_fp16_crosses_the_border_where_the_target_allows(target: str, expected: DType, casts: int) -> None:
    g = graph({"x": (F16, (2, 3))}, [("Relu", "x", "y")], ["y"], values={"y": (F16, (2, 3))})
    lowered = lower(g, target)
    assert lowered.inputs[0].dtype is expected and lowered.outputs[0].dtype is expected
    assert op_types(lowered).count("cast") == casts


def test_a_neuralnetwork_computes_and_declares_floats() -> None:
    g = graph({"x": (F16, (2, 3)), "i": (I64, (2,))}, [("Relu", "x", "y")], ["y"], values={"y": (F16, (2, 3))})
    lowered = lower(g, format="neuralnetwork")
    assert [f.dtype for f in (*lowered.inputs, *lowered.outputs)] == [F32, F32, F32]
    assert op_types(lowered) == ["relu"]


def test_unpinned_dims_are_named_with_the_flags_that_pin_them() -> None:
    g = graph({"x": (F32, ("batch", 3)), "y": (F32, ("seq", None))}, [("Relu", "x", "z")], ["z"])
    with pytest.raises(UnsupportedError) as error:
        lower(g)
    assert error.value.code == "dims-unpinned" and error.value.node == "x"
    assert error.value.hint == "--dim batch=VALUE --dim seq=VALUE --shape y=N,N"


def test_a_shape_to_give_keeps_the_sizes_that_are_known() -> None:
    g = graph({"x": (F32, ("?", 3, "n", 4)), "y": (F32, (2, "n"))}, [("Relu", "x", "z")], ["z"])
    with pytest.raises(UnsupportedError) as error:
        lower(g)
    assert error.value.hint == "--dim n=VALUE --shape x=N,3,N,4"


def test_unknown_rank_asks_for_a_shape() -> None:
    g = Graph()
    g.add_input("x", TensorType(F32, None))
    with pytest.raises(UnsupportedError, match="--shape x=") as error:
        lower(g)
    assert error.value.code == "dims-unpinned"


def test_a_model_without_inputs_is_refused() -> None:
    with pytest.raises(UnsupportedError) as error:
        lower(graph({}, [], {"k": "w"}, consts={"w": np.ones(3, np.float32)}))
    assert error.value.code == "no-inputs"


def test_an_input_of_rank_6_is_refused() -> None:
    shape = (1, 1, 1, 1, 1, 1)
    with pytest.raises(UnsupportedError) as error:
        lower(graph({"x": (F32, shape)}, [("Relu", "x", "y")], ["y"], values={"y": (F32, shape)}))
    assert error.value.code == "rank-unsupported"


def test_strings_are_refused() -> None:
    with pytest.raises(UnsupportedError) as error:
        lower(graph({"x": (DType.STRING, (2,))}, [("Pass", "x", "y")], ["y"], values={"y": (DType.STRING, (2,))}))
    assert error.value.code == "dtype-unsupported"


# ---------------------------------------------------------------- constants


def test_a_constant_is_emitted_once_and_shared() -> None:
    g = graph(X, [("Add", "x w", "a"), ("Add", "a w", "y")], ["y"], consts={"w": np.arange(3, dtype=np.float32)})
    lowered = lower(g)
    consts = [op for op in main(lowered).operations if op.op_type == "const" and op.outputs[0].name == "w"]
    assert len(consts) == 1
    assert len(consts[0].outputs[0].child_ops) == 2
    np.testing.assert_array_equal(consts[0].outputs[0].val, [0, 1, 2])


def test_a_constant_is_the_graphs_own_array() -> None:
    weights = np.ones((2, 3), np.float32)
    lowered = lower(graph(X, [("Add", "x w", "y")], ["y"], consts={"w": weights}))
    const = next(op for op in main(lowered).operations if op.outputs[0].name == "w")
    assert np.shares_memory(const.outputs[0].val, weights)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (np.array([1, -2], np.int64), np.array([1, -2], np.int32)),
        (np.array([2**63 - 1, -(2**63)], np.int64), np.array([2**31 - 1, -(2**31)], np.int32)),
        (np.array([255], np.uint8), np.array([255], np.int32)),
        (np.array([0.1], np.float64), np.array([0.1], np.float32)),
        (np.array([1.5], np.float16), np.array([1.5], np.float16)),
        (np.array([True]), np.array([True])),
    ],
)
def test_constants_in_the_types_of_core_ml(given: Any, expected: Any) -> None:
    found = canonical_array(given, "w")
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("value", [np.array([2**31], np.int64), np.array([2**32 - 1], np.uint32), np.array([-(2**40)])])
def test_an_integer_beyond_int32_is_refused(value: Any) -> None:
    with pytest.raises(UnsupportedError) as error:
        canonical_array(value, "w")
    assert error.value.code == "int64-overflow" and error.value.node == "w"


# ---------------------------------------------------------------- emitters held to the graph


@pytest.mark.parametrize(
    ("op_type", "message"), [("BadType", "is int32 in MIL and fp32"), ("BadShape", r"has shape \(1, 2, 3\)")]
)
def test_a_result_that_is_not_what_the_graph_says(op_type: str, message: str) -> None:
    with pytest.raises(CoregraftError, match=message) as error:
        lower(graph(X, [(op_type, "x", "y")], ["y"]))
    assert error.value.code == "lowering-type-mismatch"
    assert error.value.node == f'{DOMAIN}.{op_type} "n_y"'


def test_a_missing_result_matters_only_when_it_is_used() -> None:
    values = {"a": (F32, (1, 3)), "b": (F32, (1, 3))}
    lower(graph(X, [("FirstHalf", "x", "a b")], ["a"], values=values))
    with pytest.raises(CoregraftError, match="result 1 was not emitted"):
        lower(graph(X, [("FirstHalf", "x", "a b")], ["b"], values=values))


def test_unknown_dims_of_the_graph_are_not_held_against_the_emitter() -> None:
    lower(graph(X, [("Relu", "x", "y")], ["y"], values={"y": (F32, (None, 3))}))


def test_each_of_several_results_has_its_name() -> None:
    values = {"p/a": (F32, (1, 3)), "p/b": (F32, (1, 3))}
    lowered = lower(graph(X, [("Halves", "x", "p/a p/b")], {"left": "p/a", "right": "p/b"}, values=values))
    assert [v.name for v in main(lowered).outputs] == ["left", "right"]
    assert op_types(lowered) == ["split"]


def test_a_value_that_is_another_ones_result_does_not_take_its_name() -> None:
    values = dict.fromkeys("abc", (F32, (1, 3)))
    lowered = lower(graph(X, [("Halves", "x", "a b"), ("Pass", "a", "c")], ["a", "c"], values=values))
    assert [v.name for v in main(lowered).outputs] == ["a", "c"]
    assert lowered.names() == {"x": "x", "a": "a", "b": "b", "c": "a"}


def test_names_of_values_that_a_pass_removed_are_gone() -> None:
    lowered = lower(graph(X, [("Relu", "x", "a"), ("Relu", "x", "y")], ["y"]))
    pipeline.run(lowered.program, targets.get("iOS17"))
    assert lowered.names() == {"x": "x", "y": "y"}


def test_what_coremltools_refuses_names_the_op() -> None:
    with pytest.raises(UnsupportedError) as error:
        lower(graph(X, [("Broken", "x", "y")], ["y"]))
    assert error.value.code == "lowering-failed"
    assert error.value.node == f'{DOMAIN}.Broken "n_y"'


def test_all_ops_without_a_lowering_are_named_at_once() -> None:
    g = graph(X, [("Nope", "x", "a"), ("Nope", "a", "b"), ("Nix", "b", "y")], ["y"])
    with pytest.raises(UnsupportedError) as error:
        lower(g)
    assert error.value.code == "op-no-lowering"
    assert f'{DOMAIN}.Nope x2 (first: {DOMAIN}.Nope "n_a")' in error.value.message
    assert f"{DOMAIN}.Nix x1" in error.value.message
    assert error.value.hint and "neuralnetwork" in error.value.hint


def test_the_reason_of_an_op_in_a_body_is_told_too() -> None:
    text = (
        "input c: bool[]\ninput x: float[2,8]\n"
        "y = If(c, then_branch={\n  r = RandomNormalLike(x)\n  output r\n}, else_branch={\n"
        "  n = Neg(x)\n  output n\n})\noutput y\n"
    )
    with pytest.raises(UnsupportedError, match=r"RandomNormalLike x1 .*random numbers are others") as error:
        require_lowerings(parse(text), targets.get("iOS17"))
    assert error.value.code == "op-no-lowering"
    assert error.value.node is not None and "RandomNormalLike" in error.value.node


def test_an_attribute_that_is_not_honoured_is_named() -> None:
    g = graph(X, [("Relu", "x", "y")], ["y"])
    g.set_op(0, replace(g.op(0), attrs={"slope": 0.5}))
    with pytest.raises(UnsupportedError, match=r"slope=0\.5"):
        lower(g)
    with pytest.raises(UnsupportedError, match=r"slope=0\.5") as error:
        lower_graph(g, replace(targets.get("iOS17"), ops=None))
    assert error.value.code == "attribute-unsupported", "also when the target's table is not asked first"


def test_all_ops_that_their_emitters_refuse_are_named_at_once() -> None:
    ops = [("Refused", "x", "a"), ("Relu", "a", "b"), ("Refused", "b", "c"), ("Relu", "x", "d"), ("Refused", "d", "e")]
    g = graph(X, [*ops, ("Add", "c e", "y")], ["y"])
    with pytest.raises(UnsupportedError) as error:
        lower(g)
    assert error.value.code == "op-unsupported"
    assert error.value.message.startswith("2 ops cannot be lowered: ")
    assert "n_a" in error.value.message and "n_e" in error.value.message
    assert "n_c" not in error.value.message, "it depends on a refused op, and was not tried"


def test_a_fallback_hears_why() -> None:
    heard: list[UnsupportedError] = []

    def take(b: Emitter, op: Op, why: UnsupportedError) -> Sequence[Any]:
        heard.append(why)
        return [b.mb.relu(x=b.var(op.inputs[0]), name=b.name(op))]

    g = graph(X, [("Refused", "x", "a"), ("Nope", "a", "y")], ["y"])
    assert op_types(lower_graph(g, targets.get("iOS17"), take)) == ["relu", "relu"]
    assert [error.code for error in heard] == ["op-unsupported", "op-no-lowering"]


# ---------------------------------------------------------------- bodies


def test_bodies_see_outer_values_and_their_constants_stay_inside() -> None:
    def branch(op_type: str) -> Graph:
        body = Graph()
        body.add_value("k", const=Const.of(np.full(3, 2.0, np.float32)))
        body.add_value("r", TensorType(F32, (2, 3)))
        body.add_op(Op("Add", ("x", "k"), ("r",), domain=DOMAIN))
        body.set_outputs({"r": "r"})
        return body

    g = graph(X, [("ToBool", "c", "p")], [], values={"p": (BOOL, ())}, consts={"c": np.array(1.0, np.float32)})
    g.add_value("y", TensorType(F32, (2, 3)))
    g.add_value("z", TensorType(F32, (2, 3)))
    bodies = {"then": branch("Add"), "else": branch("Add")}
    g.add_op(Op("Choose", ("p",), ("y",), bodies, DOMAIN, "if", captures=("x",)))
    g.add_op(Op("Relu", ("y",), ("z",), domain=DOMAIN))
    g.set_outputs(["z"])
    lowered = lower(g)
    cond = next(op for op in main(lowered).operations if op.op_type == "cond")
    for block in cond.blocks:
        const, addition = block.operations
        assert (const.op_type, addition.op_type) == ("const", "add")
        assert addition.x is main(lowered).inputs["x"] and addition.y is const.outputs[0]
    lowered.program.validate()


def test_a_second_build_is_the_same_program() -> None:
    def names() -> list[str]:
        ops = [("Add", "x x", "a"), ("Halves", "a", "b c")]
        g = graph(X, ops, ["b"], values=dict.fromkeys("bc", (F32, (1, 3))))
        program = build_program(g, targets.get("iOS17"))
        return [var.name for op in program.functions["main"].operations for var in op.outputs]

    first = names()
    with pytest.raises(UnsupportedError):
        lower(graph(X, [("Broken", "x", "y")], ["y"]))
    assert names() == first, "what the builder counted for a build that failed must not show"
