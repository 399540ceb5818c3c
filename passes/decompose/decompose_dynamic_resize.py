"""Resize by scales, sizes or a crop that are computed at run time: its matrices and indices are computed with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose._base import Decomposition, computed, constant, need, operand
from coregraft.passes.decompose._expression import Expression
from coregraft.passes.decompose._resample import Axis
from coregraft.passes.decompose._resized import CROP, chosen_axes, mode_of, refusal, resized
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView
from coregraft.rewriter.target import Target


@dataclass(frozen=True)
class DecomposeDynamicResize(Decomposition):
    """Compute the matrices and indices of a Resize whose scales, sizes or roi are only known at run time.

    What it does
    ------------
    The size of the result is fixed by its declared shape; scales, bounds under a ``keep_aspect_ratio_policy`` and the
    crop of ``tf_crop_and_resize`` decide where in the input its elements lie. Those places are computed in fp32 from
    the operands, in onnxruntime's order of operations: for nearest they become the indices of a Gather an axis; for
    linear and cubic a matrix [out, in] of weights an axis, which a MatMul applies. All modes and attributes are
    honoured; nearest under ``half_pixel_symmetric`` is not, whose ties take double precision. The shapes of input and
    result must be known on the axes that are resized. Fires for Core ML targets only.

    Why it matters
    --------------
    Core ML resizes by constants, and by the ratio of the sizes only; a crop it takes as boxes with a grid of its own.

    Example
    -------
    ``y: float[6] = Resize <mode = "nearest"> (x: float[4], , scales)`` becomes ``y = Gather(x, indices)`` with
    indices rounded from ``(i + 0.5) / scales - 0.5``.

    Equivalence
    -----------
    Reassociating: the same weights, summed one axis after the other. Nearest copies elements, those that onnxruntime
    copies where division is rounded as IEEE 754 has it.

    Sources
    -------
    H4.12, H3.21 (coordinates stay in fp32); ONNX Resize-19; compared with onnxruntime's over all modes.
    """

    code: ClassVar[str] = "CG412"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ("Resize",)

    def wanted(self, node: OpView, target: Target) -> bool:
        return target.ops is not None and any(computed(node, i) for i in (1, 2, 3))

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x, y, mode = need(node, 0), node.outputs[0], mode_of(node)
        if x.shape is None or x.dtype is None or y is None or y.shape is None:
            return NoMatch("the shape of its result is not known")
        chosen = chosen_axes(node, len(x.shape))
        ends = [(n, m) for i in chosen if isinstance(n := x.shape[i], int) and isinstance(m := y.shape[i], int)]
        if len(ends) < len(chosen) or any(0 in pair for pair in ends):
            return NoMatch("the shape of its result is not known")
        if why := refusal(x, node):
            return NoMatch("{}", why)
        if mode.interpolation == "nearest" and mode.coordinates == "half_pixel_symmetric":
            return NoMatch("nearest places of half_pixel_symmetric take double precision")
        scales = _scales(op, node, [size for size, _ in ends])
        roi = _given(op, node, 1) if mode.coordinates == CROP else None
        axes = []
        for at, (index, (size, out)) in enumerate(zip(chosen, ends, strict=True)):
            if size == out == 1:
                continue  # there is one element to take, whatever scale and roi are
            scale = scales[at : at + 1]
            if roi is None:
                axes.append(Axis(index, size, out, scale))
            else:
                end = len(chosen) + at
                axes.append(Axis(index, size, out, scale, (roi[at : at + 1], roi[end : end + 1])))
        return resized(op, x, axes, mode, node.attr("extrapolation_value")) if axes else x


def _scales(op: OpBuilder, node: OpView, sizes: list[int]) -> Any:
    """A scale for every axis, fp32: the given ones, or those that follow from the sizes."""
    known = constant(node, 2)
    if operand(node, 2) is not None and (known is None or known.size):
        return _given(op, node, 2)
    ratios = _given(op, node, 3) / np.array(sizes, np.float32)
    policy = node.attr("keep_aspect_ratio_policy")
    if policy == "stretch":
        return ratios
    return (ratios.min() if policy == "not_larger" else ratios.max()) * np.ones(len(sizes), np.float32)


def _given(op: OpBuilder, node: OpView, index: int) -> Any:
    """An operand in fp32: an array where it is constant, else an expression."""
    known = constant(node, index)
    return known.astype(np.float32) if known is not None else Expression(op, need(node, index)).astype(np.float32)
