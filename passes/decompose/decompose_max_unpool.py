"""MaxUnpool as a scatter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose._base import Decomposition, ints, need
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView


@dataclass(frozen=True)
class DecomposeMaxUnpool(Decomposition):
    """Write MaxUnpool as a scatter of its values into zeros.

    What it does
    ------------
    Flattens values and indices, scatters the values into a flat constant of zeros, and gives it the output's shape,
    which must be known. An ``output_shape`` operand that is larger than the pool's own shape re-reads the indices in
    the rows of that shape, and is refused. Fires where the target has no lowering for the op.

    Why it matters
    --------------
    Core ML has no unpooling; SegNet-like decoders are made of it.

    Example
    -------
    ``y = MaxUnpool <kernel_shape = [2, 2], strides = [2, 2]> (x, i)`` becomes
    ``y = Reshape(ScatterElements(zeros, Reshape(i), Reshape(x)))``.

    Equivalence
    -----------
    Bit-exact where no two indices are the same (which one wins is open in ONNX, too).

    Sources
    -------
    H4.11; ONNX MaxUnpool-22.
    """

    code: ClassVar[str] = "CG411"
    equivalence: ClassVar[Equivalence] = Equivalence.BIT_EXACT
    roots: ClassVar[tuple[str, ...]] = ("MaxUnpool",)
    when_unsupported: ClassVar[bool] = True

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x, places = need(node, 0), need(node, 1)
        shape = x.static_shape
        if shape is None or x.dtype is None:
            return NoMatch("the shape of the input is not known")
        if len(node.inputs) > 2 and node.inputs[2] is not None:
            return NoMatch("it gives an output shape of its own")
        kernel = node.attr("kernel_shape")
        strides, pads = node.attr("strides") or (1,) * len(kernel), node.attr("pads") or (0,) * (2 * len(kernel))
        sizes = [
            (n - 1) * s - (b + e) + k
            for n, s, k, b, e in zip(shape[2:], strides, kernel, pads[: len(kernel)], pads[len(kernel) :], strict=True)
        ]
        full = [*shape[:2], *sizes]
        zeros = op.const(np.zeros(math.prod(full), x.dtype.numpy))
        flat = op.ScatterElements(zeros, op.Reshape(places, ints(op, [-1])), op.Reshape(x, ints(op, [-1])), axis=0)
        return op.Reshape(flat, ints(op, full))
