"""Shape moves over MIL vars that several emitter families share: broadcasting, scalars, axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from coregraft.lowering.vars import named, np_type, reshape
from coregraft.rewriter.graph import Op

if TYPE_CHECKING:
    from coregraft.lowering.emitter import Emitter


def operand(op: Op, i: int) -> str:
    """The name of operand ``i``; empty when it is omitted."""
    return op.inputs[i] if i < len(op.inputs) else ""


def axis_of(b: Emitter, op: Op, axis: int, rank: int) -> int:
    """An axis counted from the front.

    Raises:
        UnsupportedError: ``op-unsupported`` when there is no such axis.
    """
    if not -rank <= axis < rank:
        b.refuse(op, f"axis {axis} does not exist in a tensor of rank {rank}")
    return axis % rank


def to_shape(b: Emitter, var: Any, shape: Sequence[int], name: str | None = None) -> Any:
    """The elements of a var in another shape, which may be that of a scalar."""
    shape = tuple(int(d) for d in shape)
    if tuple(var.shape) == shape and name is None:
        return var
    if shape:
        return reshape(b, var, shape, name)
    if len(var.shape) != 1:  # squeezing several axes at once loses the scalar when coremltools folds it
        var = reshape(b, var, (1,))
    return b.mb.squeeze(x=var, axes=np.array([0], np.int32), **named(name))


def broadcast_to(b: Emitter, var: Any, shape: Sequence[int], name: str | None = None) -> Any:
    """The var repeated to ``shape`` by ONNX's (numpy's) rule of broadcasting; the var itself when it has the shape."""
    shape = tuple(int(d) for d in shape)
    if not shape:
        return to_shape(b, var, shape, name)
    missing = len(shape) - len(var.shape)
    padded = (1,) * missing + tuple(int(d) for d in var.shape)
    reps = [want if have == 1 else 1 for want, have in zip(shape, padded, strict=True)]
    repeats = math.prod(reps) != 1
    if missing:
        var = reshape(b, var, padded, None if repeats else name)
    if repeats:
        return b.mb.tile(x=var, reps=np.array(reps, np.int32), **named(name))
    return b.mb.identity(x=var, name=name) if name and not missing else var


def full(b: Emitter, shape: Sequence[int], value: Any, dtype: np.dtype[Any], name: str | None = None) -> Any:
    """A constant of one value; a scalar when the shape is empty."""
    array = np.full(tuple(shape), value, dtype)
    return b.mb.const(val=array if array.ndim else array[()], **named(name))


def iota(b: Emitter, n: int, rank: int, axis: int, dtype: Any = np.int32) -> Any:
    """The constant 0 … n-1 along one axis of ``rank``, the other dims 1."""
    return b.mb.const(val=np.arange(n, dtype=dtype).reshape([n if i == axis else 1 for i in range(rank)]))


def slice_axis(b: Emitter, var: Any, axis: int, begin: int, end: int, name: str | None = None) -> Any:
    """``var[…, begin:end, …]`` on one axis, ``0 <= begin < end <= n``; the other axes whole."""
    rank = len(var.shape)
    begins, ends = np.zeros(rank, np.int32), np.zeros(rank, np.int32)
    begins[axis], ends[axis] = begin, end
    others = np.array([i != axis for i in range(rank)])
    return b.mb.slice_by_index(x=var, begin=begins, end=ends, begin_mask=others, end_mask=others.copy(), **named(name))


def via_int32(b: Emitter, var: Any) -> Any:
    """A bool var as int32, for MIL ops that do not take bools; any other var itself."""
    return b.mb.cast(x=var, dtype="int32") if np_type(var).kind == "b" else var


def inner_name(b: Emitter, op: Op, source: Any) -> dict[str, str]:
    """The ``name`` argument of the op between :func:`via_int32` and :func:`from_int32`: none where a cast follows."""
    return named(None if np_type(source).kind == "b" else b.name(op))


def from_int32(b: Emitter, op: Op, var: Any, source: Any) -> Any:
    """Undo :func:`via_int32`: the var as bool where ``source``, the var it came from, is bool."""
    return b.mb.cast(x=var, dtype="bool", name=b.name(op)) if np_type(source).kind == "b" else var
