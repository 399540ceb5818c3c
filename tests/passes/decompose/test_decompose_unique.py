"""Unique by comparisons, against onnxruntime's and numpy's."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coregraft.passes.decompose.decompose_unique import DecomposeUnique
from coregraft.rewriter.types import DType, TensorType

RULE = DecomposeUnique()


def case(harness: Any, x: Any, outputs: tuple[bool, ...] = (True,) * 4, **attrs: int) -> Any:
    """A graph of one Unique whose results have the shapes that onnxruntime finds, and its feeds."""
    g, feeds = harness.graph("Unique", [x], outputs=outputs, **attrs)
    for value, result in zip(g.outputs.values(), harness.run(g, feeds), strict=True):
        kind = g.tensor_type(value)
        g.nodes[value]["type"] = TensorType(kind.dtype, result.shape)
    return g, feeds


def data(dtype: Any, *shape: int) -> Any:
    return np.random.default_rng(3).integers(0, 4, shape).astype(dtype)


@pytest.mark.parametrize("ordered", [0, 1])
@pytest.mark.parametrize("axis", [None, 0, 1, -1])
@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.int8])
def test_axes(harness: Any, axis: int | None, ordered: int, dtype: Any) -> None:
    x = data(dtype, 6, 2, 2)[:, :, :1] % 2
    g, feeds = case(harness, x, sorted=ordered) if axis is None else case(harness, x, sorted=ordered, axis=axis)
    harness.same(RULE, g, feeds)


@pytest.mark.parametrize("outputs", [o for o in itertools.product((True, False), repeat=4) if o[0] or any(o[1:])])
def test_every_subset_of_results(harness: Any, outputs: tuple[bool, ...]) -> None:
    if not outputs[0]:  # not optional: it is there and unused
        g, feeds = case(harness, data(np.float32, 9), (True, *outputs[1:]))
        g.set_outputs(list(g.outputs)[1:])
    else:
        g, feeds = case(harness, data(np.float32, 9), outputs)
    harness.same(RULE, g, feeds)


def test_of_onnxruntime(harness: Any) -> None:
    g, feeds = harness.graph("Unique", [np.array([3, 1, 3, 2, 1], np.float32)], outputs=3, domain="com.microsoft")
    g.nodes["y0"]["type"] = TensorType(DType.FLOAT, (3,))
    harness.same(RULE, g, feeds)
    harness.converts(g, feeds)


@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(st.lists(st.integers(-2, 2), min_size=3, max_size=3), min_size=1, max_size=8),
    ordered=st.booleans(),
    along=st.booleans(),
)
def test_against_onnxruntime(harness: Any, rows: list[list[int]], ordered: bool, along: bool) -> None:
    x = np.array(rows, np.int64)
    g, feeds = case(harness, x, sorted=int(ordered), axis=0) if along else case(harness, x, sorted=int(ordered))
    harness.same(RULE, g, feeds)


@pytest.mark.parametrize("ordered", [0, 1])
@pytest.mark.parametrize(
    "x", [data(np.float32, 40), -data(np.float32, 40, 1), np.array([0, -0.0, 1, -1, 0, 1, 1, 1], np.float32)]
)
def test_many_floats_are_sorted(harness: Any, x: Any, ordered: int) -> None:
    g, feeds = case(harness, x, sorted=ordered)
    after = harness.same(dataclasses.replace(RULE, max_elements=max(x.size**2 - 1, 0)), g, feeds)
    assert "TopK" in after.types


@pytest.mark.parametrize("ordered", [0, 1])
@pytest.mark.parametrize("axis", [None, 0])
def test_without_a_declared_size(harness: Any, axis: int | None, ordered: int) -> None:
    attrs = {"sorted": ordered} if axis is None else {"sorted": ordered, "axis": axis}
    g, feeds = harness.graph("Unique", [data(np.float32, 7, 2) % 2], outputs=4, **attrs)
    harness.same(RULE, g, feeds)
    for kind in ("mlprogram", "neuralnetwork"):
        harness.converts(g, feeds, kind)


def test_the_inverse_needs_no_size(harness: Any) -> None:
    g, feeds = harness.graph("Unique", [data(np.float32, 9)], outputs=4)
    g.set_outputs({"inverse": "y2"})
    assert "NonZero" not in harness.same(RULE, g, feeds).types
    g, feeds = harness.graph("Unique", [data(np.float32, 1)], outputs=4)
    assert "NonZero" not in harness.same(RULE, g, feeds).types


@pytest.mark.parametrize(
    ("x", "limit", "reason"),
    [
        (data(np.int64, 9), 80, "more than max-elements=80"),
        (data(np.float32, 9), 8, "more than max-elements=8"),
        (data(np.float32, 0), 80, "empty"),
    ],
)
def test_declines(harness: Any, x: Any, limit: int, reason: str) -> None:
    g, _ = case(harness, x)
    harness.declines(DecomposeUnique(max_elements=limit), g, reason)


@pytest.mark.parametrize("format", ["mlprogram", "neuralnetwork"])
@pytest.mark.parametrize("ordered", [0, 1])
@pytest.mark.parametrize("x", [data(np.float32, 4, 3), data(np.int64, 12)], ids=["matrix", "integers"])
def test_converted(harness: Any, format: str, ordered: int, x: Any) -> None:
    g, feeds = case(harness, x, sorted=ordered)
    harness.converts(g, feeds, format)
    if x.ndim > 1:
        g, feeds = case(harness, x % 2, sorted=ordered, axis=0)
        harness.converts(g, feeds, format)


def test_the_report_says_what_is_trusted(harness: Any) -> None:
    import coregraft

    g, _ = case(harness, data(np.float32, 9))
    (warning,) = coregraft.convert(g, fallback="error").report.warnings
    assert "agree with the shape that is declared" in warning
    g.set_outputs({"inverse": "y2"})
    assert not coregraft.convert(g, fallback="error").report.warnings


def test_great_integers_stay_apart(harness: Any) -> None:
    x = np.array([2**24, 2**24 + 1, 2**30 + 1, 2**24, 2**30], np.int64)
    g, feeds = case(harness, x)
    harness.converts(g, feeds)
