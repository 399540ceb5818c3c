"""MatMulNBits as DequantizeLinear of blocks and a matrix product."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.contrib._base import Contrib, has, ms
from coregraft.passes.contrib._packed import stored, unpacked
from coregraft.passes.decompose._base import constant, need, operand
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView, ValueView
from coregraft.rewriter.types import Array


@dataclass(frozen=True)
class UnfuseMatMulNBits(Contrib):
    """Write a product with weights of 2, 4 or 8 bits as DequantizeLinear and MatMul.

    What it does
    ------------
    Unpacks the constant weights into a tensor of 4-bit (2 and 4 bits) or 8-bit integers, dequantises it in blocks
    along the input features and multiplies with its transpose; adds the bias. Zero points are packed ones, the middle
    of the range where there are none, or floats, in which case the weights are computed now; so they are where
    ``g_idx`` gives the features other blocks than those in which they follow each other. ``accuracy_level`` only
    allows a kernel less precision and is not needed. Weights computed at run time, prepacked ones, and ``g_idx``
    beside zero points or with another number of bits than 4 are refused.

    Why it matters
    --------------
    Core ML has no such op, but holds weights quantised in blocks as they are (iOS 18 on): a language model keeps its
    size.

    Example
    -------
    ``y = com.microsoft.MatMulNBits <K = 64, N = 8, bits = 4, block_size = 32> (x, packed, scales)`` becomes ``y =
    MatMul(x, Transpose(DequantizeLinear <block_size = 32> (w, scales, 8)))``.

    Equivalence
    -----------
    Reassociating: the same weights, summed in another order; a kernel with ``accuracy_level`` 4 rounds its input to
    8 bits, which this does not.

    Sources
    -------
    H1.16; onnxruntime operator schema MatMulNBits-1.
    """

    code: ClassVar[str] = "CG116"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ms("MatMulNBits")
    defaults: ClassVar[Mapping[str, Any]] = {
        "K": None,
        "N": None,
        "accuracy_level": 0,
        "bits": 4,
        "block_size": None,
        "weight_prepacked": 0,
    }

    def build(self, op: OpBuilder, node: OpView) -> Any:
        bits, block = self.get(node, "bits"), self.get(node, "block_size")
        features, outputs = self.get(node, "K"), self.get(node, "N")
        if self.get(node, "weight_prepacked"):
            return NoMatch("its weights are prepacked for another device")
        if has(node, 4) and (has(node, 3) or bits != 4):
            return NoMatch("it has g_idx beside zero points or {} bits, which onnxruntime's kernel misreads", bits)
        if bits not in (2, 4, 8) or not block or not features or not outputs:
            return NoMatch("{} bits in blocks of {} are not known", bits, block)
        packed, scales = constant(node, 1), constant(node, 2)
        if packed is None or scales is None or any(has(node, i) and constant(node, i) is None for i in (3, 4)):
            return NoMatch("its weights, scales, zero points or groups are computed at run time")
        weights = unpacked(packed.reshape(outputs, -1), bits)[:, :features]
        scales = scales.reshape(outputs, -1)
        group = _groups(constant(node, 4), features, block)
        w = _dequantized(op, weights, scales, _zeros(node, scales.shape, bits), bits, group)
        y = op.MatMul(need(node, 0), op.Transpose(w, perm=(1, 0)))
        bias = operand(node, 5)
        return y if bias is None else op.Add(y, bias)


def _zeros(node: OpView, shape: tuple[int, ...], bits: int) -> Array:
    """One zero point for each block: integers, or floats."""
    given = constant(node, 3)
    if given is None:
        return np.full(shape, 1 << (bits - 1), np.uint8)
    if given.dtype != np.uint8:
        return given.reshape(shape)
    return unpacked(given.reshape(shape[0], -1), bits)[:, : shape[1]]


def _groups(given: Array | None, features: int, block: int) -> Array | int:
    """The block that each feature belongs to; the size of the blocks where they follow each other."""
    if given is None:
        return block
    group = given.reshape(-1)[:features]
    return block if np.array_equal(group, np.arange(features) // block) else group


def _dequantized(
    op: OpBuilder, weights: Array, scales: Array, zeros: Array, bits: int, block: Array | int
) -> ValueView:
    if zeros.dtype == np.uint8 and isinstance(block, int):
        operands = (op.const(stored(weights, bits)), op.const(scales), op.const(stored(zeros, bits)))
        result: ValueView = op.DequantizeLinear(*operands, axis=1, block_size=block)
        return result
    group = np.arange(weights.shape[1]) // block if isinstance(block, int) else block
    wide = [v.astype(np.float32)[:, group] for v in (scales, zeros)]
    return op.const(((weights.astype(np.float32) - wide[1]) * wide[0]).astype(scales.dtype))
