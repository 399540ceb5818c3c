"""Ops that move elements or make tensors without computing: reshapes, broadcasts, constants, padding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from coregraft.lowering.emitter import canonical_array
from coregraft.lowering.registry import lower
from coregraft.lowering.shaping import axis_of, broadcast_to, full, iota, operand, to_shape
from coregraft.lowering.sizes import Size, is_known, product, run_time, sizes_of, vector
from coregraft.lowering.vars import is_float, like, np_type, reshape, transpose
from coregraft.rewriter.graph import Op
from coregraft.rewriter.types import Array, Const

if TYPE_CHECKING:
    from coregraft.lowering.emitter import Emitter

_MAX_RANK = 5


@lower("Identity")
def identity(b: Emitter, op: Op) -> Any:
    """The operand itself."""
    return b.var(op.inputs[0])


@lower("Dropout", attrs="seed")
def dropout(b: Emitter, op: Op) -> Any:
    """The operand itself, and a mask that is all true. Training is refused unless nothing is dropped."""
    training, ratio = b.const(operand(op, 2)), b.const(operand(op, 1))
    trains = bool(operand(op, 2)) and (training is None or bool(training.reshape(())))
    if trains and (ratio is None or float(ratio.reshape(())) != 0):
        when = " if a value computed at run time says so" if training is None else ""
        b.refuse(op, f"it drops elements at random{when} (training_mode)", "export the model in inference mode")
    x = b.var(op.inputs[0])
    if len(op.outputs) < 2 or not op.outputs[1]:
        return x
    return x, full(b, b.sizes(op.inputs[0]), True, np.dtype(bool), b.name(op, 1))


# ---------------------------------------------------------------- shape of the same elements

@lower("Reshape", attrs="allowzero")
def reshape_op(b: Emitter, op: Op) -> Any:
    """``reshape`` to the sizes that inference found: no 0 or -1 is left to MIL's own rules (H5.07).

    One size that depends on the data is what is left of the others; several are read off the shape operand.
    """
    shape = _resolved(b, op)
    _check_rank(b, op, len(shape))
    _check_not_empty(b, op, shape)
    return to_shape(b, b.var(op.inputs[0]), shape, b.name(op))


def _resolved(b: Emitter, op: Op) -> list[Size]:
    """The target sizes, -1 for one that is what is left of the others."""
    known = b.type(op.outputs[0]).shape
    if known is not None and sum(not isinstance(size, int) for size in known) <= 1:
        return [size if isinstance(size, int) else -1 for size in known]
    source, copies = b.sizes(op.inputs[0]), not b.attr(op, "allowzero")
    wanted = _asked(b, op, op.inputs[1])
    return [_or_copied(b, n, source[i]) if copies and i < len(source) else n for i, n in enumerate(wanted)]


def _or_copied(b: Emitter, given: Size, copied: Size) -> Size:
    """A size of Reshape's operand, or where that is 0, the one copied from the input."""
    if is_known(given):
        return copied if given == 0 else given
    return b.mb.select(cond=b.mb.equal(x=given, y=np.int32(0)), a=run_time(b, copied), b=given)


def _asked(b: Emitter, op: Op, value: str) -> list[Size]:
    """The sizes that a shape operand asks for: numbers where the graph knows that of the result, or the operand."""
    const, known = b.const(value), b.type(op.outputs[0]).shape
    length = b.shape(value)[0]
    asked = [
        b.mb.gather(x=b.var(value), indices=np.int32(i), axis=0) if const is None else int(const[i])
        for i in range(length)
    ]
    found = [None] * length if known is None else known[len(known) - length :]
    return [want if isinstance(want, int) else have for want, have in zip(found, asked, strict=True)]


@lower("Flatten", attrs="axis")
def flatten(b: Emitter, op: Op) -> Any:
    """``reshape`` to two axes."""
    x = b.var(op.inputs[0])
    axis = int(b.attr(op, "axis"))
    sizes = b.sizes(op.inputs[0])
    if not -len(sizes) <= axis <= len(sizes):
        b.refuse(op, f"axis {axis} does not exist in a tensor of rank {len(sizes)}")
    axis += len(sizes) if axis < 0 else 0
    return to_shape(b, x, [product(b, sizes[:axis]), product(b, sizes[axis:])], b.name(op))


@lower("Squeeze")
def squeeze(b: Emitter, op: Op) -> Any:
    """``squeeze`` of the axes named, or of all that have size 1; ``reshape`` where a size depends on the data."""
    x = b.var(op.inputs[0])
    axes, sizes = b.need_const(op, 1, "axes"), b.sizes(op.inputs[0])
    if axes is None:
        chosen = [i for i, d in enumerate(b.shape(op.inputs[0])) if d == 1]
    else:
        chosen = sorted({axis_of(b, op, int(a), x.rank) for a in axes.ravel()})
    if any(is_known(sizes[i]) and sizes[i] != 1 for i in chosen):
        b.refuse(op, f"an axis of size other than 1 cannot be squeezed out of {b.type(op.inputs[0])}")
    if not chosen:
        return x
    if len(chosen) == x.rank or any(x.shape[i] != 1 for i in chosen):
        return to_shape(b, x, [size for i, size in enumerate(sizes) if i not in chosen], b.name(op))
    return b.mb.squeeze(x=x, axes=np.array(chosen, np.int32), name=b.name(op))


@lower("Unsqueeze")
def unsqueeze(b: Emitter, op: Op) -> Any:
    """``expand_dims``; ``reshape`` for a scalar, which has the shape (1,) in a neuralnetwork."""
    x = b.var(op.inputs[0])
    axes = b.need_const(op, 1, "axes")
    if axes is None or not axes.size:
        return x
    rank = x.rank + axes.size
    _check_rank(b, op, rank)
    if not x.rank:
        return reshape(b, x, (1,) * rank, b.name(op))
    chosen = sorted(axis_of(b, op, int(a), rank) for a in axes.ravel())
    return b.mb.expand_dims(x=x, axes=np.array(chosen, np.int32), name=b.name(op))


@lower("Transpose", attrs="perm")
def transpose_op(b: Emitter, op: Op) -> Any:
    """``transpose``; without ``perm`` the axes are reversed."""
    x = b.var(op.inputs[0])
    perm = tuple(b.attr(op, "perm") or range(x.rank)[::-1])
    return x if perm == tuple(range(x.rank)) else transpose(b, x, perm, b.name(op))


@lower("Expand")
def expand(b: Emitter, op: Op) -> Any:
    """``reshape`` and ``tile`` to the shape that inference found, as far as it did."""
    x, known = b.var(op.inputs[0]), b.type(op.outputs[0]).static_shape
    shape = _expanded(b, op) if known is None else list(known)
    _check_rank(b, op, len(shape))
    _check_not_empty(b, op, shape)
    return x if sizes_of(x) == shape else broadcast_to(b, x, shape, b.name(op))


def _expanded(b: Emitter, op: Op) -> list[Size]:
    """What to repeat the operand of Expand to: to what is asked for, which where it is 1 repeats nothing."""
    source, asked = b.sizes(op.inputs[0]), _asked(b, op, op.inputs[1])
    return [*source[: max(len(source) - len(asked), 0)], *asked]


@lower("Tile")
def tile(b: Emitter, op: Op) -> Any:
    """``tile``."""
    x, reps = b.var(op.inputs[0]), b.const(op.inputs[1])
    if reps is None:
        return b.mb.tile(x=x, reps=b.var(op.inputs[1]), name=b.name(op))
    if bool((reps == 1).all()):
        return x
    if bool((reps < 1).any()):
        b.refuse(op, "it repeats something 0 times, and Core ML has no empty tensors")
    return b.mb.tile(x=x, reps=reps.astype(np.int32), name=b.name(op))


def _check_rank(b: Emitter, op: Op, rank: int) -> None:
    if rank > _MAX_RANK:
        b.refuse(op, f"its result has rank {rank}, Core ML goes to {_MAX_RANK} (H4.02)")


def _check_not_empty(b: Emitter, op: Op, shape: Sequence[Size]) -> None:
    if any(is_known(size) and not size for size in shape):
        b.refuse(op, "its result is empty, and Core ML has no empty tensors")


# ---------------------------------------------------------------- made from shapes and numbers

@lower("Constant", attrs="value value_float value_floats value_int value_ints")
def constant(b: Emitter, op: Op) -> Any:
    """``const``."""
    (key, value), = op.attrs.items()  # the schema allows exactly one
    array = value.numpy() if isinstance(value, Const) else np.asarray(value, np.float32 if "float" in key else np.int64)
    array = canonical_array(array, op.label, fp16=b.target.has_fp16)
    return b.mb.const(val=array if array.ndim else array[()], name=b.name(op))


@lower("Shape", attrs="start end")
def shape_op(b: Emitter, op: Op) -> Any:
    """``const`` where the sizes are known, else ``concat`` of them."""
    sizes = b.sizes(op.inputs[0])[slice(b.attr(op, "start"), b.attr(op, "end"))]
    if not sizes:
        b.refuse(op, "its result is empty, and Core ML has no empty tensors")
    if all(map(is_known, sizes)):
        return b.mb.const(val=np.array(sizes, np.int32), name=b.name(op))
    return b.mb.concat(values=[run_time(b, size) for size in sizes], axis=0, name=b.name(op))


@lower("Size")
def size_op(b: Emitter, op: Op) -> Any:
    """``const`` where the sizes are known, else their product."""
    count = product(b, b.sizes(op.inputs[0]))
    return b.mb.const(val=np.int32(count), name=b.name(op)) if is_known(count) else run_time(b, count)


@lower("ConstantOfShape", attrs="value")
def constant_of_shape(b: Emitter, op: Op) -> Any:
    """``fill``, which takes no room in the package."""
    known = b.type(op.outputs[0]).static_shape
    shape = _asked(b, op, op.inputs[0]) if known is None else list(known)
    _check_rank(b, op, len(shape))
    _check_not_empty(b, op, shape)
    value = b.attr(op, "value")
    array = canonical_array(value.numpy() if isinstance(value, Const) else np.zeros(1, np.float32), op.label,
                            fp16=b.target.has_fp16)  # fmt: skip
    if not shape:
        return b.mb.const(val=array.reshape(())[()], name=b.name(op))
    return b.mb.fill(shape=vector(b, shape), value=array.ravel()[0], name=b.name(op))


@lower("EyeLike", attrs="dtype k")
def eye_like(b: Emitter, op: Op) -> Any:
    """``const``."""
    rows, columns = b.shape(op.inputs[0])
    dtype = b.dtype(op.outputs[0]).numpy
    return b.mb.const(val=np.eye(rows, columns, int(b.attr(op, "k")), dtype), name=b.name(op))


@lower("Range", attrs="stash_type")
def range_op(b: Emitter, op: Op) -> Any:
    """``start + i·delta`` over 0, 1, 2, …: a constant, or where their number depends on the data, ``range_1d``."""
    start, delta = b.const(op.inputs[0]), b.const(op.inputs[2])
    known = b.type(op.outputs[0]).static_shape
    n: Size = _steps(b, op, delta) if known is None else known[0]
    if is_known(n) and not n:
        b.refuse(op, "its result is empty, and Core ML has no empty tensors")
    if is_known(n) and start is not None and delta is not None:
        values = start.reshape(()) + np.arange(n) * delta.reshape(())
        array = canonical_array(values.astype(start.dtype), op.label, fp16=b.target.has_fp16)
        return b.mb.const(val=array, name=b.name(op))
    first, step = b.var(op.inputs[0]), b.var(op.inputs[2])
    steps = b.mb.mul(x=iota(b, n, 1, 0, np_type(first)), y=step)
    return b.mb.add(x=steps, y=first, name=b.name(op))


def _steps(b: Emitter, op: Op, delta: Array | None) -> Any:
    """How many elements Range has: the distance over the step, rounded up."""
    mb = b.mb
    if delta is None:
        b.refuse(op, "its step is computed at run time, and with it how many elements it has")
    step, start, limit = float(delta.reshape(())), b.var(op.inputs[0]), b.var(op.inputs[1])
    distance = mb.sub(x=limit, y=start) if step > 0 else mb.sub(x=start, y=limit)
    if not is_float(distance):
        whole = int(abs(step))
        ahead = mb.maximum(x=distance, y=np.int32(0))
        return ahead if whole == 1 else mb.floor_div(x=mb.add(x=ahead, y=np.int32(whole - 1)), y=np.int32(whole))
    if abs(math.frexp(step)[0]) != 0.5:
        b.refuse(op, f"how many elements it has depends on how a division by {step} is rounded")
    count = mb.ceil(x=mb.mul(x=distance, y=like(distance, 1 / abs(step))))
    return mb.maximum(x=mb.cast(x=count, dtype="int32"), y=np.int32(0))


@lower("Trilu", attrs="upper")
def trilu(b: Emitter, op: Op) -> Any:
    """``select`` by a constant triangle: ``band_part`` would make NaN of an infinity that it cuts off (H4.22)."""
    x, sizes = b.var(op.inputs[0]), b.sizes(op.inputs[0])
    diagonal = b.need_const(op, 1, "k")
    k = 0 if diagonal is None else int(diagonal.reshape(()))
    rank, upper = len(sizes), bool(b.attr(op, "upper"))
    if all(map(is_known, sizes[-2:])):
        ones = np.ones(sizes[-2:], bool)
        kept = np.triu(ones, k) if upper else np.tril(ones, k)
        mask = b.mb.const(val=kept.reshape((1,) * (rank - 2) + kept.shape))
    else:
        row, column = (iota(b, sizes[axis], rank, axis) for axis in (rank - 2, rank - 1))
        beside = b.mb.add(x=row, y=np.int32(k))
        mask = (b.mb.greater_equal if upper else b.mb.less_equal)(x=column, y=beside)
    return b.mb.select(cond=broadcast_to(b, mask, sizes), a=x, b=like(x, 0)[()], name=b.name(op))


@lower("OneHot", attrs="axis")
def one_hot(b: Emitter, op: Op) -> Any:
    """The indices compared with 0 … depth-1: out of range gives off values, which ``one_hot`` leaves open."""
    mb = b.mb
    depth_value = b.need_const(op, 1, "depth")
    assert depth_value is not None  # not optional
    depth, rank = int(depth_value.reshape(())), b.rank(op.inputs[0]) + 1
    _check_rank(b, op, rank)
    axis = axis_of(b, op, int(b.attr(op, "axis")), rank)
    index = b.var(op.inputs[0])
    index = mb.cast(x=index, dtype="int32") if is_float(index) else index
    wrapped = mb.select(cond=mb.less(x=index, y=np.int32(0)), a=mb.add(x=index, y=np.int32(depth)), b=index)
    # A scalar has the shape (1,) in a neuralnetwork.
    column = mb.expand_dims(x=wrapped, axes=np.array([axis], np.int32)) if wrapped.rank else reshape(b, wrapped, (1,))
    hit = mb.equal(x=column, y=iota(b, depth, rank, axis))
    values = b.var(op.inputs[2])
    off, on = (to_shape(b, part, ()) for part in mb.split(x=values, num_splits=2, axis=0))
    return mb.select(cond=hit, a=broadcast_to(b, on, sizes_of(hit)), b=off, name=b.name(op))


# ---------------------------------------------------------------- blocks of pixels

@lower("DepthToSpace", attrs="blocksize mode")
def depth_to_space(b: Emitter, op: Op) -> Any:
    """``depth_to_space`` (DCR) or ``pixel_shuffle`` (CRD); integers by transposes of rank 5 (H4.23)."""
    x, block = b.var(op.inputs[0]), int(b.attr(op, "blocksize"))
    column_row = b.attr(op, "mode") in ("CRD", b"CRD")
    if is_float(x):
        if block == 1:
            return x
        if column_row:
            return b.mb.pixel_shuffle(x=x, upscale_factor=block, name=b.name(op))
        return b.mb.depth_to_space(x=x, block_size=block, name=b.name(op))
    c, h, w = _planes(b, op)
    depth = c // block**2
    if not column_row:
        x = transpose(b, reshape(b, x, (-1, block**2, depth, h, w)), (0, 2, 1, 3, 4))
    tiles = transpose(b, reshape(b, x, (-1, block, block, h, w)), (0, 3, 1, 4, 2))
    return reshape(b, tiles, (-1, depth, h * block, w * block), b.name(op))


@lower("SpaceToDepth", attrs="blocksize mode")
def space_to_depth(b: Emitter, op: Op) -> Any:
    """``space_to_depth`` (DCR) or ``pixel_unshuffle`` (CRD); integers by transposes of rank 5 (H4.23)."""
    x, block = b.var(op.inputs[0]), int(b.attr(op, "blocksize"))
    column_row = b.attr(op, "mode") in ("CRD", b"CRD")
    if block == 1:
        return x
    if is_float(x) and not column_row:
        return b.mb.space_to_depth(x=x, block_size=block, name=b.name(op))
    if is_float(x) and b.since("iOS16"):
        return b.mb.pixel_unshuffle(x=x, downscale_factor=np.uint32(block), name=b.name(op))
    c, h, w = _planes(b, op)
    rows, columns = h // block, w // block
    tiles = transpose(b, reshape(b, x, (-1, rows, block, columns, block)), (0, 2, 4, 1, 3))
    if not column_row:
        tiles = transpose(b, reshape(b, tiles, (-1, c, block**2, rows, columns)), (0, 2, 1, 3, 4))
    return reshape(b, tiles, (-1, c * block**2, rows, columns), b.name(op))


def _planes(b: Emitter, op: Op) -> tuple[int, int, int]:
    """Channels, height and width of the operand; how many of a batch there are may depend on the data."""
    c, h, w = b.known_sizes(op.inputs[0], (1, 2, 3))
    return c, h, w
