"""Resize as products with constant matrices, or as gathers of constant indices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose import _resample
from coregraft.passes.decompose._base import Decomposition, computed, constant, need
from coregraft.passes.decompose._resample import Axis, Mode
from coregraft.passes.decompose._resized import CROP, ROUNDING_OPEN, chosen_axes, mode_of, resized
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView, ValueView
from coregraft.rewriter.target import Target

#: Coordinate modes of which Core ML has the same grid, where the output size is exactly size times scale (H4.12).
_NATIVE_GRIDS = frozenset({"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"})


@dataclass(frozen=True)
class DecomposeResize(Decomposition):
    """Write a Resize that Core ML would sample at other places as constant matrices or gathers.

    What it does
    ------------
    Every interpolation of ONNX is linear in its input and works axis by axis, so an axis is one MatMul with a
    constant matrix [out, in]; nearest is a Gather with constant indices. That covers linear and cubic, antialias,
    exclude_outside, ``cubic_coeff_a``, all coordinate modes with ``tf_crop_and_resize`` and its extrapolation,
    ``axes``, all policies of ``keep_aspect_ratio_policy``, every ``nearest_mode``, and scales that do not divide the
    size. The axes that are resized must be of known size, ``scales`` or ``sizes`` constant. Fires for Core ML targets
    only, and leaves alone what they do exactly: linear over the last two axes with size times scale a whole number,
    and nearest that repeats every element of the last two axes a whole number of times.

    Why it matters
    --------------
    Core ML recomputes the scale from the sizes, has four grids of ONNX's six and one rule for nearest; cubic,
    antialias and cropping it does not have. The result is a model that converts and shifts its features by half a
    pixel.

    Example
    -------
    ``y = Resize <mode = "cubic"> (x, , scales)`` with scales [1, 1, 2, 2] becomes ``y = MatMul(A, MatMul(x, B))``.

    Equivalence
    -----------
    Reassociating: the same weights, summed one axis after the other. Nearest copies elements. Where a nearest
    coordinate lies exactly between two elements, the rounding of fp32 coordinates decides, which runtimes do in
    different ways.

    Sources
    -------
    H4.12; ONNX Resize-19; weights compared with onnxruntime's over all modes.
    """

    code: ClassVar[str] = "CG412"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ("Resize",)

    def wanted(self, node: OpView, target: Target) -> bool:
        return target.ops is not None

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x = need(node, 0)
        if x.shape is None or x.dtype is None:
            return NoMatch("the type of the input is not known")
        if any(computed(node, i) for i in (1, 2, 3)):
            return NoMatch("its scales, sizes or roi are computed at run time")  # decompose-dynamic-resize
        mode = mode_of(node)
        crop = mode.coordinates == CROP
        axes = _resample.axes_of(
            x.shape,
            chosen_axes(node, len(x.shape)),
            constant(node, 2),
            constant(node, 3),
            node.attr("keep_aspect_ratio_policy"),
            constant(node, 1) if crop else None,
        )
        if isinstance(axes, str):
            return NoMatch("{}", axes)
        axes = [a for a in axes if a.size != a.out or a.scale != 1 or crop]
        if not axes:
            return x
        if not x.dtype.is_float and mode.interpolation != "nearest":
            return NoMatch(ROUNDING_OPEN)
        if _is_native(x, axes, mode):
            return NoMatch("Core ML's own resize samples at the same places")
        return resized(op, x, axes, mode, node.attr("extrapolation_value"))


def _is_native(x: ValueView, axes: Sequence[Axis], mode: Mode) -> bool:
    rank = x.rank or 0
    if rank not in (3, 4, 5) or axes[0].index < max(rank - 2, 2) or not (x.dtype and x.dtype.is_float):
        return False
    if mode.interpolation == "nearest":
        return mode.coordinates != "tf_crop_and_resize" and rank > 3 and all(_repeats(a, mode) for a in axes)
    exact = all(abs(a.size * a.scale - a.out) <= 1e-6 * a.out for a in axes)
    filtered = mode.antialias and any(a.scale < 1 for a in axes)
    single = [a.out == 1 for a in axes]
    mixed = mode.coordinates == "pytorch_half_pixel" and any(single) and not all(single)
    return mode.interpolation == "linear" and mode.coordinates in _NATIVE_GRIDS and exact and not filtered and not mixed


def _repeats(axis: Axis, mode: Mode) -> bool:
    factor = axis.out // axis.size
    return factor > 0 and np.array_equal(_resample.nearest(axis, mode), np.arange(axis.size).repeat(factor))
