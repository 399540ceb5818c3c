"""decompose-non-max-suppression: what onnxruntime selects, in its order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.decompose_non_max_suppression import DecomposeNonMaxSuppression
from coregraft.rewriter.graph import Op
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


@pytest.mark.parametrize("limit", [0, 1, 2, 50])
@pytest.mark.parametrize("count", [7, 40])
def test_everything_at_run_time(harness: Harness, count: int, limit: int) -> None:
    thresholds = [np.array([t], np.float32) for t in (0.3, 0.1)]
    operands = [boxes(1, count), scores(1, 2, count), np.array([limit]), *thresholds]
    g, feeds = harness.graph("NonMaxSuppression", operands)
    harness.same(RULE, g, feeds)


@pytest.mark.parametrize("centred", [0, 1])
@pytest.mark.parametrize(("overlap", "least"), [(0.3, 0.4), (0.0, 0.2), (1.0, None), (None, 0.9), (0.5, 2.0)])
def test_more_steps_than_are_written_out_are_a_loop(
    harness: Harness, centred: int, overlap: float | None, least: float | None
) -> None:
    even = np.round(scores(2, 3, 60) * 8) / 8  # many are equal
    operands = [boxes(2, 60), even, const(2**63 - 1, np.int64)]
    operands += [None if t is None else const(t) for t in (overlap, least)]
    g, feeds = harness.graph("NonMaxSuppression", operands, center_point_box=centred)
    found = harness.same(RULE, g, feeds)
    assert found.types.count("Loop") == 1


def test_the_loop_ends_when_no_class_has_a_box_left(harness: Harness) -> None:
    alike, even = np.repeat(boxes(1, 1), 50, 1), np.ones((1, 4, 50), np.float32)
    g, feeds = harness.graph("NonMaxSuppression", [alike, even, const(50, np.int64), const(0.5), const(0.5)])
    after = harness.rewrite(RULE, g).after
    ((loop_id, loop),) = ((i, op) for i, op in after.ops() if op.type == "Loop")
    body = loop.attrs["body"].copy()
    body.add_op(Op("Identity", (body.inputs[0],), ("turns",)))
    body.set_outputs([*body.outputs.values(), "turns"])
    after.set_op(loop_id, replace(loop, outputs=(*loop.outputs, "turns"), attrs={"body": body}))
    after.set_outputs(["turns"])
    (turns,) = harness.run(after, feeds)
    assert turns.tolist() == [0]  # one turn picks a box of each class, and drops all others


@pytest.mark.parametrize("least", [None, -np.inf, 0.0])
def test_scores_of_minus_infinity(harness: Harness, least: float | None) -> None:
    masked = np.where(scores(1, 2, 30) > 0.5, scores(1, 2, 30), -np.inf).astype(np.float32)
    operands = [boxes(1, 30), masked, const(30, np.int64), const(0.4), None if least is None else const(least)]
    g, feeds = harness.graph("NonMaxSuppression", operands)
    harness.same(RULE, g, feeds)


def test_boxes_without_an_area_suppress_nothing(harness: Harness) -> None:
    flat = np.repeat(boxes(1, 1)[:, :, [0, 1, 0, 1]], 20, 1)
    g, feeds = harness.graph("NonMaxSuppression", [flat, scores(1, 1, 20), const(20, np.int64), const(0.0)])
    harness.same(RULE, g, feeds)


def test_a_declared_size_needs_no_search(harness: Harness) -> None:
    g, feeds = harness.graph("NonMaxSuppression", [boxes(1, 7), scores(1, 1, 7), const(2, np.int64), const(1.0)])
    g.nodes["y0"]["type"] = type(g.nodes["y0"]["type"])(g.nodes["y0"]["type"].dtype, (2, 3))
    found = harness.same(RULE, g, feeds)
    assert "NonZero" not in found.types


@pytest.mark.parametrize("format", ["mlprogram", "neuralnetwork"])
def test_converted(harness: Harness, format: str) -> None:
    operands = [boxes(2, 30), scores(2, 2, 30), np.array([25]), const(0.4), const(0.3)]
    g, feeds = harness.graph("NonMaxSuppression", operands)
    harness.converts(g, feeds, format)


@pytest.mark.parametrize(("operands", "reason"), [
    ([boxes(1, 5), scores(1, 1, 5)], "keeps no box"),
    ([boxes(1, 5), scores(1, 1, 5), const(0, np.int64)], "keeps no box"),
    ([boxes(1, 5), scores(1, 1, 5)[:, :0], const(1, np.int64)], "keeps no box"),
])  # fmt: skip
def test_what_keeps_nothing_is_left_alone(harness: Harness, operands: list[Any], reason: str) -> None:
    g, _ = harness.graph("NonMaxSuppression", operands)
    harness.declines(RULE, g, reason)


def test_a_number_of_boxes_that_is_not_known_is_left_alone(harness: Harness) -> None:
    dims: dict[int, Any] = {0: (1, "n", 4), 1: (1, 1, "n")}
    g, _ = harness.graph("NonMaxSuppression", [boxes(1, 5), scores(1, 1, 5), const(1, np.int64)], dims=dims)
    harness.declines(RULE, g, "the number of boxes is not known")
