"""What the rules of this folder share: an op of onnxruntime's own domain is written in ops of ai.onnx."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from coregraft.passes.decompose._base import Decomposition, ints, operand
from coregraft.rewriter.graph import Op
from coregraft.rewriter.passes import NoMatch, OpBuilder, OpView, Rewriter, ValueView
from coregraft.rewriter.types import DType

DOMAIN = "com.microsoft"


def ms(*op_types: str) -> tuple[str, ...]:
    """Root names of op types of onnxruntime's domain."""
    return tuple(f"{DOMAIN}::{op_type}" for op_type in op_types)


@dataclass(frozen=True)
class Contrib(Decomposition):
    """A decomposition of ops that onnx has no schema for, so that it says itself which attributes there are.

    Class attributes:
        defaults: every attribute that :meth:`build` honours, with what it is when left out (None: nothing). An op
            with any other attribute is declined: nothing is ignored.
    """

    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({})

    def match_and_rewrite(self, op_id: int, rw: Rewriter) -> bool | NoMatch:
        unknown = sorted(rw.graph.op(op_id).attrs.keys() - self.defaults.keys())
        if unknown:
            return NoMatch("attribute {} is not known", unknown[0])
        return super().match_and_rewrite(op_id, rw)

    def get(self, node: OpView, name: str) -> Any:
        """An attribute's value, else its default."""
        return node.op.attrs.get(name, self.defaults[name])

    def kept(self, node: OpView, *names: str) -> dict[str, Any]:
        """Those of the named attributes that are written out, as keywords for a builder."""
        return {name: node.op.attrs[name] for name in names if name in node.op.attrs}


def has(node: OpView, index: int) -> bool:
    """Whether operand ``index`` is there."""
    return operand(node, index) is not None


def dequantized(op: OpBuilder, x: ValueView, scale: ValueView, zero: ValueView | None, axis: int = 0) -> ValueView:
    """``(x - zero) * scale`` as a float; one scale for everything, or one for each element of ``axis``."""
    scale, zero = flat(op, scale), None if zero is None else flat(op, zero)
    per_axis = {"axis": axis} if scale.rank == 1 else {}
    if zero is not None and zero.rank != scale.rank:  # one zero point for many scales
        size = scale if scale.rank == 1 else zero
        length = op.Shape(size)
        scale, zero = (v if v.rank == 1 else op.Expand(v, length) for v in (scale, zero))
        per_axis = {"axis": axis}
    result: ValueView = op.DequantizeLinear(x, scale, zero, **per_axis)
    return result


def quantized(op: OpBuilder, x: ValueView, scale: ValueView, zero: ValueView | None, dtype: DType) -> ValueView:
    """``saturate(round(x / scale) + zero)`` with one scale for everything; ``dtype`` where there is no zero point."""
    kind = {} if zero is not None else {"output_dtype": int(dtype)}
    result: ValueView = op.QuantizeLinear(x, flat(op, scale), None if zero is None else flat(op, zero), **kind)
    return result


def flat(op: OpBuilder, value: ValueView) -> ValueView:
    """A scale or zero point of one element as a scalar (a vector of one would mean one for each element of an axis)."""
    if not value.rank or value.static_shape is None or any(d != 1 for d in value.static_shape):
        return value
    if value.const is not None:
        return op.const(value.array().reshape(()))
    result: ValueView = op.Reshape(value, ints(op, []))
    return result


def one_scale(*values: ValueView | None) -> NoMatch | None:
    """Why scales or zero points are not one for everything, or None when they are."""
    for value in values:
        if value is not None and (value.static_shape is None or any(d != 1 for d in value.static_shape)):
            return NoMatch("{} is not a single scale or zero point", value.name)
    return None


def channels_first(op: OpBuilder, x: ValueView) -> ValueView:
    """[N, spatial…, C] as [N, C, spatial…]."""
    assert x.rank is not None
    result: ValueView = op.Transpose(x, perm=(0, x.rank - 1, *range(1, x.rank - 1)))
    return result


def channels_last(op: OpBuilder, x: ValueView) -> ValueView:
    """[N, C, spatial…] as [N, spatial…, C]."""
    assert x.rank is not None
    result: ValueView = op.Transpose(x, perm=(0, *range(2, x.rank), 1))
    return result


def wants_output(op: Op, index: int) -> bool:
    """Whether an op has its output ``index``."""
    return index < len(op.outputs) and bool(op.outputs[index])
