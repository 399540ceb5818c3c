"""GridSample, RoiAlign and NonMaxSuppression."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from coregraft.rewriter.types import Array
from tests.conformance.variants.variant import Variant, data, family, some, versions

_MODES = {16: ("bilinear", "nearest", "bicubic"), 20: ("linear", "nearest", "cubic")}


@family("GridSample")
def grid_sample(op: str) -> Iterator[Variant]:
    for opset in versions(op):
        modes = _MODES[16 if opset < 20 else 20]
        styles = list(product(modes, ("zeros", "border", "reflection"), (0, 1)))
        x = data(2, 3, 4, 5)
        grid = data(2, 3, 4, 2, seed=1, low=-1.4, high=1.4)
        for mode, padding, align in some(op, opset, styles, 6):
            attrs = {"mode": mode, "padding_mode": padding, "align_corners": align}
            for constants in ((), (1,)):
                yield Variant(opset, [x, grid], attrs, constants=constants)
            if opset >= 20 and mode != "cubic":
                solid = data(1, 2, 3, 4, 3), data(1, 2, 2, 3, 3, seed=1, low=-1.4, high=1.4)
                yield Variant(opset, [*solid], attrs)
        yield Variant(opset, [x, grid])
        for size in ((1, 1), (1, 5), (7, 2)):
            yield Variant(opset, [data(2, 3, *size), grid], {"align_corners": 1})
            yield Variant(opset, [data(2, 3, *size), grid], {"padding_mode": "reflection"})
        # Points on pixels, on the border and far beyond it.
        line = np.array([-1, -0.5, 0, 0.5, 1, -3, 3, 10], np.float32)
        points = np.stack(np.meshgrid(line, line), -1)[None].repeat(2, 0)
        for padding, align in product(("zeros", "border", "reflection"), (0, 1)):
            yield Variant(opset, [x, points], {"mode": modes[0], "padding_mode": padding, "align_corners": align})
    yield Variant(20, [data(2, 3, 4, 5, dtype=np.float16), grid.astype(np.float16)])
    yield Variant(20, [data(2, 3, 4, 5, dtype=np.float64), grid.astype(np.float64)])


@family("RoiAlign")
def roi_align(op: str) -> Iterator[Variant]:
    x = data(2, 3, 7, 8)
    boxes = np.array([[0, 0, 6, 5], [1.5, 2.2, 5.7, 6.1], [3, 3, 3, 3], [-2, -1, 9, 8], [0.4, 0.4, 0.9, 0.8]])
    boxes = boxes.astype(np.float32)
    which = np.array([0, 1, 1, 0, 1])
    for opset in versions(op):
        forms = ("half_pixel", "output_half_pixel") if opset >= 16 else ("",)
        sizes = ((1, 1), (2, 3), (4, 2))
        for mode, form, ratio, (height, width), scale in some(
            op, opset, list(product(("avg", "max"), forms, (0, 1, 2), sizes, (1.0, 0.5))), 8
        ):  # fmt: skip
            if mode == "max" and (ratio == 1 or (height, width) != (2, 3)):
                continue
            attrs: dict[str, Any] = {"mode": mode, "sampling_ratio": ratio, "spatial_scale": scale}
            attrs |= {"output_height": height, "output_width": width}
            if form:
                attrs["coordinate_transformation_mode"] = form
            yield Variant(opset, [x, boxes, which], attrs, constants=[1, 2])
            if ratio:  # 0 takes as many samples as the box is large
                yield Variant(opset, [x, boxes, which], attrs)
        yield Variant(opset, [x, boxes, which], constants=[1, 2])


@family("NonMaxSuppression")
def suppression(op: str) -> Iterator[Variant]:
    random = np.random.default_rng(3)
    corners = random.random((2, 8, 2)).astype(np.float32) * 4
    boxes = np.concatenate([corners, corners + random.random((2, 8, 2)).astype(np.float32) + 0.5], -1)
    flipped = np.concatenate([boxes[..., 2:], boxes[..., :2]], -1)
    centred = np.concatenate([corners, random.random((2, 8, 2)).astype(np.float32) + 0.5], -1)
    scores = random.random((2, 3, 8)).astype(np.float32)
    for opset in versions(op):
        yield Variant(opset, [boxes, scores])  # which keeps nothing
        for count, overlap, least in product((1, 2, 20), (None, 0.0, 0.3), (None, 0.4)):
            limits: list[Array | None] = [
                np.array([count], np.int64),
                None if overlap is None else np.array([overlap], np.float32),
                None if least is None else np.array([least], np.float32),
            ]
            while limits and limits[-1] is None:
                limits.pop()
            constants = [i + 2 for i, limit in enumerate(limits) if limit is not None]
            for form, given in ((0, boxes), (0, flipped), (1, centred)):
                yield Variant(opset, [given, scores, *limits], {"center_point_box": form}, constants=constants)
            if count == 2 and opset >= 11:
                yield Variant(opset, [boxes[:1], scores[:1, :1], *limits], constants=constants)
                yield Variant(opset, [boxes, scores, *limits])
