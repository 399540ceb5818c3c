"""Resizing by factors and to sizes, and cropping.

Where MIL's grid of samples is one that ONNX knows, ``Resize`` takes it. Every other grid of known sizes is a constant:
indices to gather for the nearest neighbour, a matrix on either side for linear interpolation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from coregraft.lowering.lift.operands import scalar, sizes, static
from coregraft.lowering.lift.registry import lifts
from coregraft.rewriter.types import Array, DType

if TYPE_CHECKING:
    from coregraft.lowering.lift.lifter import Lifter
    from coregraft.lowering.lift.spec import MilOp

_INT_MAX = np.iinfo(np.int64).max
#: ONNX coordinate mode by sampling mode. ALIGN_CORNERS is STRICT_ALIGN_CORNERS unless the result is one pixel.
_COORDINATES = {
    "STRICT_ALIGN_CORNERS": "align_corners",
    "ALIGN_CORNERS": "align_corners",
    "DEFAULT": "asymmetric",
    "UNALIGN_CORNERS": "half_pixel",
}


@dataclass(frozen=True, slots=True)
class _Axis:
    """One axis to resize: where it is, its size, and the size it gets. A size of 0 is not known."""

    index: int
    size: int
    out: int

    @property
    def floor(self) -> Array:
        """Which input pixel is nearest where pixel i begins at ``i * size / out``: exact, in integers."""
        return np.arange(self.out, dtype=np.int64) * self.size // self.out

    @property
    def half_pixel(self) -> Array:
        """Which input pixel holds the centre of each output pixel."""
        return (2 * np.arange(self.out, dtype=np.int64) + 1) * self.size // (2 * self.out)


@lifts("upsample_nearest_neighbor", moves=True)
def upsample_nearest_neighbor(l: Lifter, op: MilOp) -> None:
    """The input pixel at ``floor(i * size / out)``."""
    if _scaled_by_whole(l, op, {"mode": "nearest", "coordinate_transformation_mode": "asymmetric",
                                "nearest_mode": "floor"}):  # fmt: skip
        return
    axes, factors = _scaled(l, op)
    for axis, factor in zip(axes, factors, strict=True):
        given = np.minimum(np.floor(np.arange(axis.out) / factor).astype(np.int64), axis.size - 1)
        if not np.array_equal(given, axis.floor):
            l.undefined(op, f"whether {factor:g} or the ratio of the sizes places its pixels is not documented; "
                            "the ratio does")  # fmt: skip
    _gathered(l, op, axes, [axis.floor for axis in axes])


@lifts("resize_nearest_neighbor", moves=True)
def resize_nearest_neighbor(l: Lifter, op: MilOp) -> None:
    """The input pixel in which the centre of each output pixel lies."""
    axes = _targets(l, op)
    if any(not np.array_equal(axis.floor, axis.half_pixel) for axis in axes):
        l.undefined(op, "which pixel is nearest is not documented; the one that holds the centre is taken")
    _gathered(l, op, axes, [axis.half_pixel for axis in axes])


@lifts("upsample_bilinear")
def upsample_bilinear(l: Lifter, op: MilOp) -> None:
    """Linear interpolation on a grid whose spacing follows from the sizes."""
    aligned = bool(scalar(l, op, "align_corners", True))
    half = bool(scalar(l, op, "half_pixel_centers", not aligned))
    if aligned and half:
        l.undefined(op, "align_corners and half_pixel_centers exclude each other; corners are aligned")
    mode = "STRICT_ALIGN_CORNERS" if aligned else "UNALIGN_CORNERS" if half else "DEFAULT"
    if _scaled_by_whole(l, op, {"mode": "linear", "coordinate_transformation_mode": _COORDINATES[mode]}):
        return
    _linear(l, op, _scaled(l, op)[0], mode)


@lifts("resize_bilinear")
def resize_bilinear(l: Lifter, op: MilOp) -> None:
    """Linear interpolation on the grid that ``sampling_mode`` names."""
    _linear(l, op, _targets(l, op, free=True), _sampling(l, op))


@lifts("resize")
def resize(l: Lifter, op: MilOp) -> None:
    """The last ``resized_dims`` axes get the last sizes of ``shape``; 0 keeps one."""
    shape = sizes(l, op, "x")
    count = int(scalar(l, op, "resized_dims"))
    mode, kind = _sampling(l, op), str(scalar(l, op, "interpolation_mode", "LINEAR"))
    if kind == "LINEAR" and not l.type(op, "x").dtype.is_float:
        l.undefined(op, "how interpolated integers are rounded is not documented; they are rounded down")
    first = len(shape) - count
    wanted = l.const(op, "shape")
    if wanted is None or not all(isinstance(size, int) for size in shape[first:]):
        _resize_at_run_time(l, op, count, mode, kind)
        return
    targets = [int(v) for v in np.asarray(wanted).ravel()][-count:] if count else []
    axes = [_Axis(first + i, static(l, op, "x", first + i), n) for i, n in enumerate(targets)]
    axes = [_Axis(a.index, a.size, a.out or a.size) for a in axes]
    if kind == "LINEAR":
        _linear(l, op, axes, mode)
        return
    if mode not in ("DEFAULT", "UNALIGN_CORNERS") or any(not np.array_equal(a.floor, a.half_pixel) for a in axes):
        l.undefined(op, f"how the nearest pixel is found on a {mode} grid is not documented; it is the floor of the "
                        "position for DEFAULT, for other modes the position plus one half")  # fmt: skip
    _gathered(l, op, axes, [a.floor if mode == "DEFAULT" else _nearest(a, mode) for a in axes])


@lifts("crop", moves=True)
def crop(l: Lifter, op: MilOp) -> None:
    """``Slice`` of the last two axes."""
    amounts = [l.ints(op, "crop_height"), l.ints(op, "crop_width")]
    begin = np.array([a[0] for a in amounts], np.int64)
    end = np.array([-a[1] if a[1] else _INT_MAX for a in amounts], np.int64)
    l.emit("Slice", [l.operand(op, "x"), begin, end, np.array([-2, -1], np.int64)], None, [l.out(op)])


# ------------------------------------------------------------------------------------------------ grids


def _grid(mode: str, size: int, out: int) -> Array:
    """Where each output pixel samples an axis, as ``resize_bilinear`` documents its sampling modes."""
    i = np.arange(out, dtype=np.float64)
    if mode == "ALIGN_CORNERS" and out == 1:
        at = np.array([(size - 1) / 2])
    elif mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        at = i * (size - 1) / max(out - 1, 1)
    elif mode == "DEFAULT":
        at = i * size / out
    elif mode == "OFFSET_CORNERS":
        at = (i + 0.5) * max(1, size - 1) / out
    else:
        at = (i + 0.5) * size / out - 0.5
    return np.asarray(np.clip(at, 0, size - 1))


def _nearest(axis: _Axis, mode: str) -> Array:
    if mode == "UNALIGN_CORNERS":
        return axis.half_pixel
    return np.minimum(np.floor(_grid(mode, axis.size, axis.out) + 0.5).astype(np.int64), axis.size - 1)


def _weights(mode: str, axis: _Axis) -> Array:
    """How much each input pixel counts for each output pixel: [out, size]."""
    distance = np.abs(_grid(mode, axis.size, axis.out)[:, None] - np.arange(axis.size))
    return np.asarray(np.maximum(0, 1 - distance), np.float32)


def _linear(l: Lifter, op: MilOp, axes: Sequence[_Axis], mode: str) -> None:
    rank = l.rank(op, "x")
    x = _as_float(l, op)
    moved = [axis for axis in axes if axis.out != axis.size or mode == "OFFSET_CORNERS"]
    single = mode == "ALIGN_CORNERS" and any(axis.out == 1 for axis in moved)
    spatial = moved and 3 <= rank <= 5 and (rank == 3 or moved[0].index > 1)
    if mode in _COORDINATES and not single and spatial:
        where = tuple(axis.index for axis in moved)
        attrs = {"mode": "linear", "coordinate_transformation_mode": _COORDINATES[mode], "axes": where}
        x = l.emit("Resize", [x, None, None, np.array([axis.out for axis in moved], np.int64)], attrs)
    else:
        if not all(axis.size for axis in moved):
            l.refuse(op, f"the size of its input is not fixed, and ONNX has no {mode} grid")
        x = _by_matrices(l, x, moved, mode, rank)
    _return(l, op, x)


def _as_float(l: Lifter, op: MilOp) -> str:
    """The operand in FLOAT, for interpolation."""
    x = l.operand(op, "x")
    return x if l.type(op, "x").dtype.is_float else l.emit("Cast", [x], {"to": int(DType.FLOAT)})


def _return(l: Lifter, op: MilOp, x: str) -> None:
    """Define the result, in the type that it has."""
    dtype = l.out_type(op).dtype
    if dtype.is_float:
        l.emit("Identity", [x], None, [l.out(op)])
    else:
        l.emit("Cast", [l.emit("Floor", [x])], {"to": int(dtype)}, [l.out(op)])


def _by_matrices(l: Lifter, x: str, axes: Sequence[_Axis], mode: str, rank: int) -> str:
    """Each axis multiplied by its matrix; an axis further out is brought to the end for it."""
    for axis in axes:
        weights = _weights(mode, axis)
        if axis.index == rank - 2:
            x = l.emit("MatMul", [weights, x])
            continue
        perm = (*(i for i in range(rank) if i != axis.index), axis.index)
        turned = x if axis.index == rank - 1 else l.emit("Transpose", [x], {"perm": perm})
        x = l.emit("MatMul", [turned, np.ascontiguousarray(weights.T)])
        if axis.index != rank - 1:
            x = l.emit("Transpose", [x], {"perm": tuple(int(i) for i in np.argsort(perm))})
    return x


def _gathered(l: Lifter, op: MilOp, axes: Sequence[_Axis], picks: Sequence[Array]) -> None:
    """Pixels by index, axis by axis; whole factors as ``Resize``, which is exact for them."""
    x = l.operand(op, "x")
    moved = [(a, p) for a, p in zip(axes, picks, strict=True) if a.out != a.size or not np.array_equal(p, a.floor)]
    if moved and all(a.out % a.size == 0 and np.array_equal(p, a.floor) for a, p in moved):
        attrs = {
            "mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor",
            "axes": tuple(a.index for a, _ in moved),
        }  # fmt: skip
        scales = np.array([a.out // a.size for a, _ in moved], np.float32)
        l.emit("Resize", [x, None, scales], attrs, [l.out(op)])
        return
    for axis, pick in moved:
        x = l.emit("Gather", [x, pick], {"axis": axis.index})
    l.emit("Identity", [x], None, [l.out(op)])


def _resize_at_run_time(l: Lifter, op: MilOp, count: int, mode: str, kind: str) -> None:
    """``Resize`` to sizes that are computed."""
    if mode not in _COORDINATES or (kind != "LINEAR" and mode not in ("DEFAULT", "UNALIGN_CORNERS")):
        l.refuse(op, f"its sizes are computed, and ONNX has no {mode} grid for {kind}")
    if mode == "ALIGN_CORNERS":
        l.undefined(op, "its sizes are computed: that none of them is 1 is taken for granted")
    x = l.operand(op, "x")
    rank = l.rank(op, "x")
    where = np.array([_INT_MAX], np.int64)
    wanted = l.emit("Slice", [l.index(op, "shape"), np.array([-count], np.int64), where])
    have = l.emit("Shape", [x], {"start": rank - count})
    kept = l.emit("Equal", [wanted, np.int64(0)])
    target = l.emit("Where", [kept, have, wanted])
    attrs: dict[str, Any] = {
        "coordinate_transformation_mode": _COORDINATES[mode],
        "axes": tuple(range(rank - count, rank)),
    }
    if kind == "LINEAR":
        attrs["mode"] = "linear"
    else:
        l.undefined(op, f"how the nearest pixel is found on a {mode} grid is not documented")
        attrs |= {"mode": "nearest", "nearest_mode": "floor" if mode == "DEFAULT" else "round_prefer_ceil"}
    if kind == "LINEAR":
        _return(l, op, l.emit("Resize", [_as_float(l, op), None, None, target], attrs))
    else:
        l.emit("Resize", [x, None, None, target], attrs, [l.out(op)])


# ------------------------------------------------------------------------------------------------ parameters


def _sampling(l: Lifter, op: MilOp) -> str:
    mode = str(scalar(l, op, "sampling_mode", "DEFAULT"))
    if mode not in _COORDINATES and mode != "OFFSET_CORNERS":
        l.refuse(op, f"its sampling_mode is {mode!r}")
    return mode


def _scaled(l: Lifter, op: MilOp) -> tuple[list[_Axis], list[float]]:
    """The last two axes with the sizes that the factors give them, and the factors."""
    rank = l.rank(op, "x")
    factors = [float(scalar(l, op, f"scale_factor_{name}", 1)) for name in ("height", "width")]
    inputs = [static(l, op, "x", -2), static(l, op, "x", -1)]
    axes = [_Axis(rank - 2 + i, n, math.floor(n * f)) for i, (n, f) in enumerate(zip(inputs, factors, strict=True))]
    return axes, factors


def _scaled_by_whole(l: Lifter, op: MilOp, attrs: dict[str, Any]) -> bool:
    """Resize the last two axes by whole factors where their sizes are not fixed; whether that was the case."""
    shape = sizes(l, op, "x")
    factors = [float(scalar(l, op, f"scale_factor_{name}", 1)) for name in ("height", "width")]
    if all(isinstance(size, int) for size in shape[-2:]) or not all(f.is_integer() for f in factors):
        return False
    attrs = {**attrs, "axes": (len(shape) - 2, len(shape) - 1)}
    l.emit("Resize", [l.operand(op, "x"), None, np.array(factors, np.float32)], attrs, [l.out(op)])
    return True


def _targets(l: Lifter, op: MilOp, *, free: bool = False) -> list[_Axis]:
    """The last two axes with their target sizes. With ``free``, their own sizes need not be known."""
    rank = l.rank(op, "x")
    wanted = [int(scalar(l, op, f"target_size_{name}", 1)) for name in ("height", "width")]
    have = sizes(l, op, "x")
    return [
        _Axis(i, 0 if free and not isinstance(have[i], int) else static(l, op, "x", i), n)
        for i, n in zip((rank - 2, rank - 1), wanted, strict=True)
    ]
