"""Col2Im as a transposed convolution."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose._base import Decomposition, constant, ints, need
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView


@dataclass(frozen=True)
class DecomposeCol2im(Decomposition):
    """Write Col2Im as a transposed convolution with an identity kernel.

    What it does
    ------------
    Each column is a block of one output position: a ConvTranspose with one group per channel, whose kernel puts tap k
    of the column at place k of the block, adds overlapping blocks as Col2Im does. Strides, dilations and pads are
    honoured; image and block shape must be constant. Fires where the target has no lowering for the op.

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
        x, image, block = need(node, 0), constant(node, 1), constant(node, 2)
        if image is None or block is None:
            return NoMatch("image or block shape is computed at run time")
        if x.static_shape is None or x.dtype is None:
            return NoMatch("the shape of the input is not known")
        sizes, kernel = [int(n) for n in image], [int(k) for k in block]
        rank, taps = len(kernel), math.prod(kernel)
        strides = list(node.attr("strides") or (1,) * rank)
        dilations = list(node.attr("dilations") or (1,) * rank)
        pads = list(node.attr("pads") or (0,) * (2 * rank))
        blocks, spare = [], []
        for i in range(rank):
            room = sizes[i] + pads[i] + pads[rank + i] - dilations[i] * (kernel[i] - 1) - 1
            blocks.append(room // strides[i] + 1)
            spare.append(room % strides[i])
        batch, columns, _ = x.static_shape
        channels = columns // taps
        identity = np.tile(np.eye(taps).reshape(taps, 1, *kernel), (channels, *(1,) * (rank + 1)))
        return op.ConvTranspose(
            op.Reshape(x, ints(op, [batch, columns, *blocks])),
            op.const(identity.astype(x.dtype.numpy)),
            group=channels,
            kernel_shape=kernel,
            strides=strides,
            dilations=dilations,
            pads=pads,
            output_padding=spare,
        )
