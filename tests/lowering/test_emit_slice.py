"""Concat, Split, Slice, Gather and Scatter against ONNX's reference implementation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.rewriter.errors import UnsupportedError
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.types import Const, DType, TensorType
from tests.lowering.agreement import agree
from tests.lowering.fold_harness import (
    Case,
    assert_equal,
    assert_right,
    case,
    find_op,
    folded,
    lowered,
    mil_ops,
    ran,
    reference,
)

_RNG = np.random.default_rng(13)
_X = _RNG.standard_normal((3, 4, 5)).astype(np.float32)
_I = _RNG.integers(-9, 9, (3, 4, 5)).astype(np.int32)
_B = _I > 0
_MAX, _MIN = np.iinfo(np.int64).max, np.iinfo(np.int64).min


def _slice(x: Any, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Case:
    extra = [None if v is None else np.array(v, np.int64) for v in (axes, steps)]
    return case("Slice", x, np.array(starts), np.array(ends), *extra, constant=(1, 2, 3, 4))


PIECES = [
    *[case("Concat", x, x[:, :2], x, axis=a) for x in (_X, _I, _B) for a in (1, -2)],
    case("Concat", _X, axis=0), case("Concat", _X, _X[:0], axis=0, constant=(1,)),
    *[case("Split", x, np.array([1, 3]), constant=(1,), outputs=2, axis=1) for x in (_X, _I, _B)],
    case("Split", _X, outputs=2, num_outputs=2, axis=-1), case("Split", _X, outputs=3, num_outputs=3),
    case("Split", _X, outputs=1, num_outputs=1), case("Split", _X, np.array([4]), constant=(1,), axis=1),
]  # fmt: skip
SLICES = [
    *[_slice(x, [1, 0], [3, -1], [2, 0]) for x in (_X, _I, _B)],
    _slice(_X, [0, 0, 0], [3, 2, 100]), _slice(_X, [-2], [_MAX], [1]), _slice(_X, [-100], [2], [-1]),
    _slice(_X, [0], [_MAX], [2], [2]), _slice(_X, [1], [_MAX], [2], [_MAX]),
    _slice(_X, [-1], [_MIN], [2], [_MIN]), _slice(_X, [1], [5], [2], [3]), _slice(_X, [0], [5], [2]),
    _slice(_X, [-1], [_MIN], [2], [-1]), _slice(_X, [-1], [-6], [2], [-1]), _slice(_X, [4], [0], [2], [-2]),
    _slice(_X, [3, 1, -1], [0, 3, _MIN], [1, 0, 2], [-1, 1, -3]), _slice(_X, [100], [-100], [1], [-3]),
    _slice(_B, [2], [_MIN], [0], [-1]), _slice(_X.astype(np.float16), [1], [2], [0]),
]  # fmt: skip
_POINTS = [
    (np.array([[0, 1], [-1, -1]]), 0), (np.array([[[2]], [[-1]], [[0]]]), 1),
    (np.array([[[0, 1]], [[1, 1]], [[-1, 0]]]), 1), (_RNG.integers(-5, 5, (3, 4, 1)), 2), (np.array([1, 2, -3]), 0),
]  # fmt: skip
_PAIR = np.array([[5, 6], [7, 8]], np.float32)
GATHERS = [
    *[case("Gather", x, np.array(i), constant=k, axis=a)
      for x in (_X, _B) for i in (1, -1, [0, -2], [[1, 0], [-1, 2]]) for a in (0, -1) for k in ((), (1,))],
    case("Gather", _X[0, 0], np.array(-2)), case("Gather", _I[0, 0], np.array(3), constant=(1,)),
    *[case("GatherElements", x, i, constant=k, axis=a)
      for x in (_X, _B) for i, a in ((np.array([[[0, -1, 1, 2, 0]]]), 0), (_RNG.integers(-4, 4, (3, 6, 2)), 1))
      for k in ((), (1,))],
    *[case("GatherND", x, i, constant=(1,), batch_dims=n) for x in (_X, _B) for i, n in _POINTS],
    *[case("Compress", x, np.array([0, 1, 1], bool), constant=(1,), axis=0) for x in (_X, _B)],
    case("Compress", _X, np.array([0, 1, 1, 0, 1], bool), constant=(1,)),
]  # fmt: skip
FED_GATHERS = [case("GatherND", x, i, batch_dims=n) for x in (_X, _B) for i, n in _POINTS]
# The MIL ops of these are not folded by coremltools.
SCATTERS = [
    *[case("ScatterND", x, np.array([[0, 1], [-1, -1]]), x[1, 1:3], constant=k, reduction=r)
      for x in (_X, _I) for r in ("none", "add", "mul", "max", "min") for k in ((), (1,))],
    case("ScatterND", _B, np.array([[1]]), _B[:1]),
    *[case("ScatterElements", _X[:, :, 0], np.array([[0, 0], [-1, 1]]), _PAIR, axis=1, reduction=r)
      for r in ("add", "mul", "max", "min")],
    case("ScatterElements", _X[:, :, 0], np.array([[0, 2], [-1, 1]]), _PAIR, axis=0),
]  # fmt: skip
_ROW = np.array([[1, -1, 0, 2]]), np.array([[1, 2, 3, 4]], np.float32)


@pytest.mark.parametrize("target", ["iOS15", "iOS18"])
@pytest.mark.parametrize("c", [*PIECES, *SLICES, *GATHERS], ids=str)
def test_matches_onnx(c: Case, target: str) -> None:
    assert_right(c, target)


@pytest.mark.parametrize("target", ["iOS15", "iOS18"])
@pytest.mark.parametrize("c", SCATTERS, ids=str)
def test_scatters_match_onnx(c: Case, target: str) -> None:
    assert_right(c, target, folds=False)


@pytest.mark.parametrize("target", ["iOS15", "iOS18"])
@pytest.mark.parametrize("c", FED_GATHERS, ids=str)
def test_gathers_of_fed_points_match_onnx(c: Case, target: str) -> None:
    assert_equal(ran(c, target)[0], reference(c)[0])
    assert "gather_nd" in mil_ops(c, target)


@pytest.mark.parametrize("target", ["iOS15", "iOS18"])
def test_scatter_along_an_axis_that_the_indices_cover(target: str) -> None:
    indices, updates = _ROW
    assert_right(case("ScatterElements", _X[:, :, 0], indices, updates, axis=0), target)
    assert "scatter_along_axis" in mil_ops(case("ScatterElements", _X[:, :, 0], indices, updates, axis=0), target)


def test_scatter_is_never_folded_in_the_wrong_mode() -> None:
    indices, updates = _ROW
    for reduction in ("add", "max"):
        c = case("ScatterElements", _X[:, :, 0], indices, updates, axis=0, reduction=reduction)
        assert folded(c) == [None]


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
def test_scatter_writes_its_mode_out(reduction: str) -> None:
    indices, updates = _ROW
    mode = "update" if reduction == "none" else reduction
    along = case("ScatterElements", _X[:, :, 0], indices, updates, axis=0, reduction=reduction)
    nd = case("ScatterND", _X, np.array([[0]]), _X[:1], reduction=reduction)
    assert find_op(along, "scatter_along_axis").mode.val == mode
    assert find_op(nd, "scatter_nd").mode.val == mode


def test_a_start_before_the_front_is_the_front_going_backwards() -> None:
    # ONNX clamps it to 0 (onnxruntime does, too); numpy, and onnx's reference implementation, find nothing there.
    c = _slice(_X, [-9], [_MIN], [1], [-2])
    assert_right(Case(c.type, c.operands, constant=c.constant, want=(_X[:, :1],)))


def test_mil_never_steps_backwards() -> None:
    c = _slice(_X, [-1], [_MIN], [2], [-2])
    assert mil_ops(c) == ["reverse", "slice_by_index"]
    assert (find_op(c, "slice_by_index").stride.val > 0).all()
    assert mil_ops(_slice(_X, [-1], [_MIN], [2], [-1])) == ["reverse"]


def test_one_constant_index_is_a_slice() -> None:
    assert mil_ops(case("Gather", _X, np.array(-1), constant=(1,), axis=1)) == ["slice_by_index", "squeeze"]


def test_indices_are_guarded_unless_they_cannot_be_negative() -> None:
    guard = ["less", "select"]
    signed, unsigned = (case("Gather", _X, np.array([1, 2], d)) for d in (np.int64, np.uint8))
    assert set(guard) <= set(mil_ops(signed))
    assert not set(guard) & set(mil_ops(Case("Gather", unsigned.operands, {}, want=(_X[[1, 2]],))))
    assert not set(guard) & set(mil_ops(case("Gather", _X, np.array([1, -2]), constant=(1,))))


def _chain(*ops: Op) -> Graph:
    g = Graph()
    g.set_opsets({"": 24})
    g.add_input("x", TensorType(DType.FLOAT, (3, 4)))
    g.add_value("data", const=Const.of(_X[0]))
    g.add_value("one", const=Const.of(np.array([1])))
    for op in ops:
        g.add_op(op)
    for name, kind in (("best", (3,)), ("next", (3,)), ("rows", (3, 5))):
        if name in g.nodes:
            g.add_value(name, TensorType(DType.FLOAT if name == "rows" else DType.INT64, kind))
    g.set_outputs(["rows"])
    return g


@pytest.mark.parametrize(("op", "guarded"), [("Add", False), ("Sub", True)])
def test_what_argmax_gives_stays_non_negative_through_a_sum(op: str, guarded: bool) -> None:
    from coregraft.lowering import targets
    from coregraft.lowering.program import lower_graph
    from tests.lowering.mil_numpy import op_types

    g = _chain(
        Op("ArgMax", ("x",), ("best",), {"axis": 1, "keepdims": 0}),
        Op(op, ("best", "one"), ("next",)),
        Op("Gather", ("data", "next"), ("rows",)),
    )
    assert ("select" in op_types(lower_graph(g, targets.get("iOS17")).program)) == guarded


def test_reverse_sequence() -> None:
    c = case("ReverseSequence", _X, np.array([1, 3, 2]), batch_axis=0, time_axis=1)
    op = find_op(c, "reverse_sequence")
    assert (op.batch_axis.val, op.seq_axis.val) == (0, 1)
    other = find_op(case("ReverseSequence", _X, np.array([1, 3, 2, 1]), batch_axis=1, time_axis=0), "reverse_sequence")
    assert (other.batch_axis.val, other.seq_axis.val) == (1, 0)


def test_non_zero_has_a_row_for_each_axis() -> None:
    x = np.array([[0, 2, 0], [1, 0, 3]], np.float32)
    found = folded(case("NonZero", x))[0]
    assert found is not None
    np.testing.assert_array_equal(found, np.array(np.nonzero(x)))
    assert lowered(case("NonZero", x, want=[np.zeros((2, 3), np.int64)])).program is not None


_CACHE, _NEW = (_RNG.standard_normal((2, 3, n, 4)).astype(np.float32) for n in (6, 2))


@pytest.mark.parametrize(
    "c",
    [
        case("TensorScatter", _CACHE, _NEW),
        case("TensorScatter", _CACHE, _NEW, np.array([1, 4])),
        case("TensorScatter", _CACHE, _NEW, np.array([1, 5]), mode="circular"),
        case("TensorScatter", _CACHE[:, 0], _NEW[:, 0], np.array([4, 0]), axis=1),
        case("TensorScatter", _CACHE, _CACHE[::-1]),
        case("TensorScatter", _CACHE > 0, _NEW > 0, np.array([1, 4])),
    ],
    ids=str,
)
def test_cache_writes(c: Case) -> None:
    assert_right(c)


@pytest.mark.parametrize(
    "c",
    [
        _slice(_X, [2], [1], [0]),
        case("Slice", _X, np.array([0]), np.array([2]), None, np.array([0]), constant=(1, 2, 4), want=[_X]),
        case("Split", _X, np.array([0, 4]), constant=(1,), outputs=2, axis=1),
        case("Split", _X, np.array([1, 1]), constant=(1,), outputs=2, axis=1, want=[_X[:, :1], _X[:, 1:2]]),
        case("Concat", _X[:0], _X[:0], axis=0, constant=(1,), want=[_X[:0]]),
        case("Compress", _X, np.zeros(3, bool), constant=(1,), axis=0),
        case("Gather", _X[None], np.zeros((1, 1, 1), np.int64), constant=(1,), axis=0),
        case("Softmax", _X, axis=3, want=[_X]),
    ],
    ids=str,
)
def test_refused(c: Case) -> None:
    with pytest.raises(UnsupportedError) as error:
        folded(c)
    assert error.value.code == "op-unsupported"


@pytest.mark.parametrize("i", [1, 2])
@pytest.mark.parametrize(("start", "end"), [(0, 2), (-1, 9), (1, -1), (-9, 1)])
def test_slice_between_places_of_the_run_time(i: int, start: int, end: int) -> None:
    constant = tuple({1, 2} - {i})
    agree(case("Slice", _X, np.array([start]), np.array([end]), np.array([2]), constant=(*constant, 3)))
    agree(case("Slice", _X, np.array([end]), np.array([start - 4]), np.array([2]), np.array([-1]),
               constant=(*constant, 3, 4)))  # fmt: skip


@pytest.mark.parametrize("i", [3, 4])
def test_slice_axes_and_steps_must_be_known(i: int) -> None:
    operands = _X, np.array([0]), np.array([2]), np.array([1]), np.array([1])
    with pytest.raises(UnsupportedError) as error:
        ran(case("Slice", *operands, constant=tuple({1, 2, 3, 4} - {i})))
    assert error.value.code == "const-needed"
