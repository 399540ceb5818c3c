"""GridSample by gathers, in the modes that Core ML's resampling lacks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.passes.decompose import _sampling
from coregraft.passes.decompose._base import Decomposition, ints, need, scalar
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView
from coregraft.rewriter.target import Target

#: How ``np.pad`` extends an image, by ``padding_mode`` and ``align_corners``: ONNX mirrors at the outer edge of the
#: image, which lies on the centre of the last pixel when corners are aligned, and half a pixel beyond when not.
_OUTSIDE = {
    ("zeros", False): "zeros",
    ("zeros", True): "zeros",
    ("border", False): "edge",
    ("border", True): "edge",
    ("reflection", False): "symmetric",
    ("reflection", True): "reflect",
}


@dataclass(frozen=True)
class DecomposeGridSample(Decomposition):
    """Sample an image on a grid by gathers and weights.

    What it does
    ------------
    Turns the grid into pixel coordinates, reads the pixels around each from a table that is extended as
    ``padding_mode`` says, and adds them up with their weights: 1 for nearest, 4 for bilinear and 16 for bicubic, 8 for
    volumes. Reflection folds the coordinates back first. All modes, paddings and ``align_corners`` are honoured; static
    shapes are needed. Fires for Core ML targets, except for bilinear on two axes, which they have.

    Why it matters
    --------------
    Core ML resamples two axes, bilinearly; how its nearest mode rounds is not documented.

    Example
    -------
    ``y = GridSample <mode = "cubic"> (x, grid)`` becomes 16 Gathers and as many products.

    Equivalence
    -----------
    Reassociating: the same weights, in another order.

    Sources
    -------
    H4.24, H3.21 (keep the coordinates in fp32); ONNX GridSample-20.
    """

    code: ClassVar[str] = "CG424"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ("GridSample",)
    ranks: ClassVar[range] = range(4, 6)

    def wanted(self, node: OpView, target: Target) -> bool:
        native = node.attr("mode") == "linear" and need(node, 0).rank == 4 and target.supports(node.op)
        return target.ops is not None and not native

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x, grid = need(node, 0), need(node, 1)
        shape, places_shape = x.static_shape, grid.static_shape
        if shape is None or places_shape is None or x.dtype is None:
            return NoMatch("the shape of an operand is not known")
        mode, padding, aligned = node.attr("mode"), node.attr("padding_mode"), node.attr("align_corners") == 1
        batch, channels, *image = shape
        window = places_shape[1:-1]
        if mode == "cubic" and len(image) != 2:
            return NoMatch("cubic is defined for two axes only")

        parts = op.Split(grid, ints(op, [1] * len(image)), axis=len(places_shape) - 1, _outputs=len(image))
        places = []
        for part, n in zip(reversed(parts), image, strict=True):  # the grid's last coordinate is the first axis
            flat = op.Reshape(part, ints(op, [batch, 1, math.prod(window)]))
            flat = flat if grid.dtype is x.dtype else op.Cast(flat, to=int(x.dtype))
            pixel = _pixels(op, flat, n, aligned)
            places.append(_reflected(op, pixel, n, aligned) if padding == "reflection" else pixel)
        source = _sampling.table(op, x, shape, 1, mode, _OUTSIDE[padding, aligned])
        values = _sampling.sample(op, source, places, mode)
        return op.Reshape(op.Transpose(values, perm=[0, 1, 3, 2]), ints(op, [batch, channels, *window]))


def _pixels(op: OpBuilder, place: Any, size: int, aligned: bool) -> Any:
    """A normalised coordinate, -1 to 1, in pixels."""
    if aligned:
        return op.Mul(op.Add(place, scalar(op, 1, place)), scalar(op, (size - 1) / 2, place))
    scaled = op.Mul(op.Add(place, scalar(op, 1, place)), scalar(op, size / 2, place))
    return op.Sub(scaled, scalar(op, 0.5, place))


def _reflected(op: OpBuilder, pixel: Any, size: int, aligned: bool) -> Any:
    """A pixel coordinate folded back into the image at its outer edges."""
    low = 0.0 if aligned else -0.5
    span = size - 1 if aligned else size
    if span == 0:
        return op.Mul(pixel, scalar(op, 0, pixel))
    period = scalar(op, 2 * span, pixel)
    distance = op.Abs(op.Sub(pixel, scalar(op, low, pixel)))
    within = op.Sub(distance, op.Mul(op.Floor(op.Div(distance, period)), period))
    folded = op.Sub(scalar(op, span, pixel), op.Abs(op.Sub(within, scalar(op, span, pixel))))
    return op.Add(folded, scalar(op, low, pixel))
