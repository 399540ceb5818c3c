"""Images sampled at computed places: ``resample``, ``affine`` and ``crop_resize``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from coregraft.lowering.lift.operands import scalar, static
from coregraft.lowering.lift.registry import lifts
from coregraft.rewriter.types import Array, DType

if TYPE_CHECKING:
    from coregraft.lowering.lift.lifter import Lifter, Operand
    from coregraft.lowering.lift.spec import MilOp

_GRIDS = ("DEFAULT", "STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "OFFSET_CORNERS", "UNALIGN_CORNERS")


@lifts("resample")
def resample(l: Lifter, op: MilOp) -> None:
    """``GridSample``. Its padding "reflection" mirrors where corners are aligned, and is MIL's "symmetric" where they
    are not; so the coordinates are brought to the convention that the padding asks for."""
    kind, padding = str(scalar(l, op, "sampling_mode")), str(scalar(l, op, "padding_mode"))
    if kind not in ("bilinear", "nearest") or padding not in ("constant", "border", "reflection", "symmetric"):
        l.refuse(op, f"its sampling_mode is {kind!r} and its padding_mode {padding!r}")
    if kind == "nearest":
        l.undefined(op, "which pixel is nearest to a point half way is not documented; the even one is taken")
    size = np.array([static(l, op, "x", 3), static(l, op, "x", 2)], np.float32)
    at = l.emit("Cast", [l.operand(op, "coordinates")], {"to": int(DType.FLOAT)})
    pixels = _pixels(l, op, at, size)
    aligned = padding == "reflection" and bool((size > 1).all())
    if padding == "reflection" and not aligned:
        l.undefined(op, "an image of one row or column has nothing to reflect; its edge is repeated")
    if aligned:
        points = _affinely(l, pixels, 2 / (size - 1), np.float32(-1))
    else:
        points = _affinely(l, pixels, 2 / size, 1 / size - 1)
    modes = {"constant": "zeros", "border": "border", "symmetric": "reflection", "reflection": "reflection"}
    attrs = {
        "align_corners": int(aligned),
        "mode": "linear" if kind == "bilinear" else "nearest",
        "padding_mode": "border" if padding == "reflection" and not aligned else modes[padding],
    }
    fill = np.float32(scalar(l, op, "padding_value", 0))
    if padding != "constant" or not fill:
        l.emit("GridSample", [l.operand(op, "x"), points], attrs, [l.out(op)])
        return
    # Sampling is linear in the image: what is padded with zeros here is padded with the value in the end.
    shifted = l.emit("GridSample", [l.emit("Sub", [l.operand(op, "x"), fill]), points], attrs)
    l.emit("Add", [shifted, fill], None, [l.out(op)])


@lifts("affine")
def affine(l: Lifter, op: MilOp) -> None:
    """``AffineGrid`` and ``GridSample``, both with corners aligned."""
    facts = {key: str(scalar(l, op, key)) for key in ("sampling_mode", "padding_mode", "coordinates_mode")}
    if facts != {
        "sampling_mode": "bilinear", "padding_mode": "constant", "coordinates_mode": "normalized_minus_one_to_one",
    }:  # fmt: skip
        l.refuse(op, f"it has {facts}")
    aligned = bool(scalar(l, op, "align_corners"))
    if not aligned:
        l.undefined(op, "align_corners=False is documented as not supported; its formula is taken")
    height, width = int(scalar(l, op, "output_height")), int(scalar(l, op, "output_width"))
    batch, channels = static(l, op, "x", 0), static(l, op, "x", 1)
    matrices = l.emit("Reshape", [l.operand(op, "transform_matrix"), np.array([-1, 2, 3], np.int64)])
    matrices = l.emit("Expand", [matrices, np.array([batch, 2, 3], np.int64)])
    size = np.array([batch, channels, height, width], np.int64)
    points = l.emit("AffineGrid", [matrices, size], {"align_corners": int(aligned)})
    attrs = {"align_corners": int(aligned), "mode": "linear", "padding_mode": "zeros"}
    fill = np.float32(scalar(l, op, "padding_value", 0))
    shifted = l.emit("GridSample", [l.emit("Sub", [l.operand(op, "x"), fill]), points], attrs)
    l.emit("Add", [shifted, fill], None, [l.out(op)])


@lifts("crop_resize")
def crop_resize(l: Lifter, op: MilOp) -> None:
    """Linear interpolation within boxes: a matrix of weights for rows and one for columns, made from each box.

    The result is [N, B, C, h, w] for the boxes of iOS 15 without an index of their own, [N, 1, C, h, w] for those with,
    and [N, C, h, w] since iOS 17.
    """
    mode = str(scalar(l, op, "sampling_mode", "DEFAULT"))
    if mode not in _GRIDS:
        l.refuse(op, f"its sampling_mode is {mode!r}")
    if mode not in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        l.undefined(op, f"{mode} is documented for whole images; a box from a to b is taken as one of b - a + 1 pixels")
    images, boxes, rank = _images_and_boxes(l, op)
    height, width = static(l, op, "x", 2), static(l, op, "x", 3)
    (top, bottom), (left, right) = _edges(l, op, boxes, rank, height, width)
    rows = _positions(l, top, bottom, int(scalar(l, op, "target_height", 1)), mode)
    columns = _positions(l, left, right, int(scalar(l, op, "target_width", 1)), mode)
    row_weights = _weights(l, rows, height)
    turned = {"perm": (*range(rank - 2), rank - 1, rank - 2)}
    column_weights = l.emit("Transpose", [_weights(l, columns, width)], turned)
    crops = l.emit("MatMul", [l.emit("MatMul", [row_weights, images]), column_weights])
    above, beside = _outside(l, rows, height, axis=-1), _outside(l, columns, width, axis=-2)
    outside = l.emit("Or", [above, beside])
    l.emit("Where", [outside, np.float32(scalar(l, op, "pad_value", 0)), crops], None, [l.out(op)])


def _pixels(l: Lifter, op: MilOp, at: str, size: Array) -> str:
    """Coordinates (x, y) in pixels, 0 being the centre of the first."""
    mode, aligned = str(scalar(l, op, "coordinates_mode")), bool(scalar(l, op, "align_corners"))
    if mode == "unnormalized":
        return at
    if mode == "normalized_minus_one_to_one":
        at = _affinely(l, at, np.float32(0.5), np.float32(0.5))
    elif mode != "normalized_zero_to_one":
        l.refuse(op, f"its coordinates_mode is {mode!r}")
    return _affinely(l, at, size - 1, np.float32(0)) if aligned else _affinely(l, at, size, np.float32(-0.5))


def _affinely(l: Lifter, value: str, factor: Operand, offset: Operand) -> str:
    return l.emit("Add", [l.emit("Mul", [value, factor]), offset])


def _images_and_boxes(l: Lifter, op: MilOp) -> tuple[str, str, int]:
    """The images that each box reads, the boxes as [N, 4], and the rank that the result has."""
    x = l.operand(op, "x")
    if l.has(op, "boxes"):
        boxes = l.emit("Cast", [l.operand(op, "boxes")], {"to": int(DType.FLOAT)})
        if l.has(op, "box_indices"):
            indices = l.index(op, "box_indices")
        else:
            indices = l.literal(np.arange(static(l, op, "boxes", 0), dtype=np.int64))
        return l.emit("Gather", [x, indices], {"axis": 0}), boxes, 4
    parts = static(l, op, "roi", 2)
    flat = l.emit("Reshape", [l.operand(op, "roi"), np.array([-1, parts], np.int64)])
    if parts == 4:
        return x, flat, 5
    batch = l.type(op, "x").shape
    if batch is None or batch[0] != 1:
        l.undefined(op, "boxes with an index give [N, 1, …] as documented, [N, B, …] as inferred; as documented")
    index, boxes = l.fresh("index"), l.fresh("boxes")
    l.emit("Split", [flat, np.array([1, 4], np.int64)], {"axis": 1}, [index, boxes])
    whole = l.emit("Cast", [index], {"to": int(DType.INT64)})
    return l.emit("Gather", [x, whole], {"axis": 0}), boxes, 5


def _edges(
    l: Lifter, op: MilOp, boxes: str, rank: int, height: int, width: int
) -> tuple[tuple[str, str], tuple[str, str]]:
    """Top and bottom, left and right of each box in pixels, shaped to broadcast over the result."""
    mode = str(scalar(l, op, "box_coordinate_mode", "CORNERS_HEIGHT_FIRST"))
    kind, _, first = mode.rpartition("_")[0].rpartition("_")
    if kind not in ("CORNERS", "CENTER_SIZE") or first not in ("HEIGHT", "WIDTH"):
        l.refuse(op, f"its box_coordinate_mode is {mode!r}")
    scale = np.float32(scalar(l, op, "spatial_scale", 1.0))
    normal = bool(scalar(l, op, "normalized_coordinates", False))
    factors = np.array([height - 1, width - 1] if normal else [1, 1], np.float32) * scale
    if first == "WIDTH":
        factors = factors[::-1].copy()
    scaled = l.emit("Mul", [boxes, np.tile(factors, 2)])
    one, two = l.emit_many("Split", [scaled], 2, {"axis": 1, "num_outputs": 2})
    if kind == "CENTER_SIZE":
        l.undefined(op, "where a box of a centre and a size ends is not documented; half the size to either side")
        half = l.emit("Mul", [two, np.float32(0.5)])
        one, two = l.emit("Sub", [one, half]), l.emit("Add", [one, half])
    starts = l.emit_many("Split", [one], 2, {"axis": 1, "num_outputs": 2})
    ends = l.emit_many("Split", [two], 2, {"axis": 1, "num_outputs": 2})
    shape = np.array([-1, *[1] * (rank - 2)], np.int64)
    pairs = [tuple(l.emit("Reshape", [v, shape]) for v in pair) for pair in zip(starts, ends, strict=True)]
    rows, columns = pairs if first == "HEIGHT" else pairs[::-1]
    return (rows[0], rows[1]), (columns[0], columns[1])


def _positions(l: Lifter, begin: str, end: str, count: int, mode: str) -> str:
    """Where a box is sampled along one axis, in pixels of the image: [N, 1, …, count]."""
    i = np.arange(count, dtype=np.float32)
    length = l.emit("Sub", [end, begin])
    if mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        shares = i / np.float32(max(count - 1, 1))
        if mode == "ALIGN_CORNERS" and count == 1:
            shares = np.array([0.5], np.float32)
        return l.emit("Add", [begin, l.emit("Mul", [length, shares])])
    if mode == "OFFSET_CORNERS":
        length = l.emit("Max", [length, np.float32(1)])
        steps = l.emit("Mul", [length, (i + np.float32(0.5)) / np.float32(count)])
    else:
        length = l.emit("Add", [length, np.float32(1)])
        half = mode == "UNALIGN_CORNERS"
        steps = l.emit("Mul", [length, (i + np.float32(0.5 if half else 0)) / np.float32(count)])
        steps = l.emit("Sub", [steps, np.float32(0.5)]) if half else steps
    at = l.emit("Add", [begin, steps])
    return l.emit("Max", [l.emit("Min", [at, end]), begin])


def _weights(l: Lifter, positions: str, size: int) -> str:
    """How much each pixel counts at each position: [N, 1, …, count, size]."""
    apart = l.emit("Unsqueeze", [positions, np.array([-1], np.int64)])
    distance = l.emit("Abs", [l.emit("Sub", [apart, np.arange(size, dtype=np.float32)])])
    return l.emit("Relu", [l.emit("Sub", [np.float32(1), distance])])


def _outside(l: Lifter, positions: str, size: int, *, axis: int) -> str:
    """Whether a position lies outside of the image, for all that it meets along another axis."""
    low, high = l.emit("Less", [positions, np.float32(0)]), l.emit("Greater", [positions, np.float32(size - 1)])
    return l.emit("Unsqueeze", [l.emit("Or", [low, high]), np.array([axis], np.int64)])
