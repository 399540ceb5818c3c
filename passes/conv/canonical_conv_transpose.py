"""CG107: transposed convolutions whose padding every backend understands alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.conv.emit import TO_END, pad_spatial, slice_axes
from coregraft.passes.conv.geometry import text
from coregraft.passes.conv.transposed import transposed_geometry
from coregraft.rewriter.passes import BIT_EXACT, NoMatch, OpBuilder, OpView, Rule


@dataclass(frozen=True)
class CanonicalConvTranspose(Rule):
    """Write a ConvTranspose with unusual padding as the full one, then zeros, a crop and the bias.

    What it does
    ------------
    Fires for ``output_padding``, ``output_shape``, ``auto_pad`` and pads that differ between begin and end. The
    convolution is computed in full, without pads and bias; zeros are added where ``output_padding`` reaches beyond
    it, the pads are cut off, and the bias is added last, since it belongs to the added elements, too. Groups,
    dilations, 1-D to 3-D; symbolic lengths, unless ``output_shape`` or ``auto_pad`` depends on them. ``output_shape``
    and ``auto_pad`` that come out as pads equal at both ends are written as those.

    Why it matters
    --------------
    The results of ``output_padding`` and of asymmetric pads differ between the CPU and the other units.

    Example
    -------
    Before::

        y = ConvTranspose(x, w, b, kernel_shape=[3], output_padding=[1], pads=[1, 1], strides=[2])

    After::

        f = ConvTranspose(x, w, kernel_shape=[3], strides=[2])
        y = Add(Slice(f, [1], [9223372036854775807], [2], [1]), b[1,4,1])

    Equivalence
    -----------
    Bit-exact: the same sums, the bias added last.

    Options
    -------
    * ``always``: rewrite every ConvTranspose that has pads, the symmetric ones, too.

    Sources
    -------
    Hazard catalogue H1.07; ONNX ConvTranspose-22.
    """

    code: ClassVar[str] = "CG107"
    equivalence: ClassVar = BIT_EXACT
    always: bool = False

    def pattern(self, op: Any, x: Any, w: Any, b: Any = None) -> Any:
        return op.ConvTranspose(x, w, b, _name="conv")

    def where(self, m: Any) -> Any:
        node: OpView = m.conv
        geometry = transposed_geometry(node)
        if geometry is None:
            return NoMatch("the kernel, or a length on which the padding depends, is not known")
        grown = any(node.attr("output_padding") or ())
        plain = not grown and not node.attr("output_shape") and text(node.attr("auto_pad")) == "NOTSET"
        pads = (*geometry.begins, *geometry.ends)
        if plain and geometry.begins == geometry.ends and not (self.always and any(pads)):
            return NoMatch("the pads are the same at both ends, or none")
        return True

    def replacement(self, op: OpBuilder, m: Any) -> Any:
        geometry = transposed_geometry(m.conv)
        assert geometry is not None  # where has asked
        begins, ends = geometry.begins, geometry.ends
        attrs = {
            "kernel_shape": geometry.kernel,
            "strides": geometry.strides,
            "dilations": geometry.dilations,
            "group": geometry.group,
        }
        if begins == ends and min(begins) >= 0 and not (self.always and any(begins)):
            return op.ConvTranspose(m.x, m.w, m.b, **attrs, pads=(*begins, *ends))
        y = op.ConvTranspose(m.x, m.w, **attrs)
        y = pad_spatial(op, y, [max(0, -p) for p in begins], [max(0, -p) for p in ends])
        y = slice_axes(op, y, {
            axis: (max(0, before), min(0, -behind) or TO_END, 1)
            for axis, (before, behind) in enumerate(zip(begins, ends, strict=True), start=2)
            if before > 0 or behind > 0
        })  # fmt: skip
        return y if m.b is None else op.Add(y, channel_bias(op, m.b, len(begins)))


def channel_bias(op: OpBuilder, b: Any, spatial: int) -> Any:
    """A bias (C) as (1, C, 1, ...)."""
    shape = (1, -1, *(1,) * spatial)
    return op.const(b.array().reshape(shape)) if b.is_const else op.Reshape(b, op.const(np.array(shape, np.int64)))
