"""The pass around the adapters: bodies, functions, the record, opsets past the internal one, undoing."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import checker, helper, numpy_helper, parser

from coregraft.lowering import targets
from coregraft.passes.opset.upgrade_opset import Upgrade, UpgradeOpset
from coregraft.rewriter.errors import UnsupportedError
from coregraft.rewriter.graph import Floats, Graph, Op
from coregraft.rewriter.manager import PassManager
from coregraft.rewriter.onnx_io.save import to_model
from coregraft.rewriter.passes import Context
from coregraft.rewriter.types import DType, TensorType

from .conftest import Model, run, upgraded

X = np.random.default_rng(3).standard_normal((2, 3, 4)).astype(np.float32)


def types(g: Graph) -> list[str]:
    return [g.op(i).type for i in g.topological()]


def test_record_names_op_versions_and_what_was_done() -> None:
    node = helper.make_node("Squeeze", ["x"], ["y"], name="sq", axes=[0])
    relu = helper.make_node("Relu", ["y"], ["z"], name="r")
    g = upgraded(Model(7, [node, relu], {"x": X[:1]}, outputs=("z",)).graph())
    assert g.graph["upgrades"] == (Upgrade('Squeeze "sq"', 1, 13, "axes is an operand"),)
    checker.check_model(to_model(g), full_check=True)


def test_several_steps_are_one_record() -> None:
    node = helper.make_node("Upsample", ["x"], ["y"], name="up", mode="nearest", scales=[1.0, 2.0, 2.0])
    g = upgraded(Model(7, [node], {"x": X}).graph())
    (record,) = g.graph["upgrades"]
    assert (record.before, record.after) == (7, 10)
    assert record.note == "scales is an operand; became Resize"


def test_internal_opset_is_left_alone() -> None:
    g = Model(24, [helper.make_node("Softmax", ["x"], ["y"], axis=1)], {"x": X}).graph()
    before = to_model(g).SerializeToString()
    ctx = Context()
    UpgradeOpset().run(g, ctx)
    assert not ctx.rewriter(g).changed
    assert to_model(g).SerializeToString() == before


def test_a_second_run_changes_nothing() -> None:
    g = upgraded(Model(9, [helper.make_node("Softmax", ["x"], ["y"], axis=1)], {"x": X}).graph())
    ctx = Context()
    UpgradeOpset().run(g, ctx)
    assert not ctx.rewriter(g).changed


def test_bodies_and_captured_values() -> None:
    """A Softmax over axes of a captured value, in a branch in a branch."""
    inner = helper.make_graph(
        [helper.make_node("Softmax", ["x"], ["inner_y"], axis=1)], "inner", [],
        [helper.make_tensor_value_info("inner_y", 1, None)],
    )  # fmt: skip
    other = helper.make_graph(
        [helper.make_node("Squeeze", ["w"], ["other_y"], axes=[0])], "other", [],
        [helper.make_tensor_value_info("other_y", 1, None)],
    )  # fmt: skip
    outer = helper.make_graph(
        [helper.make_node("If", ["c"], ["outer_y"], then_branch=inner, else_branch=other)], "outer", [],
        [helper.make_tensor_value_info("outer_y", 1, None)],
    )  # fmt: skip
    last = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["last_y"])], "last", [],
        [helper.make_tensor_value_info("last_y", 1, None)],
    )  # fmt: skip
    node = helper.make_node("If", ["c"], ["y"], then_branch=outer, else_branch=last)
    for condition in (True, False):
        feeds = {"x": X, "c": np.array(condition), "w": X[None]}
        model = Model(11, [node], feeds)
        g = upgraded(model.graph())
        np.testing.assert_array_equal(run(to_model(g), feeds)[0], run(model.proto(), feeds)[0])
    assert sorted(r.op for r in g.graph["upgrades"]) == ['Softmax "inner_y"', 'Squeeze "other_y"']


def test_functions_have_opsets_of_their_own() -> None:
    """Attributes that are parameters of the function become operands through a Constant."""
    function = parser.parse_function("""
        <domain: "mine", opset_import: ["" : 11]>
        Squash <dims> (a) => (b) {
            c = Squeeze <axes : ints = @dims> (a)
            b = Softmax <axis = 1> (c)
        }
    """)
    node = helper.make_node("Squash", ["x"], ["y"], domain="mine", dims=[0])
    model = Model(24, [node], {"x": X[None]}, functions=[function], domains={"mine": 1})
    g = upgraded(model.graph())
    (inner,) = g.functions.values()
    assert inner.opsets[""] == 24
    assert types(inner) == ["Constant", "Squeeze", "Flatten", "Softmax", "Shape", "Reshape"]
    assert [r.op for r in g.graph["upgrades"]] == ['Squeeze "c"', 'Softmax "b"']
    want = np.exp(X.reshape(2, -1))
    want = (want / want.sum(1, keepdims=True)).reshape(X.shape)
    np.testing.assert_allclose(run(to_model(g), model.feeds)[0], want, rtol=1e-5)


def test_a_parameter_that_decides_the_form_is_refused() -> None:
    function = parser.parse_function("""
        <domain: "mine", opset_import: ["" : 11]>
        Soft <over> (a) => (b) { b = Softmax <axis : int = @over> (a) }
    """)
    node = helper.make_node("Soft", ["x"], ["y"], domain="mine", over=1)
    with pytest.raises(UnsupportedError, match='"axis" is a parameter') as caught:
        upgraded(Model(24, [node], {"x": X}, functions=[function], domains={"mine": 1}).graph())
    assert caught.value.code == "opset-upgrade"


def test_names_of_results_stay() -> None:
    g = upgraded(Model(11, [helper.make_node("Softmax", ["x"], ["y"], axis=1)], {"x": X}).graph())
    assert dict(g.outputs) == {"y": "y"}
    assert sorted(types(g)) == ["Flatten", "Reshape", "Shape", "Softmax"]


@pytest.mark.parametrize("opset", [25, 26, 27, 28])
def test_newer_opsets_come_down(opset: int) -> None:
    g = upgraded(Model(opset, [helper.make_node("Relu", ["x"], ["y"])], {"x": X}).graph())
    assert g.opsets[""] == 24


def newer(op_type: str, *inputs: tuple[str, DType, tuple[int, ...]], **attrs: object) -> Graph:
    g = Graph()
    for name, dtype, shape in inputs:
        g.add_input(name, TensorType(dtype, shape))
    g.add_op(Op(op_type, tuple(name for name, _, _ in inputs), ("y",), attrs))
    g.set_outputs(["y"])
    g.set_opsets({"": 28})
    return upgraded(g)


def test_what_the_internal_opset_lacks_raises_the_stamp() -> None:
    real, flat = ("x", DType.FLOAT, (2, 4, 6, 6)), ("x", DType.FLOAT, (3,))
    assert newer("CumProd", flat, ("a", DType.INT64, ())).opsets[""] == 26
    assert newer("SpaceToDepth", real, blocksize=2, mode="CRD").opsets[""] == 28
    assert newer("Mod", flat, ("b", DType.FLOAT, (3,))).opsets[""] == 28
    assert newer("Mod", flat, ("b", DType.FLOAT, (3,)), fmod=1).opsets[""] == 24
    assert newer("Mod", ("x", DType.INT32, (3,)), ("b", DType.INT32, (3,))).opsets[""] == 24
    assert newer("BitShift", ("x", DType.INT32, (3,)), ("b", DType.INT32, (3,)), direction="LEFT").opsets[""] == 28
    assert newer("BitShift", ("x", DType.UINT32, (3,)), ("b", DType.UINT32, (3,)), direction="LEFT").opsets[""] == 24
    assert newer("Transpose", ("x", DType.UINT2, (2, 4))).opsets[""] == 25
    assert newer("Attention", *[(n, DType.FLOAT, (1, 2, 3, 4)) for n in "qkv"], left_window_size=2).opsets[""] == 25


def test_defaults_the_internal_opset_does_not_know_are_left_out() -> None:
    g = newer("SpaceToDepth", ("x", DType.FLOAT, (2, 4, 6, 6)), blocksize=2, mode="DCR")
    assert g.opsets[""] == 24
    (op,) = [op for _, op in g.ops()]
    assert dict(op.attrs) == {"blocksize": 2}
    g = newer("Attention", *[(n, DType.FLOAT, (1, 2, 3, 4)) for n in "qkv"], left_window_size=-1, right_window_size=-1)
    (op,) = [op for _, op in g.ops()]
    assert (g.opsets[""], dict(op.attrs)) == (24, {})


def test_ops_of_another_domain_are_none_of_ours() -> None:
    """Not even under a name of ours: neither do they raise the stamp, nor lose an attribute."""
    g = Graph()
    for name in "ab":
        g.add_input(name, TensorType(DType.FLOAT, (2, 4, 6, 6)))
    g.add_op(Op("Mod", ("a", "b"), ("c",), domain="mine"))
    g.add_op(Op("SpaceToDepth", ("c",), ("y",), {"mode": "DCR"}, domain="mine"))
    g.set_outputs(["y"])
    g.set_opsets({"": 28, "mine": 1})
    g = upgraded(g)
    assert g.opsets[""] == 24
    assert [dict(op.attrs) for _, op in g.ops()] == [{}, {"mode": "DCR"}]


def test_other_domains_keep_their_version() -> None:
    scaler = helper.make_node("Scaler", ["x"], ["y"], domain="ai.onnx.ml", offset=[0.5], scale=[2.0])
    g = upgraded(Model(21, [scaler], {"x": X[0]}, domains={"ai.onnx.ml": 3}).graph())
    assert dict(g.opsets) == {"": 24, "ai.onnx.ml": 3}


def test_older_than_the_oldest_is_refused() -> None:
    g = Graph()
    g.add_input("x", TensorType(DType.FLOAT, (2,)))
    g.add_op(Op("Relu", ("x",), ("y",)))
    g.set_outputs(["y"])
    g.set_opsets({"": 0})
    with pytest.raises(UnsupportedError) as caught:
        upgraded(g)
    assert caught.value.code == "opset-too-old"


def test_it_can_be_undone() -> None:
    """On a refusal halfway the graph is what it was."""
    good = helper.make_node("Softmax", ["x"], ["t"], axis=1)
    bad = helper.make_node("BatchNormalization", ["t", *"sbmv"], ["y", "m2", "v2"])
    consts = {name: np.ones(3, np.float32) for name in "sbmv"}
    g = Model(11, [good, bad], {"x": X}, consts, outputs=("y", "m2")).graph()
    before = to_model(g).SerializeToString()
    ctx = Context(pass_name="upgrade-opset")
    with pytest.raises(UnsupportedError):
        UpgradeOpset().run(g, ctx)
    ctx.rewriter(g).rollback()
    assert to_model(g).SerializeToString() == before


def test_the_manager_runs_it_first_when_a_pass_asks() -> None:
    g = Model(9, [helper.make_node("Softmax", ["x"], ["y"], axis=1)], {"x": X}).graph()
    result = PassManager("infer-shapes").run(g)
    assert [r.spec for r in result.reports] == ["upgrade-opset", "infer-shapes"]
    assert result.graph.opsets[""] == 24


def test_a_model_without_ops_of_onnx_itself_imports_it_for_what_passes_make() -> None:
    g = Graph()
    g.add_input("x", TensorType(DType.FLOAT, (2, 3)))
    scale = {"offset": Floats([0.5]), "scale": Floats([2.0])}
    g.add_op(Op("Scaler", ("x",), ("y",), domain="ai.onnx.ml", attrs=scale))
    g.set_outputs(["y"])
    g.set_opsets({"ai.onnx.ml": 3})
    result = PassManager("decompose-scaler", targets.get("iOS17", "mlprogram")).run(g)
    assert dict(result.graph.opsets) == {"": 24, "ai.onnx.ml": 3}
    assert {op.domain for _, op in result.graph.ops()} == {""}


def test_weights_stay_where_they_are() -> None:
    weight = np.ones((4, 5), np.float32)
    model = Model(9, [helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": X}, {"w": weight})
    g = model.graph()
    const = g.const("w")
    assert upgraded(g).const("w") is const
    assert numpy_helper.to_array(to_model(g).graph.initializer[0]).shape == (4, 5)
