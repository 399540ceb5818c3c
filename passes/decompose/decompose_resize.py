"""Resize as products with constant matrices, or as gathers of constant indices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose import _resample
from coregraft.passes.decompose._base import Decomposition, computed, constant, need
from coregraft.passes.decompose._resample import Axis, Mode
from coregraft.passes.decompose._resized import CROP, chosen_axes, mode_of, refusal, resized
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView, Rewriter
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
    Reassociating: the same weights, summed one axis after the other. Nearest copies elements; a coordinate within
    1e-6 of the middle between two lies in the middle, as in onnxruntime 1.31.

    Sources
    -------
    H4.12; ONNX Resize-19; weights compared with onnxruntime's over all modes.
    """

    code: ClassVar[str] = "CG412"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ("Resize",)

    def wanted(self, node: OpView, target: Target) -> bool:
        return target.ops is not None

    def match_and_rewrite(self, op_id: int, rw: Rewriter) -> bool | NoMatch:
        node = OpView(rw.graph, op_id)
        if self.wanted(node, rw.target) and _is_native(node, rw.target):
            return NoMatch("Core ML's own resize samples at the same places")
        return super().match_and_rewrite(op_id, rw)

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x, mode, axes = need(node, 0), mode_of(node), _axes(node)
        if isinstance(axes, str):
            return NoMatch("{}", axes)
        if not axes:
            return x
        if why := refusal(x, node):
            return NoMatch("{}", why)
        return resized(op, x, axes, mode, node.attr("extrapolation_value"))


def _axes(node: OpView) -> list[Axis] | str:
    """The axes that the op changes; a string is the reason why they cannot be told."""
    x, crop = need(node, 0), node.attr("coordinate_transformation_mode") == CROP
    if x.shape is None or x.dtype is None:
        return "the type of the input is not known"
    if any(computed(node, i) for i in (1, 2, 3)):
        return "its scales, sizes or roi are computed at run time"  # what decompose-dynamic-resize is for
    axes = _resample.axes_of(
        x.shape,
        chosen_axes(node, len(x.shape)),
        constant(node, 2),
        constant(node, 3),
        node.attr("keep_aspect_ratio_policy"),
        constant(node, 1) if crop else None,
    )
    return axes if isinstance(axes, str) else [a for a in axes if a.size != a.out or a.scale != 1 or crop]


def _is_native(node: OpView, target: Target) -> bool:
    x, mode, axes = need(node, 0), mode_of(node), _axes(node)
    rank = x.rank or 0
    if not axes or isinstance(axes, str) or rank not in (3, 4, 5) or not (x.dtype and x.dtype.is_float):
        return False
    if min(a.index for a in axes) < max(rank - 2, 2):
        return False
    if mode.interpolation == "nearest":
        return mode.coordinates != CROP and rank > 3 and all(_repeats(a, mode) for a in axes)
    if mode.interpolation != "linear" or mode.coordinates not in _NATIVE_GRIDS:
        return False
    exact = all(abs(a.size * a.scale - a.out) <= 1e-6 * a.out for a in axes)
    filtered = mode.antialias and any(a.scale < 1 for a in axes)
    single = [a.out == 1 for a in axes]
    mixed = mode.coordinates == "pytorch_half_pixel" and any(single) and not all(single)
    fractional = "half_pixel" in mode.coordinates and any(a.out % a.size for a in axes)
    return exact and not filtered and not mixed and not (fractional and target.format == "neuralnetwork")


def _repeats(axis: Axis, mode: Mode) -> bool:
    factor = axis.out // axis.size
    return factor > 0 and np.array_equal(_resample.nearest(axis, mode), np.arange(axis.size).repeat(factor))
