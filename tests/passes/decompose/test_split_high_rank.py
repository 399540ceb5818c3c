"""Every op that is done on fewer axes, against onnxruntime on the axes it came with."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coregraft.passes.decompose._ranks import (
    broadcast_groups,
    full_view,
    permutation_groups,
    permutation_steps,
    view_of,
)
from coregraft.passes.decompose.split_high_rank import SplitHighRank
from coregraft.rewriter.errors import UsageError
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.opset import INTERNAL_OPSET
from coregraft.rewriter.rewriter import Rewriter
from coregraft.rewriter.shapes import infer_shapes
from coregraft.rewriter.types import Const, DType, TensorType

RULE = SplitHighRank()
SHAPE = (2, 3, 1, 2, 4, 3)


def between_reshapes(
    op_type: str, operands: list[Any], *, outputs: int = 1, **attrs: Any
) -> tuple[Graph, dict[str, Any]]:
    """Flat inputs, reshaped to what the arrays of ``operands`` are, one op on them, and its results flat again: no
    tensor of high rank at the border. ``Const`` operands are constants."""
    g, feeds, names = Graph(), {}, []
    g.set_opsets({"": INTERNAL_OPSET})
    g.graph["ir_version"] = 10
    for i, operand in enumerate(operands):
        if operand is None:
            names.append("")
        elif isinstance(operand, Const):
            names.append(g.add_value(f"c{i}", const=operand))
        else:
            feeds[f"x{i}"] = operand.ravel()
            g.add_input(f"x{i}", TensorType(DType.of(operand.dtype), (operand.size,)))
            g.add_value(f"s{i}", const=Const.of(np.array(operand.shape, np.int64)))
            g.add_op(Op("Reshape", (f"x{i}", f"s{i}"), (f"h{i}",), name=f"in{i}"))
            names.append(f"h{i}")
    results = tuple(f"r{i}" for i in range(outputs))
    clean = {k: tuple(v) if isinstance(v, list) else v for k, v in attrs.items()}
    g.add_op(Op(op_type, tuple(names), results, clean, name="node"))
    g.add_value("flat", const=Const.of(np.array([-1], np.int64)))
    for i, result in enumerate(results):
        g.add_op(Op("Reshape", (result, "flat"), (f"y{i}",), name=f"out{i}"))
    g.set_outputs([f"y{i}" for i in range(outputs)])
    infer_shapes(g)
    return g, feeds


def ranks(g: Graph) -> int:
    return max(kind.rank or 0 for v in g.values() if (kind := g.tensor_type(v)) is not None)


def data(shape: Any, seed: int = 0, dtype: Any = np.float32) -> Any:
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    return rng.integers(1, 5, shape).astype(dtype)


def ints(*values: int) -> Const:
    return Const.of(np.array(values, np.int64))


CASES: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("Transpose", [data(SHAPE)], {"perm": [5, 3, 1, 4, 2, 0]}),
    ("Transpose", [data((2, 3, 2, 2, 2, 3, 2))], {"perm": [6, 4, 2, 0, 5, 3, 1]}),
    ("Transpose", [data((2, 3, 4, 2, 3, 2))], {}),
    ("Transpose", [data((1,) * 6)], {"perm": [5, 4, 3, 2, 1, 0]}),
    ("Relu", [data(SHAPE)], {}),
    ("Cast", [data(SHAPE)], {"to": int(DType.INT32)}),
    ("Clip", [data(SHAPE), Const.of(np.float32(-0.5)), Const.of(np.float32(0.5))], {}),
    ("LeakyRelu", [data(SHAPE)], {"alpha": 0.3}),
    ("Add", [data(SHAPE), data(SHAPE, 1)], {}),
    ("Mul", [data(SHAPE), data((3, 1, 2, 1, 3), 1)], {}),
    ("Sub", [data((1, 3, 1, 2, 1, 3)), data((2, 1, 1, 1, 4, 1), 1)], {}),
    ("Div", [data((2, 1, 2, 1, 2, 1)), data((1, 3, 1, 3, 1, 3), 1)], {}),
    ("Pow", [np.abs(data((2, 2, 2, 1, 2, 1, 2))), data((2, 1, 2, 2, 1, 2, 1), 1)], {}),
    ("Greater", [data(SHAPE), Const.of(np.float32(0.1))], {}),
    ("Where", [data(SHAPE) > 0, data((2, 4, 1), 1), data(SHAPE, 2)], {}),
    ("Max", [data(SHAPE), data((4, 3), 1), data((2, 1, 1, 1, 1, 1), 2)], {}),
    ("ReduceSum", [data(SHAPE), ints(1, 3, 5)], {"keepdims": 1}),
    ("ReduceMax", [data(SHAPE), ints(-1, 0)], {"keepdims": 0}),
    ("ReduceMean", [data((2, 3, 2, 2, 4, 3)), ints(2, 4)], {"keepdims": 0}),
    ("ReduceL2", [data((2, 1, 3, 2, 2, 1, 2)), ints(1, 3, 5)], {"keepdims": 0}),
    ("ReduceMin", [data((2, 3, 2, 3, 2, 3)), ints(0, 2, 4)], {"keepdims": 0}),
    ("ReduceSum", [data(SHAPE)], {"keepdims": 1}),
    ("ReduceSum", [data(SHAPE), ints()], {"keepdims": 0}),
    ("ReduceSum", [data(SHAPE), ints()], {"keepdims": 1, "noop_with_empty_axes": 1}),
    ("ReduceProd", [data(SHAPE)], {"keepdims": 0, "noop_with_empty_axes": 1}),
    ("Softmax", [data(SHAPE)], {"axis": 4}),
    ("LogSoftmax", [data(SHAPE)], {"axis": -6}),
    ("ArgMax", [data(SHAPE)], {"axis": 4, "keepdims": 0}),
    ("ArgMin", [data(SHAPE)], {"axis": 1, "keepdims": 1, "select_last_index": 1}),
    ("CumSum", [data(SHAPE, 0, np.int32), Const.of(np.int64(4))], {"exclusive": 1}),
    ("Concat", [data(SHAPE), data((2, 3, 1, 5, 4, 3), 1)], {"axis": 3}),
    ("Gather", [data(SHAPE), ints(2, 0, -1)], {"axis": 4}),
    ("Gather", [data((2, 5, 3, 2)), Const.of(np.array([[[0, 4], [1, 1]]], np.int64))], {"axis": 1}),
    ("Slice", [data(SHAPE), ints(1, 2), ints(9, 0), ints(1, -2), ints(1, -1)], {}),
    ("Slice", [data((3, 3, 3, 3, 3, 3)), ints(0, 1, 0, 1, 0), ints(2, 3, 2, 3, 2), ints(0, 1, 2, 3, 5)], {}),
    ("Slice", [data((3,) * 6), ints(0, 1, 0, 1, 0, -1), ints(2, 3, 2, 3, 2, -4), None, ints(1, 1, 1, 1, 1, -2)], {}),
    ("Pad", [data(SHAPE), ints(0, 1, 0, 0, 2, 0, 0, 0, 0, 3, 0, 1), Const.of(np.float32(2))], {}),
    ("Pad", [data((2, 3, 4, 3, 4, 3)), ints(1, 2, 0, 1), None, ints(-1, 2)], {"mode": "reflect"}),
    ("Tile", [data(SHAPE), ints(1, 2, 3, 1, 2, 1)], {}),
    ("Expand", [data((2, 1, 2, 1, 1, 3)), ints(2, 3, 2, 2, 4, 3)], {}),
    ("Expand", [data((1, 2, 1, 2, 1, 2)), ints(3, 2, 3, 2, 3, 2)], {}),
    ("MatMul", [data((2, 3, 2, 2, 4, 3)), data((2, 3, 2, 2, 3, 5), 1)], {}),
    ("MatMul", [data((2, 3, 2, 2, 4, 3)), data((2, 2, 3, 5), 1)], {}),
    ("LayerNormalization", [data(SHAPE), Const.of(data((4, 3), 1)), Const.of(data((4, 3), 2))], {"axis": -2}),
    ("Squeeze", [data((2, 1, 3, 1, 2, 2)), ints(1, 3)], {}),
    ("Unsqueeze", [data((2, 3, 2)), ints(0, 2, 5)], {}),
    ("Flatten", [data(SHAPE)], {"axis": 3}),
    ("Identity", [data(SHAPE)], {}),
]  # fmt: skip


@pytest.mark.parametrize(("op_type", "operands", "attrs"), CASES, ids=lambda v: v if isinstance(v, str) else "")
def test_every_op_on_fewer_axes(harness: Any, op_type: str, operands: list[Any], attrs: dict[str, Any]) -> None:
    g, feeds = between_reshapes(op_type, operands, **attrs)
    assert ranks(g) > 5
    outcome = harness.same(RULE, g, feeds)
    assert ranks(outcome.after) <= 5
    if not op_type.startswith("Reduce"):
        for a, b in zip(harness.run(g, feeds), harness.run(outcome.after, feeds), strict=True):
            np.testing.assert_array_equal(a, b)


def test_split_into_parts(harness: Any) -> None:
    g, feeds = between_reshapes("Split", [data(SHAPE), ints(1, 3)], outputs=2, axis=4)
    assert ranks(harness.same(RULE, g, feeds).after) <= 5


def test_window_partition_is_one_transpose_of_rank_four(harness: Any) -> None:
    g, feeds = between_reshapes("Transpose", [data((1, 4, 7, 4, 7, 8))], perm=[0, 1, 3, 2, 4, 5])
    assert harness.same(RULE, g, feeds).types == ["Reshape", "Transpose", "Reshape"]


def test_a_symbolic_batch_stays(harness: Any) -> None:
    x = data((2, 3, 2, 2, 2, 2))
    g, feeds = harness.graph("Transpose", [x], dims={0: ("n", 3, 2, 2, 2, 2)}, perm=[0, 1, 4, 2, 5, 3])
    after = harness.same(RULE, g, feeds).after
    assert [t.rank for v in after.values() if (t := after.tensor_type(v)) and v not in ("x0", "y0")] <= [5] * 9


@pytest.mark.parametrize(
    ("op_type", "shape", "dims", "attrs", "reason"),
    [
        ("Transpose", (2, 3, 2, 2, 2, 2), ("n", 3, "h", 2, 2, 2), {"perm": [2, 1, 4, 0, 5, 3]}, "more than one dim"),
        ("Reshape", (2, 3, 2, 2, 2, 2), None, {}, "not itself the result of a reshape"),
    ],
)
def test_what_is_left_alone(harness: Any, op_type: str, shape: Any, dims: Any, attrs: Any, reason: str) -> None:
    operands = [data(shape), *([ints(-1)] if op_type == "Reshape" else [])]
    g, _ = harness.graph(op_type, operands, dims={0: dims} if dims else None, **attrs)
    harness.declines(RULE, g, reason)


@pytest.mark.parametrize(
    ("op_type", "operands", "attrs", "reason"),
    [
        ("Slice", [data(SHAPE), ints(0), ints(1), np.array([2])], {}, "axes are computed at run time"),
        ("Slice", [data((3,) * 6), ints(0, 0, 0), np.array([2, 2, 2]), ints(0, 2, 4)], {}, "places computed at run"),
        ("Pad", [data(SHAPE), ints(1, 1), None, np.array([2])], {}, "pads or axes are computed"),
        ("Pad", [data(SHAPE), np.ones(12, np.int64)], {}, "pads or axes are computed"),
        ("Tile", [data(SHAPE), np.ones(6, np.int64)], {}, "repeats are computed"),
        ("MatMul", [data((2, 1, 2, 1, 4, 3)), data((1, 3, 1, 3, 3, 5))], {}, "batch axes cannot be merged"),
        ("LayerNormalization", [data(SHAPE), Const.of(data((3,)))], {"axis": -2}, "a parameter is broadcast"),
        ("LayerNormalization", [data(SHAPE), Const.of(data((4, 3))), Const.of(data((1, 3)))], {"axis": -2},
         "a parameter is broadcast"),
    ],
)  # fmt: skip
def test_what_has_no_form_on_fewer_axes(
    harness: Any, op_type: str, operands: list[Any], attrs: dict[str, Any], reason: str
) -> None:
    g, _ = between_reshapes(op_type, operands, **attrs)
    harness.declines(RULE, g, reason)


def test_moments_of_a_normalisation_are_an_output(harness: Any) -> None:
    g, _ = between_reshapes("LayerNormalization", [data(SHAPE), Const.of(data((4, 3)))], outputs=2, axis=-2)
    harness.declines(RULE, g, "gives more than one result")


def test_rank_five_is_left_alone(harness: Any) -> None:
    g, _ = harness.graph("Transpose", [data((2, 3, 2, 2, 2))])
    assert harness.rewrite(RULE, g).fired == 0
    assert "no tensor of rank above 5" in str(RULE.match_and_rewrite(0, Rewriter(g)))


def test_an_axis_computed_at_run_time_is_left_alone(harness: Any) -> None:
    g, _ = harness.graph("ReduceSum", [data(SHAPE), np.array([1], np.int64)], keepdims=0)
    harness.declines(RULE, g, "run time")


def test_a_tensor_that_others_read_too_is_kept_for_them(harness: Any) -> None:
    g, feeds = between_reshapes("Relu", [data(SHAPE)])
    g.add_op(Op("Shape", ("h0",), ("dims",), name="shape"))
    g.set_outputs(["y0", "dims"])
    infer_shapes(g)
    assert "Shape" in harness.same(RULE, g, feeds).types


def test_an_output_of_the_model_keeps_its_rank(harness: Any) -> None:
    g, feeds = harness.graph("Relu", [data(SHAPE)])
    assert harness.same(RULE, g, feeds).types == ["Reshape", "Relu", "Reshape"]


def test_max_rank_below_four_is_refused() -> None:
    with pytest.raises(UsageError, match="below rank 4"):
        SplitHighRank(max_rank=3)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_permutation_in_steps(draw: st.DataObject) -> None:
    rank = draw.draw(st.integers(1, 8))
    shape = draw.draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank))
    perm = draw.draw(st.permutations(range(rank)))
    x = np.arange(math.prod(shape)).reshape(shape)
    groups, order = permutation_groups(shape, perm)
    dims = view_of(shape, groups)
    assert dims is not None
    np.testing.assert_array_equal(x.reshape(dims).transpose(order).ravel(), x.transpose(perm).ravel())
    y = x
    for view, axes in permutation_steps(shape, perm):
        assert len(view) <= 4
        y = y.reshape(view).transpose(axes)
    np.testing.assert_array_equal(y.ravel(), x.transpose(perm).ravel())


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_broadcast_in_groups(draw: st.DataObject) -> None:
    rank = draw.draw(st.integers(1, 7))
    result = draw.draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank))
    keeps = draw.draw(st.lists(st.lists(st.booleans(), min_size=rank, max_size=rank), min_size=2, max_size=3))
    shapes = [[n if k else 1 for n, k in zip(result, keep, strict=True)] for keep in keeps]
    operands = [np.arange(math.prod(s)).reshape(s) for s in shapes]
    want = sum(np.broadcast_to(o, result) for o in operands)
    found = broadcast_groups([o.shape for o in operands], result)
    assert found is not None
    dims = view_of(result, found[0])
    assert dims is not None
    lesser = [[n if whole else 1 for n, whole in zip(dims, flags, strict=True)] for flags in found[1]]
    views = [o.reshape(s) for o, s in zip(operands, lesser, strict=True)]
    np.testing.assert_array_equal(np.broadcast_to(sum(views), dims).ravel(), np.asarray(want).ravel())


def test_views_with_unknown_dims() -> None:
    assert view_of(("n", 3, 4), [[0, 1], [2]]) == (-1, 4)
    assert view_of(("n", 3, None), [[0, 1], [2]]) is None
    assert full_view((2, 0)) is None
    assert broadcast_groups([("n", 2), (1, 2)], ("n", 2)) == ([[0], [1]], [[True, True], [False, True]])
    assert broadcast_groups([("n", 2), ("m", 2)], (None, 2)) is None
