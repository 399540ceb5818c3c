"""CropAndResize as GridSample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.contrib._base import Contrib, ms
from coregraft.passes.decompose._base import constant, ints, need
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView


@dataclass(frozen=True)
class DecomposeCropAndResize(Contrib):
    """Crop boxes and resize them with GridSample.

    What it does
    ------------
    Each box ``[y1, x1, y2, x2]`` (in units of the image's size less one) gives a grid of ``crop_size`` points from
    corner to corner, or its centre where the size is 1; GridSample reads them from the image of the box's batch
    index, linearly or at the nearest pixel (halves up). Points outside of the image get ``extrapolation_value``. The
    crop size must be constant and the image's size known.

    Why it matters
    --------------
    Core ML's own ``crop_resize`` takes other coordinates and no value for outside points.

    Example
    -------
    ``y = com.microsoft.CropAndResize(x, boxes, batch, [7, 7])`` becomes ``y = Where(inside, GridSample(Gather(x,
    batch), grid), 0)``.

    Equivalence
    -----------
    Approximate within 1e-4 of the largest magnitude: coordinates are rounded on their way through the grid of
    GridSample.

    Sources
    -------
    H4.26; onnxruntime operator schema CropAndResize-1.
    """

    code: ClassVar[str] = "CG426"
    equivalence: ClassVar[Equivalence] = Equivalence.APPROXIMATE
    bound: ClassVar[float] = 1e-4
    roots: ClassVar[tuple[str, ...]] = ms("CropAndResize")
    defaults: ClassVar[Mapping[str, Any]] = {"extrapolation_value": 0.0, "mode": "bilinear"}

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x, boxes, crop = need(node, 0), need(node, 1), constant(node, 3)
        mode = self.get(node, "mode")
        if crop is None or crop.size != 2:
            return NoMatch("its crop size is computed at run time")
        if x.shape is None or len(x.shape) != 4 or not all(isinstance(d, int) for d in x.shape[2:]):
            return NoMatch("the size of its images is not known")
        if mode not in ("bilinear", "nearest"):
            return NoMatch("mode {} is not known", mode)
        places, inside = [], []
        for axis, begin, end in ((2, 0, 2), (3, 1, 3)):
            last = int(x.shape[axis]) - 1  # type: ignore[arg-type]
            at = self._points(op, boxes, int(crop[axis - 2]), begin, end, last)
            zero, limit = (op.const(np.array(v, np.float32)) for v in (0, last))
            inside.append(op.And(op.GreaterOrEqual(at, zero), op.LessOrEqual(at, limit)))
            if mode == "nearest":
                at = op.Floor(op.Add(at, 0.5))
            places.append(op.Sub(op.Mul(at, 2.0 / last), 1.0) if last else op.Mul(at, 0.0))
        rows, columns = int(crop[0]), int(crop[1])
        grid = op.Concat(
            op.Expand(op.Unsqueeze(places[1], ints(op, [1, 3])), ints(op, [1, rows, 1, 1])),
            op.Expand(op.Unsqueeze(places[0], ints(op, [2, 3])), ints(op, [1, 1, columns, 1])),
            axis=3,
        )
        images = op.Gather(x, need(node, 2), axis=0)
        kind = "linear" if mode == "bilinear" else "nearest"
        found = op.GridSample(images, grid, mode=kind, padding_mode="border", align_corners=1)
        both = op.And(op.Unsqueeze(inside[0], ints(op, [1, 3])), op.Unsqueeze(inside[1], ints(op, [1, 2])))
        outside = op.const(np.array(self.get(node, "extrapolation_value"), np.float32))
        return op.Where(both, found, outside)

    @staticmethod
    def _points(op: OpBuilder, boxes: Any, count: int, begin: int, end: int, last: int) -> Any:
        """[boxes, count] coordinates of pixels along one axis."""
        low, high = (op.Slice(boxes, ints(op, [i]), ints(op, [i + 1]), ints(op, [1])) for i in (begin, end))
        steps = np.arange(count, dtype=np.float32)[None] / np.float32(count - 1) if count > 1 else None
        share = op.const(np.array([[0.5]], np.float32) if steps is None else steps)
        rest = op.const(np.array([[0.5]], np.float32) if steps is None else steps[:, ::-1].copy())
        # A weighted mean of both corners: the last point is the corner itself, not its rounded neighbour.
        mean = op.Add(op.Mul(low, rest), op.Mul(high, share))
        return op.Mul(mean, float(last))
