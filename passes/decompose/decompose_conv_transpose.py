"""Transposed convolutions with weights computed at run time, as convolutions, where MIL takes constant weights only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.passes.conv.emit import pad_spatial
from coregraft.passes.conv.transposed import transposed_geometry
from coregraft.passes.decompose._base import Decomposition, computed_weights, ints, need, operand
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView
from coregraft.rewriter.target import ORDER, Target

_LEAST = -(2**63)


@dataclass(frozen=True)
class DecomposeConvTranspose(Decomposition):
    """Write a ConvTranspose whose weights are computed at run time as a Conv, where MIL has no such op.

    What it does
    ------------
    Puts ``stride - 1`` zeros between the elements of the input and zeros around it, and convolves that with the
    weights: per group their channels exchanged, and back to front. Any number of spatial axes, strides, dilations,
    groups, pads, ``output_padding``, ``output_shape`` and a bias. Shapes must be known. Fires for Core ML targets only,
    before iOS 17 and in every neuralnetwork.

    Why it matters
    --------------
    MIL's conv_transpose takes weights that are no constants from iOS 17 on, and a neuralnetwork's never does.
    Generators that modulate their weights (StyleGAN) have such layers.

    Example
    -------
    ``y = ConvTranspose<strides=[2]>(x, w)`` with three taps becomes ``y = Conv(z, v)``: ``z`` is ``x`` with a zero
    after each element but the last and two at either end, ``v`` is ``w`` transposed and reversed.

    Equivalence
    -----------
    Reassociating: the same products, and zeros, in another order.

    Sources
    -------
    coremltools 9.0 operator notes; ONNX ConvTranspose-22.
    """

    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ("ConvTranspose",)

    def wanted(self, node: OpView, target: Target) -> bool:
        if target.ops is None or not computed_weights(node, 1):
            return False
        return target.format == "neuralnetwork" or ORDER.index(target.name) < ORDER.index("iOS17")

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x, w = need(node, 0), need(node, 1)
        geometry = transposed_geometry(node)
        if geometry is None or x.static_shape is None or w.static_shape is None:
            return NoMatch("its shapes are not known")
        reach = [d * (k - 1) for d, k in zip(geometry.dilations, geometry.kernel, strict=True)]
        spread = _spread(op, x, x.static_shape, geometry.strides)
        begins = [r - b for r, b in zip(reach, geometry.begins, strict=True)]
        # Behind the last element there are zeros already.
        ends = [r - e - (s - 1) for r, e, s in zip(reach, geometry.ends, geometry.strides, strict=True)]
        weights = _turned(op, w, w.static_shape, geometry.group)
        attrs = {"dilations": geometry.dilations, "group": geometry.group}
        bias = operand(node, 2)
        return op.Conv(pad_spatial(op, spread, begins, ends), weights, *(() if bias is None else (bias,)), **attrs)


def _spread(op: OpBuilder, x: Any, shape: Sequence[int], strides: Sequence[int]) -> Any:
    """``x`` with ``stride - 1`` zeros after each element of each spatial axis."""
    sizes = list(shape)
    for axis, stride in enumerate(strides, start=2):
        if stride == 1:
            continue
        rows, inner = math.prod(sizes[: axis + 1]), math.prod(sizes[axis + 1 :])
        sizes[axis] *= stride
        grown = op.Pad(op.Reshape(x, ints(op, [rows, 1, inner])), ints(op, [0, 0, 0, 0, stride - 1, 0]))
        x = op.Reshape(grown, ints(op, sizes))
    return x


def _turned(op: OpBuilder, w: Any, shape: Sequence[int], group: int) -> Any:
    """Weights [in, out / group, taps] as those of a convolution, [out, in / group, taps], taps back to front."""
    inside, outside, kernel = shape[0] // group, shape[1], shape[2:]
    split = op.Transpose(op.Reshape(w, ints(op, [group, inside, outside, math.prod(kernel)])), perm=(0, 2, 1, 3))
    back = op.Slice(split, ints(op, [-1]), ints(op, [_LEAST]), ints(op, [3]), ints(op, [-1]))
    return op.Reshape(back, ints(op, [group * outside, inside, *kernel]))
