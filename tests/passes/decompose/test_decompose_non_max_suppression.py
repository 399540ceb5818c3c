"""decompose-non-max-suppression: what onnxruntime selects, in its order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.decompose_non_max_suppression import DecomposeNonMaxSuppression
from coregraft.rewriter.types import Array, Const

from .conftest import Harness

RULE = DecomposeNonMaxSuppression()
RNG = np.random.default_rng(21)


def boxes(images: int, count: int) -> Array:
    corner = RNG.random((images, count, 2))
    return np.concatenate([corner, corner + RNG.random((images, count, 2)) * 0.5], 2).astype(np.float32)


def scores(images: int, classes: int, count: int) -> Array:
    return RNG.random((images, classes, count)).astype(np.float32)


def const(value: Any, dtype: Any = np.float32) -> Const:
    return Const.of(np.array([value], dtype))


@pytest.mark.parametrize("centred", [0, 1])
@pytest.mark.parametrize(("overlap", "least"), [(0.3, 0.4), (0.0, 0.2), (0.7, None), (None, None), (0.5, 0.99)])
def test_thresholds(harness: Harness, centred: int, overlap: float | None, least: float | None) -> None:
    operands = [boxes(2, 9), scores(2, 3, 9), const(4, np.int64)]
    operands += [None if t is None else const(t) for t in (overlap, least)]
    g, feeds = harness.graph("NonMaxSuppression", operands, center_point_box=centred)
    found = harness.same(RULE, g, feeds)
    assert "NonMaxSuppression" not in found.types


def test_flipped_corners_and_equal_scores(harness: Harness) -> None:
    flipped = boxes(1, 6)[:, :, [2, 1, 0, 3]]
    even = np.full((1, 1, 6), 0.5, np.float32)
    g, feeds = harness.graph("NonMaxSuppression", [flipped, even, const(6, np.int64), const(0.2), const(0.0)])
    harness.same(RULE, g, feeds)


@pytest.mark.parametrize("limit", [1, 2, 50])
def test_everything_at_run_time(harness: Harness, limit: int) -> None:
    thresholds = [np.array([t], np.float32) for t in (0.3, 0.1)]
    operands = [boxes(1, 7), scores(1, 2, 7), np.array([limit]), *thresholds]
    g, feeds = harness.graph("NonMaxSuppression", operands)
    harness.same(RULE, g, feeds)


def test_a_declared_size_needs_no_search(harness: Harness) -> None:
    g, feeds = harness.graph("NonMaxSuppression", [boxes(1, 7), scores(1, 1, 7), const(2, np.int64), const(1.0)])
    g.nodes["y0"]["type"] = type(g.nodes["y0"]["type"])(g.nodes["y0"]["type"].dtype, (2, 3))
    found = harness.same(RULE, g, feeds)
    assert "NonZero" not in found.types


@pytest.mark.parametrize(("count", "limit", "reason"), [
    (70, const(65, np.int64), "max-boxes"), (5, None, "keeps no box"), (5, const(0, np.int64), "keeps no box"),
])  # fmt: skip
def test_what_is_left_alone(harness: Harness, count: int, limit: Const | None, reason: str) -> None:
    g, _ = harness.graph("NonMaxSuppression", [boxes(1, count), scores(1, 1, count), limit])
    harness.declines(RULE, g, reason)
