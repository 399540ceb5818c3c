"""The quantised elementwise ops, pools and Concat as DequantizeLinear, the float op and QuantizeLinear."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.passes.contrib._base import (
    Contrib,
    channels_first,
    channels_last,
    dequantized,
    ms,
    one_scale,
    quantized,
)
from coregraft.passes.contrib.unfuse_bias import softmax_from
from coregraft.passes.decompose._base import ints, need, operand
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView, ValueView

_POOL = ("auto_pad", "ceil_mode", "count_include_pad", "kernel_shape", "pads", "strides")
#: Op type -> how many quantised tensors it reads before the scale and zero point of its result.
_OPERANDS = {"QLinearAdd": 2, "QLinearMul": 2, "QLinearWhere": 2}


@dataclass(frozen=True)
class UnfuseQlinear(Contrib):
    """Write onnxruntime's quantised elementwise ops, pools and Concat with DequantizeLinear and QuantizeLinear.

    What it does
    ------------
    QLinearAdd, QLinearMul, QLinearWhere, QLinearSigmoid, QLinearLeakyRelu, QLinearSoftmax, QLinearAveragePool,
    QLinearGlobalAveragePool, QLinearReduceMean and QLinearConcat: operands are dequantised, the float op is taken, the
    result is quantised; ``channels_last`` pools get a Transpose before and after; a softmax of an ``opset`` before 13
    is taken over all axes from ``axis`` on. Zero points may be left out. A scale for each channel is refused, as in
    onnxruntime.

    Why it matters
    --------------
    Core ML computes with floats; it has none of these ops.

    Example
    -------
    ``c = com.microsoft.QLinearAdd(a, sa, za, b, sb, zb, sc, zc)`` becomes ``c = QuantizeLinear(DequantizeLinear(a, sa,
    za) + DequantizeLinear(b, sb, zb), sc, zc)``.

    Equivalence
    -----------
    Reassociating: onnxruntime multiplies by the inverse of the scale, so a result half-way between two levels may go
    to the other one; its softmax works with a table of integers and may be off by one level.

    Sources
    -------
    H1.16; onnxruntime operator schemas QLinearAdd-1 and the others.
    """

    code: ClassVar[str] = "CG116"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ms(
        *("QLinearAdd", "QLinearMul", "QLinearWhere", "QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax"),
        *("QLinearAveragePool", "QLinearGlobalAveragePool", "QLinearReduceMean", "QLinearConcat"),
    )
    defaults: ClassVar[Mapping[str, Any]] = {
        **dict.fromkeys(_POOL),
        "channels_last": 0,
        "alpha": 0.01,
        "axis": None,
        "axes": None,
        "keepdims": 1,
        "opset": 13,
    }

    def build(self, op: OpBuilder, node: OpView) -> Any:
        if node.type == "QLinearConcat":
            return self._concat(op, node)
        first = 1 if node.type == "QLinearWhere" else 0
        count = _OPERANDS.get(node.type, 1)
        end = first + 3 * count
        scales = [operand(node, i) for k in range(count) for i in (first + 3 * k + 1, first + 3 * k + 2)]
        y_scale, y_zero = need(node, end), operand(node, end + 1)
        wrong = one_scale(*scales, y_scale, y_zero)
        if wrong is not None:
            return wrong
        starts = range(first, end, 3)
        values = [dequantized(op, need(node, i), need(node, i + 1), operand(node, i + 2)) for i in starts]
        y = self._float(op, node, values)
        dtype = need(node, first).dtype
        if isinstance(y, NoMatch):
            return y
        if dtype is None:
            return NoMatch("the element type of its input is not known")
        return quantized(op, y, y_scale, y_zero, dtype)

    def _float(self, op: OpBuilder, node: OpView, values: list[ValueView]) -> Any:
        x, kind = values[0], node.type.removeprefix("QLinear")
        if kind in ("Add", "Mul"):
            return getattr(op, kind)(*values)
        if kind == "Where":
            return op.Where(need(node, 0), *values)
        if kind == "Sigmoid":
            return op.Sigmoid(x)
        if kind == "LeakyRelu":
            return op.LeakyRelu(x, alpha=float(self.get(node, "alpha")))
        if not x.rank:
            return NoMatch("the rank of its input is not known, or it has no axes")
        if kind == "ReduceMean":
            axes = ints(op, self.get(node, "axes") or range(x.rank))
            return op.ReduceMean(x, axes, keepdims=self.get(node, "keepdims"))
        if kind == "Softmax":
            axis = -1 if self.get(node, "axis") is None else self.get(node, "axis")
            old = self.get(node, "opset") < 13
            return softmax_from(op, x, axis % x.rank) if old else op.Softmax(x, axis=axis)
        if x.rank < 3 or not ("Global" in kind or self.get(node, "kernel_shape")):
            return NoMatch("its input has {} axes, or it has no window", x.rank)
        last = bool(self.get(node, "channels_last"))
        x = channels_first(op, x) if last else x
        y = op.GlobalAveragePool(x) if "Global" in kind else op.AveragePool(x, **self.kept(node, *_POOL))
        return channels_last(op, y) if last else y

    def _concat(self, op: OpBuilder, node: OpView) -> Any:
        wrong = one_scale(*(v for i, v in enumerate(node.inputs) if i < 2 or i % 3 != 2))
        if wrong is not None:
            return wrong
        if self.get(node, "axis") is None:
            return NoMatch("it has no axis")
        starts = range(2, len(node.inputs), 3)
        values = [dequantized(op, need(node, i), need(node, i + 1), operand(node, i + 2)) for i in starts]
        dtype = need(node, 1).dtype
        if dtype is None:
            return NoMatch("the element type of its result is not known")
        y = op.Concat(*values, axis=self.get(node, "axis"))
        return quantized(op, y, need(node, 0), need(node, 1), dtype)

