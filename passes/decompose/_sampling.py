"""Reading an image at computed places: interpolation as gathers from a table of pixels.

The image is extended on all sides as far as any tap can reach once its coordinate has been clipped, so that no tap
needs a test of its own: beyond the clipped range an image with zeros around it is 0, and one with repeated edges is
its edge.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from coregraft.passes.decompose._base import ints, scalar
from coregraft.rewriter.passes import OpBuilder, ValueView
from coregraft.rewriter.types import Array, DType

#: How far a kernel reaches to each side of a coordinate.
REACH = {"nearest": 0, "linear": 1, "cubic": 2}


@dataclass(frozen=True)
class Table:
    """Pixels by row: ``rows`` [batch·groups·extended size, channels]; the image begins at ``before`` on each axis."""

    rows: Any
    batch: int
    groups: int
    image: tuple[int, ...]
    extended: tuple[int, ...]
    before: int


def extension(mode: str) -> tuple[int, int]:
    """How many pixels to add before and after each axis for an interpolation mode."""
    reach = REACH[mode]
    return (2 * reach - 1, 2 * reach) if reach else (1, 1)


def table(op: OpBuilder, x: ValueView, shape: Sequence[int], groups: int, mode: str, outside: str) -> Table:
    """The table of ``x`` [batch, channels, *spatial] (of static ``shape``), its channels in ``groups``.

    Args:
        mode: interpolation, one of :data:`REACH`.
        outside: what surrounds the image: ``zeros``, or how ``np.pad`` extends it.
    """
    batch, channels, *image = shape
    before, after = extension(mode)
    extended = [n + before + after for n in image]
    if outside == "zeros":
        pads = [0, 0, *[before] * len(image), 0, 0, *[after] * len(image)]
        value = op.Pad(x, ints(op, pads), scalar(op, 0, x), mode="constant")
    else:
        value = x
        for i, n in enumerate(image):
            places: Array = np.pad(np.arange(n, dtype=np.int64), (before, after), mode=outside)  # type: ignore[call-overload]
            value = op.Gather(value, op.const(places), axis=i + 2)
    size = math.prod(extended)
    grouped = op.Reshape(value, ints(op, [batch, groups, channels // groups, size]))
    rows = op.Reshape(op.Transpose(grouped, perm=[0, 1, 3, 2]), ints(op, [batch * groups * size, channels // groups]))
    return Table(rows, batch, groups, tuple(image), tuple(extended), before)


def sample(op: OpBuilder, source: Table, places: Sequence[Any], mode: str, cubic_a: float = -0.75) -> Any:
    """The image at ``places``: one [batch, groups, n] of coordinates in pixels for each axis.

    Returns:
        [batch, groups, n, channels].
    """
    taps = [_axis_taps(op, place, size, mode, cubic_a) for place, size in zip(places, source.image, strict=True)]
    size = math.prod(source.extended)
    strides = [math.prod(source.extended[i + 1 :]) for i in range(len(source.extended))]
    starts = np.arange(source.batch * source.groups, dtype=np.int64).reshape(source.batch, source.groups, 1) * size
    starts += source.before * sum(strides)
    origin = op.const(starts)
    for (first, _), stride in zip(taps, strides, strict=True):
        origin = op.Add(origin, op.Mul(first, op.const(np.array(stride, np.int64))) if stride > 1 else first)
    total = None
    for corner in itertools.product(*(range(len(weights)) for _, weights in taps)):
        offset = sum(i * stride for i, stride in zip(corner, strides, strict=True))
        index = op.Add(origin, op.const(np.array(offset, np.int64))) if offset else origin
        value = op.Gather(source.rows, index, axis=0)
        weight = None
        for (_, weights), i in zip(taps, corner, strict=True):
            if weights[i] is not None:
                weight = weights[i] if weight is None else op.Mul(weight, weights[i])
        term = value if weight is None else op.Mul(value, op.Unsqueeze(weight, ints(op, [3])))
        total = term if total is None else op.Add(total, term)
    return total


def _axis_taps(op: OpBuilder, place: Any, size: int, mode: str, cubic_a: float) -> tuple[Any, list[Any]]:
    """The index of the first tap along an axis, and the weight of each (None for the one tap of nearest)."""
    reach = REACH[mode]
    low, high = (-reach, size - 1 + reach) if reach else (-1, size)
    clipped = op.Clip(place, scalar(op, low, place), scalar(op, high, place))
    if not reach:
        return op.Cast(op.Round(clipped), to=int(DType.INT64)), [None]
    floor = op.Floor(clipped)
    first = op.Cast(floor, to=int(DType.INT64))
    if reach > 1:
        first = op.Sub(first, op.const(np.array(reach - 1, np.int64)))
    t = op.Sub(clipped, floor)
    if reach == 1:
        return first, [op.Sub(scalar(op, 1, place), t), t]
    one, two = scalar(op, 1, place), scalar(op, 2, place)
    distances = [op.Add(t, one), t, op.Sub(one, t), op.Sub(two, t)]
    return first, [_cubic(op, d, cubic_a, near=i in (1, 2)) for i, d in enumerate(distances)]


def _cubic(op: OpBuilder, d: Any, a: float, near: bool) -> Any:
    """Keys' cubic convolution kernel at distance ``d``, which is at most 1 when ``near``, else 1 to 2."""

    def poly(*coefficients: float) -> Any:
        value = scalar(op, coefficients[0], d)
        for c in coefficients[1:]:
            value = op.Mul(value, d)
            value = op.Add(value, scalar(op, c, d)) if c else value
        return value

    return poly(a + 2, -(a + 3), 0, 1) if near else poly(a, -5 * a, 8 * a, -4 * a)
