"""RoiAlign as matrix products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose._base import Decomposition, ints, need, scalar
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView, ValueView


@dataclass(frozen=True)
class DecomposeRoiAlign(Decomposition):
    """Write RoiAlign by averages as two products with interpolation matrices.

    What it does
    ------------
    Averaged bilinear samples are separable: each region is ``A · image · Bᵀ``, where a row of A holds the weights
    that the samples of one output row give to the rows of the image, computed from the region. Both coordinate modes
    and ``spatial_scale`` are honoured. The mode must be ``avg``, ``sampling_ratio`` positive (an adaptive one depends
    on the data), spatial sizes known. Fires where the target has no lowering for the op.

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

    Sources
    -------
    H4.24, H3.21 (keep the coordinates in fp32); ONNX RoiAlign-22; what happens outside the image is that of
    onnxruntime.
    """

    code: ClassVar[str] = "CG424"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ("RoiAlign",)
    when_unsupported: ClassVar[bool] = True

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x, rois, batch = (need(node, i) for i in range(3))
        if x.shape is None or x.dtype is None or not all(isinstance(d, int) for d in x.shape[2:]):
            return NoMatch("the spatial sizes are not known")
        samples = node.attr("sampling_ratio")
        if node.attr("mode") != "avg":
            return NoMatch("it takes the maximum of the samples")
        if samples <= 0:
            return NoMatch("the number of samples depends on the regions (sampling_ratio 0)")
        half = node.attr("coordinate_transformation_mode") == "half_pixel"
        scaled = op.Mul(rois, scalar(op, node.attr("spatial_scale"), rois))
        if half:
            scaled = op.Sub(scaled, scalar(op, 0.5, rois))
        x1, y1, x2, y2 = op.Split(scaled, ints(op, [1, 1, 1, 1]), axis=1, _outputs=4)
        outs = (node.attr("output_height"), node.attr("output_width"))
        ends = zip((y1, x1), (y2, x2), outs, x.shape[2:], strict=True)
        rows, columns = (_matrix(op, a, b, out, size, samples, half) for a, b, out, size in ends)
        image = op.Gather(x, batch, axis=0) if x.shape[0] != 1 else x
        return op.MatMul(op.MatMul(rows, image), op.Transpose(columns, perm=[0, 1, 3, 2]))


def _matrix(op: OpBuilder, start: ValueView, end: ValueView, out: int, size: Any, samples: int, half: bool) -> Any:
    """The weights of one axis: [regions, 1, out, size]. ``start`` and ``end`` are [regions, 1], in pixels."""
    extent = op.Sub(end, start)
    if not half:
        extent = op.Max(extent, scalar(op, 1, start))
    assert start.dtype is not None
    steps = ((np.arange(out * samples) + 0.5) / (samples * out)).astype(start.dtype.numpy)
    at = op.Add(start, op.Mul(extent, op.const(steps[None])))  # [regions, out * samples]
    low, high = scalar(op, -1, start), scalar(op, size, start)
    inside = op.And(op.GreaterOrEqual(at, low), op.LessOrEqual(at, high))
    clamped = op.Unsqueeze(op.Clip(at, scalar(op, 0, start), scalar(op, size - 1, start)), ints(op, [2]))
    distance = op.Abs(op.Sub(clamped, op.const(np.arange(size).astype(start.dtype.numpy))))
    weights = op.Relu(op.Sub(scalar(op, 1, start), distance))
    kept = op.Where(op.Unsqueeze(inside, ints(op, [2])), weights, scalar(op, 0, start))
    by_output = op.Reshape(kept, ints(op, [-1, out, samples, size]))
    return op.Unsqueeze(op.ReduceMean(by_output, ints(op, [2]), keepdims=0), ints(op, [1]))
