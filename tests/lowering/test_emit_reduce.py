"""Reductions, arg-reductions, running sums and TopK against ONNX's reference implementation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.rewriter.errors import UnsupportedError
from tests.lowering.fold_harness import Case, assert_right, case, find_op, folded, mil_ops

_RNG = np.random.default_rng(7)
_X = _RNG.uniform(0.1, 3, (2, 3, 4)).astype(np.float32)
_I = _RNG.integers(-5, 6, (2, 3, 4)).astype(np.int32)
_OPS = ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "LogSum", "LogSumExp", "SumSquare")


def _reduce(op: str, x: Any, axes: Any = None, **attrs: Any) -> Case:
    operands = [x] if axes is None else [x, np.array(axes, np.int64)]
    return case(f"Reduce{op}", *operands, constant=(1,), **attrs)


def _running(x: Any, axis: int, exclusive: int, reverse: int) -> Any:
    """CumProd by its definition; the op is younger than the internal opset."""
    ordered = np.flip(x, axis) if reverse else x
    if exclusive:
        ones = np.ones_like(np.take(ordered, [0], axis))
        ordered = np.concatenate([ones, np.delete(ordered, -1, axis)], axis)
    products = np.cumprod(ordered, axis, dtype=x.dtype)
    return np.flip(products, axis) if reverse else products


REDUCE = [
    *[_reduce(op, _X, axes, keepdims=k) for op in _OPS for axes in (None, [1], [-1, 0], [0, 1, 2]) for k in (0, 1)],
    *[_reduce(op, _X, np.zeros(0), noop_with_empty_axes=1) for op in _OPS],
    *[_reduce(op, _X, np.zeros(0), keepdims=0) for op in ("Sum", "LogSumExp")],
    *[_reduce(op, _I, axes) for op in ("Sum", "Max", "Min", "Prod", "L1", "SumSquare") for axes in (None, [1])],
    *[_reduce(op, np.float32(-1.5)) for op in ("Sum", "Max", "L1", "SumSquare")],
    *[_reduce(op, _I > 1, [1]) for op in ("Max", "Min")],
    *[_reduce(op, _X.astype(np.float16), [2]) for op in ("Sum", "Mean", "LogSumExp")],
    *[_reduce(op, _I.astype(np.uint8) % 5, [0]) for op in ("Max", "Min")],
    _reduce("LogSumExp", np.array([[500, 499.5, -400], [-90, -95, -100]], np.float32), [1]),
]
# numpy's mean of integers, which the reference implementation takes, is cut off; stated here for negatives, too.
MEANS = [
    _reduce("Mean", np.array([[7, -8, 2], [-7, -2, 1]], np.int32), [1], keepdims=0),
    case("ReduceMean", np.array([[-7, -2]], np.int64), want=[np.array([[-4]], np.int64)]),
    _reduce("Mean", np.array([[7, 8]], np.uint32), [1]),
]
ARG = [
    *[case(op, _X, axis=a, keepdims=k, select_last_index=s)
      for op in ("ArgMax", "ArgMin") for a in (0, -1) for k in (0, 1) for s in (0, 1)],
    *[case(op, np.array([[3, 1, 3, 1]], np.float32), axis=1, select_last_index=s)
      for op in ("ArgMax", "ArgMin") for s in (0, 1)],
    *[case("ArgMax", np.array([3, 9, 9], np.int32), axis=0, keepdims=0, select_last_index=s) for s in (0, 1)],
]  # fmt: skip
SUMS = [
    *[case("CumSum", x, np.array(a), constant=(1,), exclusive=e, reverse=r)
      for x in (_X, _I) for a in (0, 1, -2) for e in (0, 1) for r in (0, 1)],
]  # fmt: skip
PRODUCTS = [
    *[case("CumProd", x, np.array(a), constant=(1,), exclusive=e, reverse=r, want=[_running(x, a, e, r)])
      for x in (_X, _I) for a in (0, -1) for e in (0, 1) for r in (0, 1)],
    case("CumProd", _X[:1], np.array(0), constant=(1,), exclusive=1, want=[np.ones((1, 3, 4), np.float32)]),
]  # fmt: skip
TOPK = [
    *[case("TopK", _X, np.array([2]), constant=(1,), outputs=2, axis=a, largest=g) for a in (0, 1, -1) for g in (0, 1)],
    case("TopK", np.array([[5, -3, 9, 0]], np.int64), np.array([3]), constant=(1,), outputs=2),
    case("TopK", np.array([5, 250, 9], np.uint8), np.array([3]), constant=(1,), outputs=2),
]


@pytest.mark.parametrize("target", ["iOS15", "iOS18"])
@pytest.mark.parametrize("c", [*REDUCE, *ARG, *SUMS, *PRODUCTS, *TOPK], ids=str)
def test_matches_onnx(c: Case, target: str) -> None:
    assert_right(c, target)


@pytest.mark.parametrize("c", MEANS, ids=str)
def test_integer_means_are_cut_off(c: Case) -> None:
    assert_right(c)
    assert "reduce_mean" not in mil_ops(c)


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_log_sum_exp_of_infinities(value: float) -> None:
    x = np.full((1, 3), value, np.float32)
    assert_right(case("ReduceLogSumExp", x, np.array([1]), constant=(1,), want=[np.array([[value]], np.float32)]))


def test_exclusive_sum_of_a_fed_value_is_one_op() -> None:
    c = case("CumSum", _X, np.array(1), constant=(1,), exclusive=1)
    assert mil_ops(c) == ["cumsum"]
    assert find_op(c, "cumsum").exclusive.val


@pytest.mark.parametrize("k", [0, 4])
def test_topk_of_more_than_there_are_is_refused(k: int) -> None:
    x = np.array([1, 2, 3], np.float32)
    with pytest.raises(UnsupportedError, match="the axis has 3 elements"):
        folded(case("TopK", x, np.array([k]), outputs=2, want=[np.zeros(k, np.float32), np.zeros(k, np.int64)]))


def test_axes_must_be_known() -> None:
    with pytest.raises(UnsupportedError) as error:
        mil_ops(case("ReduceSum", _X, np.array([1])))
    assert error.value.code == "const-needed"


def test_empty_tensors_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="empty"):
        folded(case("ReduceSum", np.zeros((2, 0), np.float32), want=[np.zeros((1, 1), np.float32)]))
