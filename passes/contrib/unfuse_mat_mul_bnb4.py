"""MatMulBnb4 as a matrix product with its weights written out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.contrib._base import Contrib, ms
from coregraft.passes.contrib._packed import FP4, NF4
from coregraft.passes.decompose._base import constant, need
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView


@dataclass(frozen=True)
class UnfuseMatMulBnb4(Contrib):
    """Write a product with weights in bitsandbytes' 4-bit codes as MatMul.

    What it does
    ------------
    Looks the codes (FP4 or NF4, two in a byte, the high half first) up and multiplies each block of ``block_size`` by
    its greatest magnitude; the constant weights are floats from then on. ``training_mode`` and ``transB = 0`` are
    refused, as are weights computed at run time.

    Why it matters
    --------------
    Core ML has no such op; its compressed constants can look 16 values up, but not scale them in blocks of a flat
    tensor as these codes do.

    Example
    -------
    ``y = com.microsoft.MatMulBnb4 <K = 64, N = 8, block_size = 16, quant_type = 1> (x, codes, absmax)`` becomes ``y =
    MatMul(x, w)``.

    Equivalence
    -----------
    Reassociating: the same weights, summed in another order.

    Sources
    -------
    H1.16; onnxruntime operator schema MatMulBnb4-1.
    """

    code: ClassVar[str] = "CG116"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ms("MatMulBnb4")
    defaults: ClassVar[Mapping[str, Any]] = {
        "K": None,
        "N": None,
        "block_size": None,
        "quant_type": None,
        "training_mode": 0,
        "transB": 1,
    }

    def build(self, op: OpBuilder, node: OpView) -> Any:
        if self.get(node, "training_mode") or not self.get(node, "transB"):
            return NoMatch("it is for training, or its weights are not transposed")
        kind, block = self.get(node, "quant_type"), self.get(node, "block_size")
        if kind not in (0, 1):
            return NoMatch("code {} is neither FP4 nor NF4", kind)
        packed, scales = constant(node, 1), constant(node, 2)
        if packed is None or scales is None:
            return NoMatch("its weights or scales are computed at run time")
        features, outputs = self.get(node, "K"), self.get(node, "N")
        codes = np.stack([packed.reshape(-1) >> 4, packed.reshape(-1) & 15], axis=1).reshape(-1)[: features * outputs]
        table = np.array(NF4 if kind else FP4, np.float32)
        scale = np.repeat(scales.reshape(-1).astype(np.float32), block)[: codes.size]
        weights = (table[codes] * scale).astype(scales.dtype).reshape(outputs, features)
        return op.MatMul(need(node, 0), op.const(np.ascontiguousarray(weights.T)))
