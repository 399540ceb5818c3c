"""The pools against onnxruntime, with weight on what MIL does otherwise: the last window, padding, divisors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from coregraft.rewriter.errors import UnsupportedError
from tests.lowering.agreement import agree, by_runtime, mil_op
from tests.lowering.fold_harness import Case, case, lowered

_RNG = np.random.default_rng(12)


def floats(*shape: int, dtype: Any = np.float32) -> Any:
    return _RNG.standard_normal(shape).astype(dtype)


POOLS = [
    case("MaxPool", floats(1, 2, 7), kernel_shape=[3], strides=[2]),
    case("MaxPool", floats(1, 2, 7, 8) - 9, kernel_shape=[3, 2], strides=[2, 3], pads=[1, 0, 2, 1]),
    case("MaxPool", floats(1, 2, 4, 5, 6), kernel_shape=[2, 3, 2], pads=[1, 1, 0, 0, 2, 1]),
    case("MaxPool", floats(1, 2, 7, 7), kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_LOWER"),
    case("AveragePool", floats(1, 2, 7), kernel_shape=[3], strides=[2], pads=[1, 0]),
    case("AveragePool", floats(1, 2, 7, 8), kernel_shape=[3, 2], pads=[1, 0, 2, 1], count_include_pad=1),
    case("AveragePool", floats(1, 2, 4, 5, 6), kernel_shape=[2, 3, 2], strides=[2, 1, 3]),
    case("AveragePool", floats(1, 2, 7, 7), kernel_shape=[4, 3], strides=[2, 2], auto_pad="SAME_UPPER"),
]
CEIL = [
    case("AveragePool", floats(1, 2, 8), kernel_shape=[3], strides=[2], ceil_mode=1),
    case("AveragePool", floats(1, 2, 8), kernel_shape=[3], strides=[2], ceil_mode=1, pads=[1, 1], count_include_pad=1),
    case("AveragePool", floats(1, 2, 9, 6), kernel_shape=[7, 4], strides=[4, 3], pads=[3, 1, 3, 1], ceil_mode=1),
    case("MaxPool", floats(1, 2, 6), kernel_shape=[1], strides=[4], ceil_mode=1),  # MIL would look past the input
    case("MaxPool", floats(1, 2, 9, 10), kernel_shape=[3, 2], strides=[2, 3], pads=[1, 1, 0, 0], ceil_mode=1),
    case("MaxPool", floats(1, 2, 5, 6, 7), kernel_shape=[2, 2, 2], strides=[2, 2, 2], ceil_mode=1),
]


@pytest.mark.parametrize("c", [*POOLS, *CEIL], ids=str)
def test_pools_agree(c: Case) -> None:
    agree(c)


@pytest.mark.parametrize("c", POOLS, ids=str)
def test_a_pool_is_one_op(c: Case) -> None:
    assert agree(c) == ["max_pool" if c.type == "MaxPool" else "avg_pool"]


@pytest.mark.parametrize("c", CEIL, ids=str)
def test_ceil_mode_is_never_left_to_mil(c: Case) -> None:
    op = mil_op(by_runtime(c), "max_pool" if c.type == "MaxPool" else "avg_pool")
    assert not op.ceil_mode.val
    assert op.pad_type.val == "custom"


def test_declared_padding_counts_and_overhang_does_not() -> None:
    window: dict[str, Any] = {"kernel_shape": [4], "strides": [3], "pads": [1, 0], "ceil_mode": 1}
    c = case("AveragePool", np.ones((1, 1, 7), np.float32), count_include_pad=1, **window)
    assert agree(c) == ["avg_pool", "mul"]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_window(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["MaxPool", "AveragePool"]))
    kernel, stride, size = (data.draw(st.integers(1, hi)) for hi in (5, 4, 9))
    begin, end = data.draw(st.integers(0, kernel - 1)), data.draw(st.integers(0, kernel - 1))
    assume(size + begin + end >= kernel)
    attrs: dict[str, Any] = {"kernel_shape": [kernel], "strides": [stride], "pads": [begin, end]}
    attrs["ceil_mode"] = data.draw(st.integers(0, 1))
    if kind == "AveragePool":
        attrs["count_include_pad"] = data.draw(st.integers(0, 1))
    agree(case(kind, floats(1, 2, size), **attrs))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_max_pool_of_integers(dtype: Any) -> None:
    x = _RNG.integers(0, 100, (1, 2, 6)).astype(dtype)
    assert "max_pool" in agree(case("MaxPool", x, kernel_shape=[3], pads=[1, 1]))


@pytest.mark.parametrize("p", [1, 2, 3])
def test_norm_pools(p: int) -> None:
    agree(case("LpPool", floats(1, 2, 7, 8), kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1], p=p))
    assert "conv" in agree(case("LpPool", floats(1, 2, 7, 8), kernel_shape=[3, 2], dilations=[2, 3], p=p))
    x = floats(2, 3, 4, 5)
    want = (np.abs(x) ** p).sum(axis=(2, 3), keepdims=True) ** (1 / p)  # onnxruntime has no such op at this opset
    agree(case("GlobalLpPool", x, p=p, want=(want,)))


@pytest.mark.parametrize("kind", ["GlobalAveragePool", "GlobalMaxPool"])
@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 5), (1, 2, 3, 2, 3)])
def test_global_pools(kind: str, shape: tuple[int, ...]) -> None:
    assert agree(case(kind, floats(*shape))) == ["reduce_mean" if kind == "GlobalAveragePool" else "reduce_max"]


def test_half_precision() -> None:
    agree(case("MaxPool", floats(1, 2, 7, dtype=np.float16), kernel_shape=[3]), "iOS15")


def _refused(message: str, c: Case) -> None:
    with pytest.raises(UnsupportedError, match=message) as caught:
        lowered(by_runtime(c) if c.want is None else c)
    assert caught.value.code == "op-unsupported"


def test_what_the_pools_of_core_ml_cannot_do_is_refused() -> None:
    _refused("dilation", case("MaxPool", floats(1, 2, 9), kernel_shape=[3], dilations=[2]))
    _refused("dilation", case("AveragePool", floats(1, 2, 9), kernel_shape=[3], dilations=[2]))
    same = case("LpPool", floats(1, 2, 9), kernel_shape=[3], dilations=[2], auto_pad="SAME_UPPER")
    _refused("disagree about auto_pad SAME", same)
    _refused("Indices", case("MaxPool", floats(1, 2, 9), kernel_shape=[3], outputs=2))
    want = (np.zeros((1, 2, 13), np.float32),)
    _refused("nothing but padding", case("AveragePool", floats(1, 2, 9), kernel_shape=[2], pads=[3, 2], want=want))
