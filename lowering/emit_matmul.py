"""MatMul, Gemm, the internal Linear, and the einsums that MIL has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from coregraft.lowering.registry import lower
from coregraft.lowering.vars import cast, is_const, is_float, like, named, np_type, transpose
from coregraft.lowering.windows import text
from coregraft.rewriter.dialect import DOMAIN
from coregraft.rewriter.graph import Op
from coregraft.rewriter.types import Array

if TYPE_CHECKING:
    from coregraft.lowering.emitter import Emitter

#: The two shapes of product that ``mb.einsum`` has, letters in order of first use.
_EINSUMS = frozenset({"abcd,adce->abce", "abc,cbd->abd"})


@lower("MatMul")
def matmul(b: Emitter, op: Op) -> Any:
    """``matmul``; a vector becomes a matrix first, since MIL gets vectors wrong (H4.15). Integers multiply as int32."""
    x, y = b.var(op.inputs[0]), b.var(op.inputs[1])
    squeezed = [axis for axis, var in ((-2, x), (-1, y)) if var.rank == 1]
    if x.rank == 1:
        x = b.mb.expand_dims(x=x, axes=[0])
    if y.rank == 1:
        y = b.mb.expand_dims(x=y, axes=[1])
    product = b.mb.matmul(x=x, y=y, **named(None if squeezed else b.name(op)))
    return b.mb.squeeze(x=product, axes=squeezed, name=b.name(op)) if squeezed else product


@lower("Gemm", attrs="alpha beta transA transB")
def gemm(b: Emitter, op: Op) -> Any:
    """``linear`` with alpha and beta folded in, where B and C allow it (H2.14); else ``matmul``, scaled and added."""
    x, w = b.var(op.inputs[0]), b.var(op.inputs[1])
    c = b.var(op.inputs[2]) if len(op.inputs) > 2 and op.inputs[2] else None
    alpha, beta = b.attr(op, "alpha"), b.attr(op, "beta")
    transposed = bool(b.attr(op, "transB"))
    if not is_float(x):
        return _integer_gemm(b, op, x, w, c)
    as_it_is = transposed and alpha == 1  # then a compressed weight stays compressed
    if w.val is not None or (as_it_is and is_const(w)):
        out = int(w.shape[0 if transposed else 1])
        bias = np.zeros(out) if c is None else _row(c, out)
        if bias is not None:
            return b.mb.linear(
                x=transpose(b, x, [1, 0]) if b.attr(op, "transA") else x,
                weight=w if as_it_is else like(x, (w.val if transposed else w.val.T).astype(np.float64) * alpha),
                bias=like(x, bias.astype(np.float64) * beta),
                name=b.name(op),
            )
    y = b.mb.matmul(
        x=x, y=w, transpose_x=bool(b.attr(op, "transA")), transpose_y=transposed,
        **named(b.name(op) if alpha == 1 and c is None else None),
    )  # fmt: skip
    if alpha != 1:
        y = b.mb.mul(x=y, y=like(y, alpha), **named(b.name(op) if c is None else None))
    if c is None:
        return y
    addend = c if beta == 1 else b.mb.mul(x=c, y=like(c, beta))
    return b.mb.add(x=y, y=addend, name=b.name(op))


@lower("Linear", domain=DOMAIN)
def linear(b: Emitter, op: Op) -> Any:
    """``linear`` for the ranks and the weights MIL has it for; the same weight in a ``matmul`` otherwise."""
    x, w = b.var(op.inputs[0]), b.var(op.inputs[1])
    bias = b.var(op.inputs[2]) if len(op.inputs) > 2 and op.inputs[2] else None
    if 2 <= x.rank <= 3 and is_const(w) and (bias is None or is_const(bias)) and is_float(x):
        return b.mb.linear(x=x, weight=w, **({} if bias is None else {"bias": bias}), name=b.name(op))
    y = b.mb.matmul(x=x, y=w, transpose_y=True, **named(b.name(op) if bias is None else None))
    return y if bias is None else b.mb.add(x=y, y=bias, name=b.name(op))


@lower("Einsum", attrs="equation")
def einsum(b: Emitter, op: Op) -> Any:
    """``mb.einsum`` for the two equations it has; the others are for a pass to take apart."""
    equation = text(b.attr(op, "equation")).replace(" ", "")
    if _renamed(equation) not in _EINSUMS or len(op.inputs) != 2:
        b.refuse(
            op,
            f"Core ML has no einsum {equation!r}",
            "run the pass that turns it into Transpose, Reshape and MatMul",
        )
    x, y = (b.var(name) for name in op.inputs)
    if not is_float(x):
        b.refuse(op, "Core ML's einsum takes floats only")
    return b.mb.einsum(values=(x, y), equation=equation, name=b.name(op))


def _integer_gemm(b: Emitter, op: Op, x: Any, w: Any, c: Any) -> Any:
    """Integer Gemm: ``linear`` does not take integers, ``matmul`` does (H4.15)."""
    alpha, beta = b.attr(op, "alpha"), b.attr(op, "beta")
    if alpha != int(alpha) or beta != int(beta):
        b.refuse(op, f"it scales integers by {alpha if alpha != int(alpha) else beta}, whose rounding ONNX leaves open")
    name = b.name(op)
    y = b.mb.matmul(
        x=x, y=w, transpose_x=bool(b.attr(op, "transA")), transpose_y=bool(b.attr(op, "transB")),
        **named(name if alpha == 1 and c is None else None),
    )  # fmt: skip
    if alpha != 1:
        y = b.mb.mul(x=y, y=np.int32(alpha), **named(name if c is None else None))
    if c is None:
        return y
    addend = cast(b, c, np_type(y))
    return b.mb.add(x=y, y=addend if beta == 1 else b.mb.mul(x=addend, y=np.int32(beta)), name=name)


def _row(c: Any, out: int) -> Array | None:
    """A constant C of Gemm as one bias row; None when it is computed at run time or differs from row to row."""
    if c.val is None:
        return None
    values = np.asarray(c.val)
    if values.ndim == 2 and values.shape[0] != 1:
        return None
    return np.broadcast_to(values.reshape(-1), (out,))


def _renamed(equation: str) -> str:
    """An equation with its letters replaced by a, b, c, … in order of first use."""
    letters: dict[str, str] = {}
    return "".join(letters.setdefault(c, chr(ord("a") + len(letters))) if c.isalpha() else c for c in equation)
