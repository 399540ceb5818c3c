"""DeformConv as gathers and a matrix product."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose import _sampling
from coregraft.passes.decompose._base import Decomposition, ints, need, operand
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView
from coregraft.rewriter.types import Array


@dataclass(frozen=True)
class DecomposeDeformConv(Decomposition):
    """Write a deformable convolution as bilinear sampling by gathers, and a matrix product.

    What it does
    ------------
    Adds the offsets to the grid of the kernel's taps, reads the four pixels around every place from a table (zeros
    around the image), weights them, applies the mask, and multiplies by the kernel as one MatMul. Groups, offset
    groups, strides, pads, dilations, mask and bias are honoured; offsets may be constant or computed. Input and
    offsets need static shapes and two spatial axes. Fires where the target has no lowering for the op.

    Why it matters
    --------------
    Core ML has no deformable convolution, in either format.

    Example
    -------
    ``y = DeformConv <pads = [1, 1, 1, 1]> (x, w, offset, b, mask)`` becomes four Gathers with their weights, and
    ``y = Reshape(MatMul(w', columns) + b)``.

    Equivalence
    -----------
    Reassociating: the same products in another order.

    Sources
    -------
    H4.24, H3.21 (keep the coordinates in fp32); ONNX DeformConv-22.
    """

    code: ClassVar[str] = "CG424"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ("DeformConv",)
    when_unsupported: ClassVar[bool] = True

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x, w, offset = (need(node, i) for i in range(3))
        shape, kernel_shape, offsets = x.static_shape, w.static_shape, offset.static_shape
        if shape is None or kernel_shape is None or offsets is None:
            return NoMatch("the shape of an operand is not known")
        if len(shape) != 4:
            return NoMatch("it has {} spatial axes, and only two are taken apart", len(shape) - 2)
        batch, channels = shape[:2]
        outputs, kernel = kernel_shape[0], kernel_shape[2:]
        window, taps = offsets[2:], kernel[0] * kernel[1]
        pixels = window[0] * window[1]
        groups, offset_groups = node.attr("group"), node.attr("offset_group")

        pairs = op.Reshape(offset, ints(op, [batch, offset_groups * taps, 2, pixels]))
        parts = op.Split(pairs, ints(op, [1, 1]), axis=2, _outputs=2)
        places = []
        for part, grid in zip(parts, _grid(node, kernel, window), strict=True):
            flat = op.Reshape(part, ints(op, [batch, offset_groups, taps * pixels]))
            places.append(op.Add(flat, op.const(grid.astype(x.dtype.numpy if x.dtype else np.float32))))
        source = _sampling.table(op, x, shape, offset_groups, "linear", "zeros")
        values = _sampling.sample(op, source, places, "linear")
        mask = operand(node, 4)
        if mask is not None:
            values = op.Mul(values, op.Reshape(mask, ints(op, [batch, offset_groups, taps * pixels, 1])))

        columns = op.Reshape(values, ints(op, [batch, offset_groups, taps, pixels, channels // offset_groups]))
        columns = op.Transpose(columns, perm=[0, 1, 4, 2, 3])
        columns = op.Reshape(columns, ints(op, [batch, groups, channels // groups * taps, pixels]))
        weights = op.Reshape(w, ints(op, [groups, outputs // groups, channels // groups * taps]))
        y = op.Reshape(op.MatMul(weights, columns), ints(op, [batch, outputs, *window]))
        bias = operand(node, 3)
        return y if bias is None else op.Add(y, op.Reshape(bias, ints(op, [1, outputs, 1, 1])))


def _grid(node: OpView, kernel: Sequence[int], window: Sequence[int]) -> list[Array]:
    """Where each tap of the undeformed kernel lies, by axis: [taps * output pixels]."""
    strides = node.attr("strides") or (1, 1)
    dilations = node.attr("dilations") or (1, 1)
    pads = node.attr("pads") or (0, 0, 0, 0)
    along = [
        (np.arange(kernel[i]) * dilations[i])[:, None] + (np.arange(window[i]) * strides[i])[None, :] - pads[i]
        for i in range(2)
    ]
    full = (*kernel, *window)
    rows = np.broadcast_to(along[0][:, None, :, None], full)
    columns = np.broadcast_to(along[1][None, :, None, :], full)
    return [rows.ravel(), columns.ravel()]
