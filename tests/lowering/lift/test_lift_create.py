"""Ops that make tensors, and non-maximum suppression, of lifted packages against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.lowering.lift.one_op import agree, floats, lifted, mb

X = np.arange(1, 25, dtype=np.float32).reshape(2, 3, 4)
INTS = np.array([[0, 3, -1], [2, 0, 0]], np.int32)


@pytest.mark.parametrize("value", [2.5, np.int32(3), True])
def test_fill(value: Any) -> None:
    shape = np.array([2, 3], np.int32)
    kind = np.int32 if isinstance(value, np.int32) else np.float32 if isinstance(value, float) else np.bool_
    want: Any = np.full(shape, value, kind)
    agree(lambda s: mb.fill(shape=s, value=value), {"s": shape}, want=want)
    agree(lambda x: mb.fill_like(ref_tensor=x, value=value), {"x": want.astype(np.float32)}, "iOS16", want=want)


def test_fill_with_the_default() -> None:
    agree(lambda s: mb.fill(shape=s), {"s": np.array([3], np.int32)}, want=np.zeros(3, np.float32))


@pytest.mark.parametrize(("start", "end", "step"), [(0, 7, 2), (5, -1, -2), (0.5, 2.1, 0.25)])
def test_range(start: Any, end: Any, step: Any) -> None:
    kind = np.int32 if isinstance(start, int) else np.float32
    limits = np.array([start, end, step], kind)

    def build(limits: Any) -> Any:
        a, b, c = (mb.squeeze(x=v, axes=[0]) for v in mb.split(x=limits, num_splits=3, axis=0))
        return mb.range_1d(start=a, end=b, step=c)

    agree(build, {"limits": limits}, want=np.arange(start, end, step).astype(kind))


@pytest.mark.parametrize("axis", [-1, 0, 1, -2])
def test_one_hot(axis: int) -> None:
    indices = np.array([[0, 2, 1], [3, 3, 0]], np.int32)
    want = np.moveaxis(np.where(indices[..., None] == np.arange(4), 5.0, -1.0), -1, axis).astype(np.float32)
    options = {"one_hot_vector_size": 4, "axis": axis}
    agree(lambda i: mb.one_hot(indices=i, on_value=5.0, off_value=-1.0, **options), {"i": indices}, want=want)
    agree(lambda i: mb.one_hot(indices=i, **options), {"i": indices}, want=(want > 0).astype(np.int32))
    agree(lambda i: mb.one_hot(indices=i, on_value=True, off_value=False, **options), {"i": indices}, want=want > 0)


def test_one_hot_of_a_computed_size_and_out_of_range() -> None:
    def build(i: Any, n: Any) -> Any:
        return mb.one_hot(indices=i, one_hot_vector_size=mb.squeeze(x=n, axes=[0]), on_value=1.0, off_value=0.0)

    indices = np.array([1, 7, -1], np.int32)
    feeds = {"i": indices, "n": np.array([3], np.int32)}
    agree(build, feeds, want=(indices[:, None] == np.arange(3)).astype(np.float32))


@pytest.mark.parametrize("x", [INTS, INTS.astype(np.float32), INTS > 0], ids=["int32", "fp32", "bool"])
def test_non_zero(x: Any) -> None:
    agree(lambda x: mb.non_zero(x=x), {"x": x}, want=np.argwhere(x).astype(np.int32))


@pytest.mark.parametrize(("lower", "upper"), [(-1, -1), (0, -1), (-1, 0), (0, 0), (1, 2), (2, 1)])
@pytest.mark.parametrize("kind", [np.float32, np.int32, np.bool_])
def test_band_part(lower: int, upper: int, kind: Any) -> None:
    x = (np.arange(24).reshape(2, 3, 4) % 5).astype(kind)
    m, n = np.arange(3)[:, None], np.arange(4)
    kept = ((lower < 0) | (m - n <= lower)) & ((upper < 0) | (n - m <= upper))
    agree(lambda x: mb.band_part(x=x, lower=lower, upper=upper), {"x": x}, want=np.where(kept, x, 0).astype(kind))


@pytest.mark.parametrize(("mode", "name"), [("constant", "constant"), ("reflect", "reflect"), ("replicate", "edge")])
def test_pad(mode: Any, name: Any) -> None:
    extra: dict[str, Any] = {"constant_val": 7.0} if mode == "constant" else {}
    more: dict[str, Any] = {"constant_values": 7.0} if mode == "constant" else {}
    want = np.pad(X, [(0, 0), (1, 2), (3, 0)], name, **more)
    agree(lambda x: mb.pad(x=x, pad=[1, 2, 3, 0], mode=mode, **extra), {"x": X}, want=want)
    pads = np.array([0, 0, 1, 2, 3, 0], np.int32)
    agree(lambda x, p: mb.pad(x=x, pad=p, mode=mode, **extra), {"x": X, "p": pads}, want=want)


def _iou(a: Any, b: Any) -> float:
    low, high = np.maximum(a[:2] - a[2:] / 2, b[:2] - b[2:] / 2), np.minimum(a[:2] + a[2:] / 2, b[:2] + b[2:] / 2)
    shared = float(np.prod(np.clip(high - low, 0, None)))
    return shared / float(a[2] * a[3] + b[2] * b[3] - shared)


def _suppressed(
    boxes: Any, scores: Any, iou: float, count: int, by_class: bool, threshold: float = -np.inf
) -> list[int]:
    best, kinds = scores.max(1), scores.argmax(1)
    kept: list[int] = []
    for i in np.argsort(-best, kind="stable"):
        rivals = [j for j in kept if not by_class or kinds[i] == kinds[j]]
        if best[i] >= threshold and all(_iou(boxes[i], boxes[j]) <= iou for j in rivals):
            kept.append(int(i))
    return kept[:count]


def _scene() -> tuple[Any, Any]:
    rng = np.random.default_rng(5)
    corners = rng.uniform(0, 3, (2, 12, 2))
    boxes = np.concatenate([corners, rng.uniform(1, 2, (2, 12, 2))], -1).astype(np.float32)
    return boxes, rng.uniform(0, 1, (2, 12, 3)).astype(np.float32)


def _expected(boxes: Any, scores: Any, kept: list[list[int]], size: int) -> list[Any]:
    indices = np.array([[*k, *[-1] * (size - len(k))] for k in kept], np.int32)
    there = indices[..., None] >= 0
    rows = np.arange(len(kept))[:, None]
    return [np.where(there, boxes[rows, indices], 0), np.where(there, scores[rows, indices], 0), indices]


@pytest.mark.parametrize("by_class", [False, True])
@pytest.mark.parametrize("size", [3, 12])
def test_suppression(size: int, by_class: bool) -> None:
    boxes, scores = _scene()
    kept = [_suppressed(b, s, 0.3, size, by_class) for b, s in zip(boxes, scores, strict=True)]
    want = _expected(boxes, scores, kept, size)
    options: dict[str, Any] = {"iou_threshold": 0.3, "max_boxes": size, "per_class_suppression": by_class}
    feeds = {"b": boxes.transpose(0, 2, 1).copy(), "s": scores.transpose(0, 2, 1).copy()}
    turned = [want[0].transpose(0, 2, 1), want[1].transpose(0, 2, 1), want[2]]
    nms = mb.non_maximum_suppression
    agree(lambda b, s: nms(boxes=b, scores=s, **options), feeds, "iOS17", want=turned, doubts=1)

    kept = [_suppressed(b, s, 0.3, size, by_class, 0.8) for b, s in zip(boxes, scores, strict=True)]
    want = [*_expected(boxes, scores, kept, size), np.array([len(k) for k in kept], np.int32)]
    build = lambda b, s: nms(boxes=b, scores=s, score_threshold=0.8, **options)  # noqa: E731
    agree(build, {"b": boxes, "s": scores}, "iOS15", want=want, doubts=2)


def test_the_best_box_stays_when_none_reaches_the_threshold() -> None:
    boxes, scores = _scene()
    build = lambda b, s: mb.non_maximum_suppression(  # noqa: E731
        boxes=b, scores=s, iou_threshold=0.3, max_boxes=4, score_threshold=2.0
    )
    kept = [[int(s.max(1).argmax())] for s in scores]
    want = [*_expected(boxes, scores, kept, 4), np.array([1, 1], np.int32)]
    agree(build, {"b": boxes, "s": scores}, "iOS15", want=want, doubts=2)


def test_a_mask_of_floats_is_made_of_the_result_type() -> None:
    found = lifted(lambda x: mb.fill_like(ref_tensor=x, value=np.float16(0.1)), {"x": floats([1, 2])}, "iOS16")
    np.testing.assert_allclose(next(iter(found.results.values())), np.float32(np.float16(0.1)))
