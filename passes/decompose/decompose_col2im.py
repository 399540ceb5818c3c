"""Col2Im as a transposed convolution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.conv.geometry import Axis, window_axes
from coregraft.passes.decompose._base import Decomposition, constant, ints, need
from coregraft.passes.decompose._choices import select
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView


@dataclass(frozen=True)
class DecomposeCol2im(Decomposition):
    """Write Col2Im as a transposed convolution with an identity kernel.

    What it does
    ------------
    Each column is a block of one output position: a ConvTranspose with one group per channel, whose kernel puts tap k
    of the column at place k of the block, adds overlapping blocks as Col2Im does. Strides, dilations and pads are
    honoured. An image shape that is given at run time is the declared shape of the result; of a block shape, those
    are tried that give the declared shapes of input and result, and where there are several (at most eight), one is
    selected at run time. Fires where the target has no lowering for the op.

    Why it matters
    --------------
    Core ML has no Col2Im.

    Example
    -------
    ``y = Col2Im(x, [5, 5], [2, 2])`` becomes ``y = ConvTranspose <group = C> (Reshape(x), identity)``.

    Equivalence
    -----------
    Reassociating: overlapping elements may be added in another order.

    Sources
    -------
    Operator table of the hazard catalogue; ONNX Col2Im-18.
    """

    code: ClassVar[str] = "CG424"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ("Col2Im",)
    when_unsupported: ClassVar[bool] = True

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x, y = need(node, 0), node.outputs[0]
        if x.static_shape is None or x.dtype is None or len(x.static_shape) != 3:
            return NoMatch("the shape of the input is not known")
        if not x.dtype.is_float:
            return NoMatch("it adds integers")
        image, block = constant(node, 1), constant(node, 2)
        declared = None if y is None else y.static_shape
        if image is not None and block is not None:
            return _transposed(op, node, [int(n) for n in image], tuple(int(k) for k in block))
        if declared is None:
            return NoMatch("image or block shape is computed at run time, and the shape of its result is not known")
        sizes = declared[2:]
        if block is not None:
            return _transposed(op, node, sizes, tuple(int(k) for k in block))
        taps, blocks = x.static_shape[1] // declared[1], x.static_shape[2]
        shapes = [k for k in _factorisations(taps, len(sizes)) if _block_count(node, sizes, k) == blocks]
        return select(op, lambda: need(node, 2), shapes, lambda kernel: _transposed(op, node, sizes, kernel))


def _transposed(op: OpBuilder, node: OpView, sizes: Sequence[int], kernel: tuple[int, ...]) -> Any:
    """The transposed convolution that gives an image of these sizes from blocks of this shape."""
    x, taps = need(node, 0), math.prod(kernel)
    assert x.static_shape is not None and x.dtype is not None
    batch, columns, blocks = x.static_shape
    if _block_count(node, sizes, kernel) != blocks or columns % taps:
        return NoMatch("blocks {} of an image {} are not what its input has", list(kernel), list(sizes))
    axes, channels = _axes(node, sizes, kernel), columns // taps
    identity = np.tile(np.eye(taps).reshape(taps, 1, *kernel), (channels, *(1,) * (len(kernel) + 1)))
    return op.ConvTranspose(
        op.Reshape(x, ints(op, [batch, columns, *(axis.out or 0 for axis in axes)])),
        op.const(identity.astype(x.dtype.numpy)),
        group=channels,
        kernel_shape=list(kernel),
        strides=[axis.stride for axis in axes],
        dilations=[axis.dilation for axis in axes],
        pads=[*(axis.begin for axis in axes), *(axis.end for axis in axes)],
        output_padding=[((axis.size or 0) + axis.begin + axis.end - axis.extent) % axis.stride for axis in axes],
    )


def _axes(node: OpView, sizes: Sequence[int], kernel: Sequence[int]) -> tuple[Axis, ...]:
    axes = window_axes(node.attrs, sizes, kernel)
    assert axes is not None  # Col2Im's pads are explicit
    return axes


def _block_count(node: OpView, sizes: Sequence[int], kernel: Sequence[int]) -> int:
    """How many blocks an image has; 0 when none fits."""
    return math.prod(max(axis.out or 0, 0) for axis in _axes(node, sizes, kernel))


def _factorisations(number: int, parts: int) -> list[tuple[int, ...]]:
    """All ways to write a number as an ordered product of so many factors, in ascending order."""
    if parts == 1:
        return [(number,)]
    divisors = [d for d in range(1, number + 1) if number % d == 0]
    return [(first, *rest) for first in divisors for rest in _factorisations(number // first, parts - 1)]
