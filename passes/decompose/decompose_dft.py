"""DFT as a matrix product."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose._base import Decomposition, computed, constant, ints, need
from coregraft.passes.decompose._fourier import basis
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView


@dataclass(frozen=True)
class DecomposeDft(Decomposition):
    """Write a Fourier transform as one product with a constant matrix.

    What it does
    ------------
    Brings the axis next to the last one (real and imaginary part), flattens both and multiplies by the matrix of
    cosines and sines, computed in fp64. Real and complex input, ``inverse``, ``onesided``, any axis and a
    ``dft_length`` that pads or cuts are honoured. The length must be known and at most ``max-length``; a one-sided
    inverse is refused, as onnxruntime does. Fires where the target has no lowering for the op.

    Why it matters
    --------------
    Core ML has no Fourier transform and no complex numbers. For the lengths of audio models the product is cheap, and
    runs anywhere.

    Example
    -------
    ``y = DFT <onesided = 1> (x)`` of ``x: float[1,400,1]`` becomes ``y = Reshape(MatMul(Reshape(x), W))`` with ``W:
    float[400,402]``.

    Equivalence
    -----------
    Reassociating: a plain sum instead of a fast algorithm, whose rounding differs.

    Options
    -------
    max-length: longest transform to write as a matrix.

    Sources
    -------
    H4.25; ONNX DFT-20.
    """

    code: ClassVar[str] = "CG425"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ("DFT",)
    when_unsupported: ClassVar[bool] = True
    max_length: int = 2048

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x = need(node, 0)
        if x.shape is None or x.dtype is None:
            return NoMatch("the rank of the input is not known")
        if computed(node, 1) or computed(node, 2):
            return NoMatch("its length or axis is computed at run time")
        rank, given_axis, given_length = len(x.shape), constant(node, 2), constant(node, 1)
        axis = (-2 if given_axis is None else int(given_axis.reshape(()))) % rank
        samples, parts = x.shape[axis], x.shape[-1]
        if not isinstance(samples, int) or not isinstance(parts, int):
            return NoMatch("the size of the axis is not known")
        length = samples if given_length is None else int(given_length.reshape(()))
        if length > self.max_length:
            return NoMatch("length {} is more than max-length={}", length, self.max_length)
        inverse, onesided = node.attr("inverse") == 1, node.attr("onesided") == 1
        if inverse and onesided:
            return NoMatch("it is one-sided and inverse")
        bins = length // 2 + 1 if onesided else length
        used = min(samples, length)

        perm = [*(i for i in range(rank - 1) if i != axis), axis, rank - 1]
        moved = op.Transpose(x, perm=perm) if perm != sorted(perm) else x
        if used < samples:
            moved = op.Slice(moved, ints(op, [0]), ints(op, [used]), ints(op, [rank - 2]))
        flat = op.Reshape(moved, ints(op, [*([0] * (rank - 2)), used * parts]))
        matrix = basis(length, used, bins, parts, inverse).reshape(used * parts, bins * 2)
        product = op.MatMul(flat, op.const(matrix.astype(x.dtype.numpy)))
        y = op.Reshape(product, ints(op, [*([0] * (rank - 2)), bins, 2]))
        return op.Transpose(y, perm=np.argsort(perm).tolist()) if perm != sorted(perm) else y
