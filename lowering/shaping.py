"""Shape moves over MIL vars that several emitter families share: broadcasting, scalars, axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from coregraft.lowering.sizes import Size, is_known, run_time, sizes_of, vector, where_one
from coregraft.lowering.vars import cast, named, np_type, reshape
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


def to_shape(b: Emitter, var: Any, shape: Sequence[Size], name: str | None = None) -> Any:
    """The elements of a var in another shape, which may be that of a scalar; -1 stands for what is left."""
    shape = list(shape)
    if sizes_of(var) == shape and name is None:
        return var
    given = [is_known(size) and size >= 0 for size in shape]
    if given.count(False) > 1:
        return b.mb.reshape(x=var, shape=vector(b, shape), **named(name))
    if shape:
        return reshape(b, var, [size if at_hand else -1 for size, at_hand in zip(shape, given, strict=True)], name)
    if len(var.shape) != 1:  # squeezing several axes at once loses the scalar when coremltools folds it
        var = reshape(b, var, (1,))
    return b.mb.squeeze(x=var, axes=np.array([0], np.int32), **named(name))


def broadcast_to(b: Emitter, var: Any, shape: Sequence[Size], name: str | None = None) -> Any:
    """The var repeated to ``shape`` by ONNX's (numpy's) rule of broadcasting; the var itself when it has the shape."""
    if not shape:
        return to_shape(b, var, shape, name)
    missing = len(shape) - len(var.shape)
    padded = [1] * missing + sizes_of(var)
    reps = [_repeats(b, have, want) for have, want in zip(padded, shape, strict=True)]
    repeats = any(count != 1 for count in reps)
    if missing:
        var = to_shape(b, var, padded, None if repeats else name)
    if repeats:
        return b.mb.tile(x=var, reps=vector(b, reps), **named(name))
    return b.mb.identity(x=var, name=name) if name and not missing else var


def _repeats(b: Emitter, have: Size, want: Size) -> Size:
    if is_known(have):
        return want if have == 1 else 1
    return 1 if have == want or want == 1 else where_one(b, have, want, 1)


def full(b: Emitter, shape: Sequence[Size], value: Any, dtype: np.dtype[Any], name: str | None = None) -> Any:
    """A constant of one value, or where its shape depends on the data, ``fill``; a scalar when the shape is empty."""
    if not all(map(is_known, shape)):
        return b.mb.fill(shape=vector(b, shape), value=dtype.type(value), **named(name))
    array = np.full(tuple(shape), value, dtype)
    return b.mb.const(val=array if array.ndim else array[()], **named(name))


def iota(b: Emitter, n: Size, rank: int, axis: int, dtype: Any = np.int32) -> Any:
    """0 … n-1 along one axis of ``rank``, the other dims 1: a constant where n is a number."""
    shape = [-1 if i == axis else 1 for i in range(rank)]
    if is_known(n):
        return b.mb.const(val=np.arange(n, dtype=dtype).reshape(shape))
    places = b.mb.range_1d(start=np.int32(0), end=run_time(b, n), step=np.int32(1))
    return cast(b, reshape(b, places, shape), dtype)


def slice_axis(
    b: Emitter, var: Any, axis: int, begin: Size, end: Size, name: str | None = None, *, step: int = 1
) -> Any:
    """``var[…, begin:end:step, …]`` on one axis, ``0 <= begin <= end <= n``; the other axes whole.

    Where both ends are numbers, something is to be left between them.
    """
    rank = len(var.shape)
    begins, ends = ([place if i == axis else 0 for i in range(rank)] for place in (begin, end))
    others = np.array([i != axis for i in range(rank)])
    stride = {} if step == 1 else {"stride": np.where(others, 1, step).astype(np.int32)}
    if var.shape[axis] == 1 and not (is_known(begin) and is_known(end)):
        # Of which coremltools takes any slice to be whole.
        places = b.mb.range_1d(start=run_time(b, begin), end=run_time(b, end), step=np.int32(1))
        return cast(b, b.mb.gather(x=via_int32(b, var), indices=places, axis=axis), np_type(var), name)
    return b.mb.slice_by_index(
        x=var, begin=vector(b, begins), end=vector(b, ends), begin_mask=others, end_mask=others.copy(),
        **stride, **named(name),
    )  # fmt: skip


def via_int32(b: Emitter, var: Any) -> Any:
    """A bool var as int32, for MIL ops that do not take bools; any other var itself."""
    return b.mb.cast(x=var, dtype="int32") if np_type(var).kind == "b" else var


def inner_name(b: Emitter, op: Op, source: Any) -> dict[str, str]:
    """The ``name`` argument of the op between :func:`via_int32` and :func:`from_int32`: none where a cast follows."""
    return named(None if np_type(source).kind == "b" else b.name(op))


def from_int32(b: Emitter, op: Op, var: Any, source: Any) -> Any:
    """Undo :func:`via_int32`: the var as bool where ``source``, the var it came from, is bool."""
    return b.mb.cast(x=var, dtype="bool", name=b.name(op)) if np_type(source).kind == "b" else var
