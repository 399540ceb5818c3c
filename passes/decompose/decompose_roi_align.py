"""RoiAlign as matrix products."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose._base import Decomposition, ints, need, scalar
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView, ValueView


@dataclass(frozen=True)
class DecomposeRoiAlign(Decomposition):
    """Write RoiAlign as two products with interpolation matrices.

    What it does
    ------------
    Averaged bilinear samples are separable: each region is ``A · image · Bᵀ``, where a row of A holds the weights
    that the samples of one output row give to the rows of the image, computed from the region. The mode ``max`` is the
    greatest weighted corner of all samples, as in onnxruntime, and separable as well: no weight is negative. Both
    coordinate modes and ``spatial_scale`` are honoured. With ``sampling_ratio`` 0 the number of samples grows with the
    region: as many as a region of ``largest-region`` times the image takes are written out, and a greater region gives
    NaN. Spatial sizes must be known. Fires where the target has no lowering for the op.

    Why it matters
    --------------
    Core ML's ``crop_resize`` samples at other places and takes one sample per output pixel.

    Example
    -------
    ``y = RoiAlign <output_height = 7, output_width = 7, sampling_ratio = 2> (x, rois, batch)`` becomes ``y =
    MatMul(MatMul(A, Gather(x, batch)), B)``.

    Equivalence
    -----------
    Reassociating: the same weights, summed rows first.

    Options
    -------
    largest-region: how many times the height or width of the image a region may be, where ``sampling_ratio`` is 0.

    Sources
    -------
    H4.24, H3.21 (keep the coordinates in fp32); ONNX RoiAlign-22; what happens outside the image is that of
    onnxruntime.
    """

    code: ClassVar[str] = "CG424"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ("RoiAlign",)
    ranks: ClassVar[range] = range(4, 5)
    when_unsupported: ClassVar[bool] = True
    largest_region: float = 2.0

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x, rois, batch = (need(node, i) for i in range(3))
        if x.shape is None or x.dtype is None or not all(isinstance(d, int) for d in x.shape[1:]):
            return NoMatch("the spatial sizes or the number of channels are not known")
        samples, mode = node.attr("sampling_ratio"), node.attr("mode")
        half = node.attr("coordinate_transformation_mode") == "half_pixel"
        if mode not in ("avg", "max"):
            return NoMatch("its mode is {}", mode)
        scaled = op.Mul(rois, scalar(op, node.attr("spatial_scale"), rois))
        if half:
            scaled = op.Sub(scaled, scalar(op, 0.5, rois))
        x1, y1, x2, y2 = op.Split(scaled, ints(op, [1, 1, 1, 1]), axis=1, _outputs=4)
        outs = (node.attr("output_height"), node.attr("output_width"))
        matrices = []
        for start, end, out, size in zip((y1, x1), (y2, x2), outs, x.shape[2:], strict=True):
            assert isinstance(size, int)
            extent = op.Sub(end, start)
            if not half:
                extent = op.Max(extent, scalar(op, 1, start))
            if samples > 0:
                points = _evenly(op, start, extent, out, samples)
            else:
                most = max(1, math.ceil(self.largest_region * size / out))
                points = _adaptively(op, start, extent, out, most, repeat=mode == "max")
            matrices.append((_averages if mode == "avg" else _corners)(op, points, out, size))
        image = op.Gather(x, batch, axis=0) if x.shape[0] != 1 else x
        rows, columns = matrices
        if mode == "max":
            return _greatest(op, image, rows, columns, outs)
        return op.MatMul(op.MatMul(rows, image), op.Transpose(columns, perm=[0, 1, 3, 2]))


@dataclass(frozen=True)
class _Points:
    """Where one axis is sampled.

    Attributes:
        at: pixels, [regions, outputs * samples].
        used: which of them count, of that shape or [regions, 1]; None where all do.
        share: what each adds to the mean of its output, [regions, 1, 1]; None for one by the number of samples.
        beyond: regions that need more samples than there are, [regions, 1, 1]; None where none can.
    """

    at: Any
    used: Any = None
    share: Any = None
    beyond: Any = None


def _evenly(op: OpBuilder, start: ValueView, extent: Any, out: int, samples: int) -> _Points:
    """``samples`` points an output. ``start`` and ``extent`` are [regions, 1], in pixels."""
    assert start.dtype is not None
    steps = ((np.arange(out * samples) + 0.5) / (samples * out)).astype(start.dtype.numpy)
    return _Points(op.Add(start, op.Mul(extent, op.const(steps[None]))))


def _adaptively(op: OpBuilder, start: ValueView, extent: Any, out: int, most: int, repeat: bool) -> _Points:
    """``ceil(extent / out)`` points an output, of at most ``most``; those that are too many repeat the last or do not
    count. How many there are is counted, not divided: a quotient of a device may round across a whole number."""
    assert start.dtype is not None
    real, one = start.dtype.numpy, scalar(op, 1, start)
    places = np.arange(most, dtype=real)
    counted = op.Greater(extent, op.const(places[None] * out))  # [regions, most]
    count = op.ReduceSum(op.Cast(counted, to=int(start.dtype)), ints(op, [1]))  # [regions, 1]
    divisor = op.Max(count, one)
    numbers = op.Min(op.const(places[None]), op.Sub(divisor, one)) if repeat else op.const(places[None])
    within = op.Unsqueeze(op.Div(op.Add(numbers, scalar(op, 0.5, start)), divisor), ints(op, [1]))
    steps = op.Div(op.Add(within, op.const(np.arange(out, dtype=real)[:, None])), scalar(op, out, start))
    at = op.Add(start, op.Mul(extent, op.Reshape(steps, ints(op, [-1, out * most]))))
    used = op.Greater(extent, scalar(op, 0, start)) if repeat else op.Tile(counted, ints(op, [1, out]))
    share = op.Unsqueeze(op.Div(one, divisor), ints(op, [2]))
    return _Points(at, used, share, op.Unsqueeze(op.Greater(extent, scalar(op, most * out, start)), ints(op, [2])))


def _inside(op: OpBuilder, points: _Points, size: int) -> tuple[Any, Any]:
    """The points held within the image, and which count; those next to it do, others do not: [regions, points, 1]."""
    at = points.at
    within = op.And(op.GreaterOrEqual(at, scalar(op, -1, at)), op.LessOrEqual(at, scalar(op, size, at)))
    if points.used is not None:
        within = op.And(within, points.used)
    clamped = op.Clip(at, scalar(op, 0, at), scalar(op, size - 1, at))
    return op.Unsqueeze(clamped, ints(op, [2])), op.Unsqueeze(within, ints(op, [2]))


def _kept(op: OpBuilder, points: _Points, within: Any, weights: Any) -> Any:
    """The weights of the points that count; NaN in a region that has more of them."""
    kept = op.Where(within, weights, scalar(op, 0, points.at))
    return kept if points.beyond is None else op.Where(points.beyond, scalar(op, np.nan, points.at), kept)


def _averages(op: OpBuilder, points: _Points, out: int, size: int) -> Any:
    """What each place of the image adds to each output: [regions, 1, out, size]."""
    clamped, within = _inside(op, points, size)
    at = points.at
    distance = op.Abs(op.Sub(clamped, op.const(np.arange(size).astype(at.dtype.numpy))))
    kept = _kept(op, points, within, op.Relu(op.Sub(scalar(op, 1, at), distance)))
    by_output = op.Reshape(kept, ints(op, [-1, out, at.shape[1] // out, size]))
    if points.share is None:
        mean = op.ReduceMean(by_output, ints(op, [2]), keepdims=0)
    else:
        mean = op.Mul(op.ReduceSum(by_output, ints(op, [2]), keepdims=0), points.share)
    return op.Unsqueeze(mean, ints(op, [1]))


def _corners(op: OpBuilder, points: _Points, out: int, size: int) -> Any:
    """The weights of the two neighbours of each point, a row each: [regions, 1, points * 2, size]."""
    clamped, within = _inside(op, points, size)
    at = points.at
    places, low = op.const(np.arange(size).astype(at.dtype.numpy)), op.Floor(clamped)
    one, zero = scalar(op, 1, at), scalar(op, 0, at)
    far = op.Sub(clamped, low)
    rows = [
        _kept(op, points, within, op.Where(op.Equal(places, place), weight, zero))
        for place, weight in ((low, op.Sub(one, far)), (op.Add(low, one), far))
    ]
    pairs = op.Concat(*(op.Unsqueeze(row, ints(op, [2])) for row in rows), axis=2)
    return op.Reshape(pairs, ints(op, [-1, 1, at.shape[1] * 2, size]))


def _greatest(op: OpBuilder, image: Any, rows: Any, columns: Any, outs: tuple[int, int]) -> Any:
    """The greatest product along the columns, then of these along the rows."""
    channels, height = image.shape[1:3]
    across = op.MatMul(image, op.Transpose(columns, perm=[0, 1, 3, 2]))
    by_column = op.Reshape(across, ints(op, [-1, channels, height, outs[1], columns.shape[2] // outs[1]]))
    down = op.MatMul(rows, op.ReduceMax(by_column, ints(op, [4]), keepdims=0))
    by_row = op.Reshape(down, ints(op, [-1, channels, outs[0], rows.shape[2] // outs[0], outs[1]]))
    return op.ReduceMax(by_row, ints(op, [3]), keepdims=0)
