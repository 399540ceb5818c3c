"""GatherBlockQuantized as DequantizeLinear of blocks and Gather."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.contrib._base import Contrib, has, ms
from coregraft.passes.contrib._packed import stored, unpacked
from coregraft.passes.decompose._base import constant, ints, need
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView
from coregraft.rewriter.types import Array, Const, DType


@dataclass(frozen=True)
class UnfuseGatherBlockQuantized(Contrib):
    """Write a lookup in a quantised table as DequantizeLinear and Gather.

    What it does
    ------------
    The constant table (2, 4 or 8 bits packed into bytes, or int4 or uint4) is dequantised in blocks along
    ``quantize_axis``, then gathered from along ``gather_axis``. Where an index may lie outside of the table, which
    gives zeros in onnxruntime, it is tested. Tables of 8- or 4-bit floats and tables computed at run time are refused.

    Why it matters
    --------------
    Core ML has no such op, but holds constants quantised in blocks as they are (iOS 18 on).

    Example
    -------
    ``y = com.microsoft.GatherBlockQuantized <block_size = 32> (table, ids, scales)`` becomes ``y =
    Gather(DequantizeLinear <block_size = 32> (table, scales, 8), ids)``, and zero where an id is none.

    Equivalence
    -----------
    Bit-exact: a product for each element.

    Sources
    -------
    H1.16; onnxruntime operator schema GatherBlockQuantized-1.
    """

    code: ClassVar[str] = "CG116"
    equivalence: ClassVar[Equivalence] = Equivalence.BIT_EXACT
    roots: ClassVar[tuple[str, ...]] = ms("GatherBlockQuantized")
    defaults: ClassVar[Mapping[str, Any]] = {"bits": 4, "block_size": 128, "gather_axis": 0, "quantize_axis": 1}

    def build(self, op: OpBuilder, node: OpView) -> Any:
        data, indices, scales = constant(node, 0), need(node, 1), constant(node, 2)
        if data is None or scales is None or (has(node, 3) and constant(node, 3) is None):
            return NoMatch("its table, scales or zero points are computed at run time")
        dtype, bits = need(node, 0).dtype, self.get(node, "bits")
        if dtype not in (DType.UINT8, DType.INT4, DType.UINT4) or bits not in (2, 4, 8):
            return NoMatch("a table of {} with {} bits is not known", dtype and dtype.name.lower(), bits)
        if indices.rank is None:
            return NoMatch("the rank of its indices is not known")
        axis, blocks = (self.get(node, name) % data.ndim for name in ("gather_axis", "quantize_axis"))
        table, zeros = self._table(data, constant(node, 3), scales.shape, dtype, bits)
        dense = op.DequantizeLinear(
            op.const(table), op.const(scales), *zeros, axis=blocks, block_size=self.get(node, "block_size")
        )
        size = table.shape[axis]
        known = constant(node, 1)
        if known is not None and ((known >= -size) & (known < size)).all():
            return op.Gather(dense, indices, axis=axis)
        low, high = (op.const(np.array(v, indices.dtype.numpy)) for v in (-size, size - 1))  # type: ignore[union-attr]
        inside = op.And(op.GreaterOrEqual(indices, low), op.LessOrEqual(indices, high))
        found = op.Gather(dense, op.Where(inside, indices, op.const(np.array(0, indices.dtype.numpy))), axis=axis)  # type: ignore[union-attr]
        behind = data.ndim - 1 - axis
        shown = op.Unsqueeze(inside, ints(op, range(indices.rank, indices.rank + behind))) if behind else inside
        return op.Where(shown, found, op.const(np.zeros((), scales.dtype)))

    @staticmethod
    def _table(
        data: Array, zeros: Array | None, shape: tuple[int, ...], dtype: DType, bits: int
    ) -> tuple[Const, tuple[Const, ...]]:
        """The table and its zero points, if any, in a type that can be dequantised."""
        if dtype is not DType.UINT8:
            return Const.of(data, dtype), () if zeros is None else (Const.of(zeros, dtype),)
        if zeros is None:
            zero = np.full(shape, 1 << (bits - 1), np.uint8)
        else:
            zero = unpacked(zeros, bits)[..., : shape[-1]]
        return stored(unpacked(data, bits), bits), (stored(zero, bits),)
