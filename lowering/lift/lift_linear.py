"""Matrix products: ``linear``, ``matmul``, ``einsum`` and attention."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from coregraft.lowering.lift.operands import scalar, static
from coregraft.lowering.lift.registry import lifts
from coregraft.rewriter.types import Const, DType

if TYPE_CHECKING:
    from coregraft.lowering.lift.lifter import Lifter
    from coregraft.lowering.lift.spec import MilOp


@lifts("linear")
def linear(l: Lifter, op: MilOp) -> None:
    """``x . weight^T + bias``; the weight is turned when it is read."""
    result = l.out_type(op).dtype
    x = l.operand(op, "x")
    weight = l.held(op, "weight")
    if weight is None:
        turned = l.emit("Transpose", [l.operand(op, "weight")], {"perm": (1, 0)})
    else:
        turned = l.graph.add_value(l.fresh("weight_turned"), const=_turned(weight))
    turned = _as(l, turned, l.type(op, "weight").dtype, result)
    if not l.has(op, "bias"):
        l.emit("MatMul", [x, turned], None, [l.out(op)])
        return
    bias = _as(l, l.operand(op, "bias"), l.type(op, "bias").dtype, result)
    l.emit("Add", [l.emit("MatMul", [x, turned]), bias], None, [l.out(op)])


@lifts("matmul")
def matmul(l: Lifter, op: MilOp) -> None:
    """``MatMul``, whose rules for vectors and for broadcasting are those that MIL documents."""
    sides = []
    result = l.out_type(op).dtype
    for key in ("x", "y"):
        value, rank = l.operand(op, key), l.rank(op, key)
        if rank > 1 and scalar(l, op, f"transpose_{key}", False):
            value = l.emit("Transpose", [value], {"perm": (*range(rank - 2), rank - 1, rank - 2)})
        sides.append(_as(l, value, l.type(op, key).dtype, result))
    _check_vector(l, op)
    l.emit("MatMul", sides, None, [l.out(op)])


@lifts("einsum")
def einsum(l: Lifter, op: MilOp) -> None:
    """``Einsum``."""
    l.emit("Einsum", l.values(op, "values"), {"equation": str(scalar(l, op, "equation"))}, [l.out(op)])


@lifts("scaled_dot_product_attention")
def attention(l: Lifter, op: MilOp) -> None:
    """``softmax(query . key^T / sqrt(E) + mask) . value``, rounded once at its end."""
    rank = l.rank(op, "key")
    turned = l.emit("Transpose", [l.operand(op, "key")], {"perm": (*range(rank - 2), rank - 1, rank - 2)})
    root = np.float32(math.sqrt(static(l, op, "query", -1)))
    scores = l.emit("Div", [l.emit("MatMul", [l.operand(op, "query"), turned]), root])
    if l.has(op, "attn_mask"):
        mask = l.operand(op, "attn_mask")
        if l.type(op, "attn_mask").dtype is DType.BOOL:
            mask = l.emit("Where", [mask, np.float32(0), np.float32(-np.inf)])
        scores = l.emit("Add", [scores, mask])
    weights = l.emit("Softmax", [scores], {"axis": -1})
    l.emit("MatMul", [weights, l.operand(op, "value")], None, [l.out(op)])


def _check_vector(l: Lifter, op: MilOp) -> None:
    """Report a product with a vector whose documented shape is not the declared one."""
    shapes = [l.type(op, key).static_shape for key in ("x", "y")]
    declared = l.out_type(op).static_shape
    if 1 not in (l.rank(op, "x"), l.rank(op, "y")) or declared is None:
        return
    x, y = shapes
    if x is None or y is None:
        return
    documented = (*y[:-2], *y[-1:]) if len(x) == 1 < len(y) else x[:-1]
    if documented != declared:
        l.undefined(op, f"its documented result has the shape {documented}, the type inference says {declared}; "
                        "the documentation is followed")  # fmt: skip


def _turned(weight: Const) -> Const:
    """A matrix transposed, still on disk where it was."""
    return Const(weight.dtype, weight.shape[::-1], lambda: np.ascontiguousarray(weight.numpy().T))


def _as(l: Lifter, value: str, dtype: DType, wanted: DType) -> str:
    """A value in the kind of number that the result has: one constant operand may be of the other kind."""
    if dtype.is_float == wanted.is_float:
        return value
    return l.emit("Cast", [value], {"to": int(DType.FLOAT if wanted.is_float else DType.INT32)})
