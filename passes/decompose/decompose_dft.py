"""DFT as a matrix product."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose._base import Decomposition, computed, constant, ints, need
from coregraft.passes.decompose._choices import select
from coregraft.passes.decompose._fourier import basis, real_inverse
from coregraft.passes.shapes._index import from_front
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView
from coregraft.rewriter.types import DType


@dataclass(frozen=True)
class DecomposeDft(Decomposition):
    """Write a Fourier transform as one product with a constant matrix.

    What it does
    ------------
    Brings the axis next to the last one (real and imaginary part), flattens both and multiplies by the matrix of
    cosines and sines, computed in fp64. Real and complex input, ``inverse``, ``onesided``, any axis and a
    ``dft_length`` that pads or cuts are honoured, up to ``max-length``. An axis or a length that is given at run time
    is what the declared shape of the result says; where that leaves several (equal axes; an even and an odd length
    of a one-sided result), one is selected at run time. A one-sided inverse must have as many bins as its length
    says: for others ONNX's reference and onnxruntime differ. Fires where the target has no lowering for the op.

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
    ranks: ClassVar[range] = range(2, 65)
    max_length: int = 2048

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x = need(node, 0)
        if x.shape is None or x.dtype is None:
            return NoMatch("the rank of the input is not known")
        inverse, onesided = node.attr("inverse") == 1, node.attr("onesided") == 1
        if onesided and x.shape[-1] != (2 if inverse else 1):
            return NoMatch("a one-sided transform goes from real to complex numbers, its inverse back")
        found = _parameters(node)
        if isinstance(found, NoMatch):
            return found
        for axis, length in found:
            if length < 1:
                return NoMatch("its length is {}", length)
            if length > self.max_length:
                return NoMatch("length {} is more than max-length={}", length, self.max_length)
            if onesided and inverse and x.shape[axis] != length // 2 + 1:
                return NoMatch("its spectrum of {} bins is not that of length {}", x.shape[axis], length)
        free = [i for i in (2, 1) if computed(node, i)]
        choices = {tuple(length if i == 1 else axis for i in free): (axis, length) for axis, length in found}
        return select(op, lambda: _given(op, node, free), [*choices], lambda key: _product(op, node, *choices[key]))


def _parameters(node: OpView) -> list[tuple[int, int]] | NoMatch:
    """The axis and the length, or the pairs of them that give the result its declared shape."""
    x, y = need(node, 0).shape, node.outputs[0]
    after = None if y is None else y.static_shape
    assert x is not None
    if after is None and (computed(node, 1) or computed(node, 2)):
        return NoMatch("its length or axis is computed at run time, and the shape of its result is not known")
    given = constant(node, 2)
    axes = range(len(x) - 1) if computed(node, 2) else [(-2 if given is None else int(given.reshape(()))) % len(x)]
    found = []
    for axis in axes:
        samples = x[axis]
        if not isinstance(samples, int) or not isinstance(x[-1], int):
            return NoMatch("the size of the axis is not known")
        if after is None or all(x[i] == after[i] for i in range(len(x) - 1) if i != axis):
            found += [(axis, n) for n in _lengths(node, samples, None if after is None else after[axis])]
    return found


def _lengths(node: OpView, samples: int, bins: int | None) -> list[int]:
    """The lengths that make ``bins`` results, if it is known how many they are, of ``samples`` operands."""
    given, onesided, inverse = constant(node, 1), node.attr("onesided") == 1, node.attr("inverse") == 1
    halved = onesided and not inverse
    if computed(node, 1):
        assert bins is not None
        return [n for n in (2 * bins - 2, 2 * bins - 1) if n > 0] if halved else [bins]
    if given is not None:
        length = int(given.reshape(()))
    else:
        length = 2 * (samples - 1) if onesided and inverse else samples
    return [length] if bins in (None, length // 2 + 1 if halved else length) else []


def _given(op: OpBuilder, node: OpView, free: Sequence[int]) -> Any:
    """The operands that are given at run time, int64; the axis counted from the front."""
    parts = [op.Cast(op.Reshape(need(node, i), ints(op, [1])), to=int(DType.INT64)) for i in free]
    shape = need(node, 0).shape
    assert shape is not None
    parts = [from_front(op, part, len(shape)) if i == 2 else part for i, part in zip(free, parts, strict=True)]
    return op.Concat(*parts, axis=0) if len(parts) > 1 else parts[0]


def _product(op: OpBuilder, node: OpView, axis: int, length: int) -> Any:
    """The transform of one length."""
    x = need(node, 0)
    assert x.shape is not None and x.dtype is not None
    rank, samples, parts = len(x.shape), x.shape[axis], x.shape[-1]
    assert isinstance(samples, int) and isinstance(parts, int)
    inverse, onesided = node.attr("inverse") == 1, node.attr("onesided") == 1
    used = min(samples, length)
    if inverse and onesided:
        matrix = real_inverse(length)
    else:
        matrix = basis(length, used, length // 2 + 1 if onesided else length, parts, inverse)
    bins, made = matrix.shape[2:]

    perm = [*(i for i in range(rank - 1) if i != axis), axis, rank - 1]
    moved = op.Transpose(x, perm=perm) if perm != sorted(perm) else x
    if used < samples:
        moved = op.Slice(moved, ints(op, [0]), ints(op, [used]), ints(op, [rank - 2]))
    flat = op.Reshape(moved, ints(op, [*([0] * (rank - 2)), used * parts]))
    product = op.MatMul(flat, op.const(matrix.reshape(used * parts, bins * made).astype(x.dtype.numpy)))
    y = op.Reshape(product, ints(op, [*([0] * (rank - 2)), bins, made]))
    return op.Transpose(y, perm=np.argsort(perm).tolist()) if perm != sorted(perm) else y
