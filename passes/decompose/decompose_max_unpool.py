"""MaxUnpool as a scatter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose._base import Decomposition, constant, ints, need, operand
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView


@dataclass(frozen=True)
class DecomposeMaxUnpool(Decomposition):
    """Write MaxUnpool as a scatter of its values into zeros.

    What it does
    ------------
    Flattens values and indices, scatters the values into a flat constant of zeros, and gives it the output's shape,
    which must be known. An ``output_shape`` operand must be the pool's own shape (one that is given at run time: by
    the declared shape of the result). In another shape onnxruntime reads the indices by the rows of that shape,
    ONNX's reference by those of the pool's own; it is refused. Fires where the target has no lowering for the op.

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
        kernel = node.attr("kernel_shape")
        if len(shape) != len(kernel) + 2:
            return NoMatch("its input has {} axes, and its window {}", len(shape), len(kernel))
        strides, pads = node.attr("strides") or (1,) * len(kernel), node.attr("pads") or (0,) * (2 * len(kernel))
        sizes = [
            (n - 1) * s - (b + e) + k
            for n, s, k, b, e in zip(shape[2:], strides, kernel, pads[: len(kernel)], pads[len(kernel) :], strict=True)
        ]
        full = [*shape[:2], *sizes]
        if operand(node, 2) is not None:
            given, y = constant(node, 2), node.outputs[0]
            declared = None if y is None else y.static_shape
            wanted = declared if given is None else tuple(int(n) for n in given)
            if wanted != tuple(full):
                return NoMatch("it gives an output shape of its own, {} instead of {}", wanted, full)
        zeros = op.const(np.zeros(math.prod(full), x.dtype.numpy))
        flat = op.ScatterElements(zeros, op.Reshape(places, ints(op, [-1])), op.Reshape(x, ints(op, [-1])), axis=0)
        return op.Reshape(flat, ints(op, full))
