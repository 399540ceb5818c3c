"""CG108: transposed convolutions whose windows do not overlap."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.conv.emit import ints
from coregraft.passes.conv.transposed import TransposedGeometry, transposed_geometry
from coregraft.rewriter.passes import REASSOCIATING, NoMatch, OpBuilder, Rule


@dataclass(frozen=True)
class ConvTransposeToDepthToSpace(Rule):
    """Write a ConvTranspose with kernel equal to stride as a 1x1 Conv and DepthToSpace.

    What it does
    ------------
    With kernel = stride and no padding each output element comes from one input position, so a 1x1 Conv computes all
    of a block as channels, and a rearrangement moves them to their places: DepthToSpace (mode CRD) for square blocks
    in 2-D, else one reshape, transpose, reshape an axis, of rank 5 at most. Weights and bias must be constant; groups
    are kept.

    Why it matters
    --------------
    A transposed convolution of large stride fails to run on some units (stride 16 has been reported), and upsamplers
    leave the Neural Engine. A 1x1 convolution and a pixel shuffle run everywhere.

    Example
    -------
    Before::

        y = ConvTranspose(x, w, kernel_shape=[4, 4], strides=[4, 4])

    After, for ``w: float[8,3,4,4]``::

        c = Conv(x, w48[48,8,1,1], kernel_shape=[1, 1])
        y = DepthToSpace(c, blocksize=4, mode="CRD")

    Equivalence
    -----------
    Reassociating: sums over the same channels, by another kernel of the runtime.

    Options
    -------
    * ``min-stride``: the smallest stride, over all axes, at which it acts.

    Sources
    -------
    Hazard catalogue H1.08 (i).
    """

    code: ClassVar[str] = "CG108"
    equivalence: ClassVar = REASSOCIATING
    min_stride: int = 3

    def pattern(self, op: Any, x: Any, w: Any, b: Any = None) -> Any:
        return op.ConvTranspose(x, w, b, _name="conv")

    def where(self, m: Any) -> Any:
        if not m.w.is_const or (m.b is not None and not m.b.is_const):
            return NoMatch("the weights or the bias are computed at run time")
        g = transposed_geometry(m.conv)
        if g is None:
            return NoMatch("a length on which the padding depends is not known")
        if g.kernel != g.strides or any(d != 1 and k > 1 for d, k in zip(g.dilations, g.kernel, strict=True)):
            return NoMatch("kernel {} and stride {} differ, or there is dilation", g.kernel, g.strides)
        if any(g.begins) or any(g.ends):
            return NoMatch("there is padding")
        if max(g.strides) < self.min_stride:
            return NoMatch("the stride is below {}", self.min_stride)
        unknown = sum(not isinstance(d, int) for d in m.x.shape)
        if not _is_square(g) and unknown > 1:
            return NoMatch("more than one dim is unknown")
        return True

    def replacement(self, op: OpBuilder, m: Any) -> Any:
        g = transposed_geometry(m.conv)
        assert g is not None  # where has asked
        w = m.w.array()
        rank, block = len(g.kernel), math.prod(g.kernel)
        channels = w.shape[1] * g.group
        # (g, C/g, Co/g, block) -> (g, Co/g, block, C/g): a channel of the 1x1 convolution is an element of a block.
        split = w.reshape(g.group, w.shape[0] // g.group, w.shape[1], block).transpose(0, 2, 3, 1)
        weight = np.ascontiguousarray(split).reshape(channels * block, w.shape[0] // g.group, *(1,) * rank)
        bias = None if m.b is None else op.const(np.repeat(m.b.array(), block))
        y = op.Conv(m.x, op.const(weight), bias, group=g.group, kernel_shape=(1,) * rank)
        if _is_square(g):
            return op.DepthToSpace(y, blocksize=g.kernel[0], mode="CRD")
        return _interleave(op, y, channels, m.x.shape, g)


def _is_square(g: TransposedGeometry) -> bool:
    return len(g.kernel) == 2 and g.kernel[0] == g.kernel[1]


def _interleave(op: OpBuilder, y: Any, channels: int, shape: Any, g: TransposedGeometry) -> Any:
    """(N, channels * k1 * k2 ..., s1, s2 ...) -> (N, channels, s1 * k1, s2 * k2 ...), one axis after the other."""
    batch = shape[0] if isinstance(shape[0], int) else -1
    sizes = [d if isinstance(d, int) else -1 for d in shape[2:]]
    for i, k in enumerate(g.kernel):
        view = [_times(batch, channels), k, _times(*g.kernel[i + 1 :], *sizes[:i]), sizes[i], _times(*sizes[i + 1 :])]
        y = op.Transpose(op.Reshape(y, ints(op, view)), perm=(0, 2, 3, 1, 4))
        sizes[i] = _times(sizes[i], k)
    return op.Reshape(y, ints(op, [batch, channels, *sizes]))


def _times(*sizes: int) -> int:
    return -1 if -1 in sizes else math.prod(sizes)
