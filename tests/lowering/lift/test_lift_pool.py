"""Pools of lifted packages against windows enumerated as the MIL ops document them."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coregraft.rewriter.types import Array
from tests.lowering.lift.one_op import agree, lift_program, mb, program_of, refusal, run_graph

KINDS = ("max_pool", "avg_pool", "avg_pool excluding", "l2_pool")


def _image(*shape: int) -> Array:
    return np.random.default_rng(3).standard_normal(shape).astype(np.float32)


def _expected(
    kind: str, x: Array, kernel: list[int], strides: list[int], pads: list[tuple[int, int]], ceil: bool
) -> Array:
    """Each window by itself, its elements and the padding told apart."""
    counts = []
    for size, k, s, (begin, end) in zip(x.shape[2:], kernel, strides, pads, strict=True):
        room = size + begin + end - k
        count = (-(-room // s) if ceil else room // s) + 1
        if ceil and (begin or end) and (count - 1) * s >= size + begin:
            count -= 1
        counts.append(count)
    y = np.zeros((*x.shape[:2], *counts))
    for index in product(*(range(c) for c in counts)):
        at: Any = (..., *index)
        spans = zip(index, x.shape[2:], kernel, strides, pads, strict=True)
        begins = [(i * s - begin, k, size) for i, size, k, s, (begin, _) in spans]
        inside: Any = tuple(slice(max(0, b), max(0, min(size, b + k))) for b, k, size in begins)
        window = x[(slice(None), slice(None), *inside)].reshape(*x.shape[:2], -1).astype(np.float64)
        empty = window.shape[-1] == 0
        if kind == "max_pool":
            y[at] = np.finfo(np.float32).min if empty else window.max(-1)
        elif kind == "avg_pool":
            y[at] = window.sum(-1) / np.prod(kernel)
        elif kind == "avg_pool excluding":
            y[at] = np.nan if empty else window.mean(-1)
        else:
            y[at] = np.sqrt((window**2).sum(-1))
    return y


def _build(kind: str, **options: Any) -> Any:
    name, _, excluding = kind.partition(" ")
    extra = {"exclude_padding_from_average": bool(excluding)} if name == "avg_pool" else {}
    return lambda x: getattr(mb, name)(x=x, **extra, **options)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_any_geometry(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(KINDS))
    n = data.draw(st.integers(1, 2 if kind == "l2_pool" else 3))
    kernel = [data.draw(st.integers(1, 4)) for _ in range(n)]
    strides = [data.draw(st.integers(1, 3)) for _ in range(n)]
    ceil = n < 3 and data.draw(st.booleans())
    pads = []
    for k in kernel:
        begin = data.draw(st.integers(0, k // 2))
        pads.append((begin, begin if ceil else data.draw(st.integers(0, k // 2))))
    x = _image(1, 2, *(data.draw(st.integers(5, 8)) for _ in range(n)))
    custom = {"pad_type": "custom", "pad": [p for pair in pads for p in pair]}
    options: dict[str, Any] = {"kernel_sizes": kernel, "strides": strides, **custom}
    if kind != "l2_pool" or ceil:
        options["ceil_mode"] = ceil
    want = _expected(kind, x, kernel, strides, pads, ceil)
    program = program_of(_build(kind, **options), {"x": x})
    graph = lift_program(program)
    (result,) = run_graph(graph, {"x": x}).values()
    np.testing.assert_allclose(result, want, rtol=1e-4, atol=1e-5)
    if not ceil:
        assert graph.graph["lift_warnings"] == ()


@pytest.mark.parametrize("kind", KINDS)
def test_a_window_that_starts_outside_the_input_is_kept_where_there_is_no_padding(kind: str) -> None:
    x = _image(1, 1, 6)
    options = {"kernel_sizes": [1], "strides": [4], "pad_type": "valid", "ceil_mode": True}
    want = _expected(kind, x, [1], [4], [(0, 0)], True)
    assert want.shape[2] == 3
    agree(_build(kind, **options), {"x": x}, want=want, doubts=1)


@pytest.mark.parametrize("kind", ["avg_pool", "l2_pool"])
def test_what_a_window_overhangs_counts_as_zeros(kind: str) -> None:
    x = _image(1, 1, 6)
    options = {"kernel_sizes": [3], "strides": [2], "pad_type": "custom", "pad": [1, 1], "ceil_mode": True}
    agree(_build(kind, **options), {"x": x}, want=_expected(kind, x, [3], [2], [(1, 1)], True), doubts=1)


def test_what_a_window_overhangs_does_not_matter_without_padding_in_the_average() -> None:
    x = _image(1, 1, 6)
    options = {"kernel_sizes": [3], "strides": [2], "pad_type": "custom", "pad": [1, 1], "ceil_mode": True}
    kind = "avg_pool excluding"
    agree(_build(kind, **options), {"x": x}, want=_expected(kind, x, [3], [2], [(1, 1)], True))


@pytest.mark.parametrize("kind", KINDS)
def test_padding_wider_than_the_window(kind: str) -> None:
    x = _image(1, 2, 5)
    options = {"kernel_sizes": [2], "strides": [1], "pad_type": "custom", "pad": [3, 2]}
    want = _expected(kind, x, [2], [1], [(3, 2)], False)
    agree(_build(kind, **options), {"x": x}, want=want, doubts=int("max" in kind or "excluding" in kind))


@pytest.mark.parametrize("pad_type, pads", [("same", (1, 2)), ("same_lower", (2, 1))])
@pytest.mark.parametrize("kind", KINDS)
def test_same(kind: str, pad_type: str, pads: tuple[int, int]) -> None:
    x = _image(1, 2, 6)
    options = {"kernel_sizes": [5], "strides": [2], "pad_type": pad_type}
    agree(_build(kind, **options), {"x": x}, "iOS16", want=_expected(kind, x, [5], [2], [pads], False), doubts=1)


@pytest.mark.parametrize("kind", ["max_pool", "avg_pool excluding"])
def test_ceil_of_a_size_that_is_not_fixed(kind: str) -> None:
    graph = lift_program(_free(kind, [1, 1]))
    for size in (6, 7, 8):
        x = _image(1, 2, size)
        (result,) = run_graph(graph, {"x": x}).values()
        np.testing.assert_allclose(result, _expected(kind, x, [3], [2], [(1, 1)], True), rtol=1e-4, atol=1e-5)
    assert graph.graph["lift_warnings"] == ()


def test_ceil_without_padding_of_a_size_that_is_not_fixed_is_reported() -> None:
    assert "dropped" in lift_program(_free("max_pool", [0, 0])).graph["lift_warnings"][0]


def test_an_average_with_padding_and_ceil_of_a_size_that_is_not_fixed_is_refused() -> None:
    from coregraft.rewriter.errors import UnsupportedError

    with pytest.raises(UnsupportedError) as caught:
        lift_program(_free("avg_pool", [1, 1]))
    assert caught.value.code == "lift-op-unsupported"


def _free(kind: str, pad: list[int]) -> Any:
    from coremltools.converters.mil.mil import get_new_symbol, types

    options = {"kernel_sizes": [3], "strides": [2], "pad_type": "custom", "pad": pad, "ceil_mode": True}
    x = mb.placeholder(shape=(1, 2, get_new_symbol()), dtype=types.fp32)
    return program_of(_build(kind, **options), {"x": _image(1, 2, 6)}, x=x)


def test_a_pad_that_is_ignored_is_reported() -> None:
    x = _image(1, 1, 6)
    options = {"kernel_sizes": [2], "strides": [2], "pad_type": "valid", "pad": [1, 1]}
    agree(_build("max_pool", **options), {"x": x}, want=_expected("max_pool", x, [2], [2], [(0, 0)], False), doubts=1)


def test_negative_padding_is_refused() -> None:
    options = {"kernel_sizes": [2], "strides": [1], "pad_type": "custom", "pad": [-1, 0]}
    assert "negative" in refusal(_build("max_pool", **options), {"x": _image(1, 1, 6)}).message
