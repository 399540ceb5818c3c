"""Gather and Scatter in all their forms. Indices reach MIL without negatives: from iOS 17 those are out of bounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from coregraft.lowering import integers
from coregraft.lowering.registry import lower
from coregraft.lowering.shaping import (
    axis_of,
    broadcast_to,
    from_int32,
    inner_name,
    iota,
    operand,
    slice_axis,
    to_shape,
    via_int32,
)
from coregraft.lowering.sizes import Size, is_known
from coregraft.lowering.vars import reshape
from coregraft.rewriter.graph import Op

if TYPE_CHECKING:
    from coregraft.lowering.emitter import Emitter

#: ONNX's reduction -> MIL's mode. MIL's own default differs between the documentation and the code: always written out.
_MODES = {"none": "update", "add": "add", "mul": "mul", "max": "max", "min": "min"}


@lower("Gather", attrs="axis")
def gather(b: Emitter, op: Op) -> Any:
    """``gather``; one constant index of a matrix or more is a slice, which the Neural Engine has."""
    source = b.var(op.inputs[0])
    name = inner_name(b, op, source)
    axis = axis_of(b, op, b.attr(op, "axis"), source.rank)
    size, index_rank = b.sizes(op.inputs[0])[axis], b.rank(op.inputs[1])
    if (rank := source.rank - 1 + index_rank) > 5:
        b.refuse(op, f"its result has rank {rank}, Core ML goes to 5 (H4.02)")
    index = b.const(op.inputs[1])
    if index is not None and index.ndim == 0 and source.rank > 1 and is_known(size):
        place = int(index) % size
        return b.mb.squeeze(
            x=slice_axis(b, source, axis, place, place + 1), axes=np.array([axis], np.int32), name=b.name(op)
        )  # fmt: skip
    indices = integers.indices(b, op.inputs[1], size)
    if not index_rank and b.target.format == "neuralnetwork":  # which has no scalars: the axis would stay
        found = b.mb.gather(x=via_int32(b, source), indices=b.mb.reshape(x=indices, shape=[1]), axis=axis)
        return from_int32(b, op, b.mb.squeeze(x=found, axes=np.array([axis], np.int32), **name), source)
    found = b.mb.gather(x=via_int32(b, source), indices=indices, axis=axis, **name)
    return from_int32(b, op, found, source)


@lower("GatherElements", attrs="axis")
def gather_elements(b: Emitter, op: Op) -> Any:
    """``gather_along_axis``, of as much of the data as the indices cover on the other axes."""
    source = b.var(op.inputs[0])
    name = inner_name(b, op, source)
    axis = axis_of(b, op, b.attr(op, "axis"), source.rank)
    sizes = b.sizes(op.inputs[0])
    x = via_int32(b, source)
    for i, (have, want) in enumerate(zip(sizes, b.sizes(op.inputs[1]), strict=True)):
        if i != axis and want != have:
            x = slice_axis(b, x, i, 0, want)
    found = b.mb.gather_along_axis(x=x, indices=integers.indices(b, op.inputs[1], sizes[axis]), axis=axis, **name)
    return from_int32(b, op, found, source)


@lower("GatherND", attrs="batch_dims")
def gather_nd(b: Emitter, op: Op) -> Any:
    """Constant indices: ``gather`` over the indexed axes laid out as one. Else ``gather_nd`` (batches from iOS 16)."""
    source, batch = b.var(op.inputs[0]), int(b.attr(op, "batch_dims"))
    name = inner_name(b, op, source)
    sizes, wanted = b.sizes(op.inputs[0]), b.sizes(op.inputs[1])
    depth = _depth(b, op, wanted)
    indexed = sizes[batch : batch + depth]
    x = via_int32(b, source)
    index = b.const(op.inputs[1])
    if index is not None and all(map(is_known, sizes)):
        shape = b.shape(op.inputs[0])
        strides = np.array([math.prod(indexed[i + 1 :]) for i in range(len(indexed))], np.int64)
        places = (np.where(index < 0, index + np.array(indexed), index) * strides).sum(-1)
        grid = np.arange(math.prod(shape[:batch])).reshape(shape[:batch] + (1,) * (places.ndim - batch))
        rest = shape[batch + depth :]
        rows = reshape(b, x, (math.prod(shape[: batch + depth]), *rest))
        flat = (places + grid * math.prod(indexed)).ravel().astype(np.int32)
        found = to_shape(b, b.mb.gather(x=rows, indices=flat, axis=0), b.shape(op.outputs[0]), name.get("name"))
        return from_int32(b, op, found, source)
    indices = integers.indices(b, op.inputs[1], indexed)
    if batch and b.since("iOS16"):
        found = b.mb.gather_nd(x=x, indices=indices, batch_dims=batch, **name)
    else:
        indices = _with_batches(b, indices, batch, b.shape(op.inputs[1])) if batch else indices
        found = b.mb.gather_nd(x=x, indices=indices, **name)
    return from_int32(b, op, found, source)


def _depth(b: Emitter, op: Op, sizes: Sequence[Size]) -> int:
    """How many axes an index tuple of GatherND or ScatterND runs over."""
    if not is_known(sizes[-1]):
        b.refuse(op, "how many axes its indices run over depends on the data")
    return int(sizes[-1])


def _with_batches(b: Emitter, indices: Any, batch: int, wanted: tuple[int, ...]) -> Any:
    """The index tuples led by the number of their batch on each batch axis."""
    grids = np.meshgrid(*(np.arange(n, dtype=np.int32) for n in wanted[:-1]), indexing="ij")
    return b.mb.concat(values=[np.stack(grids[:batch], -1), indices], axis=-1)


@lower("ScatterElements", attrs="axis reduction")
def scatter_elements(b: Emitter, op: Op) -> Any:
    """``scatter_along_axis``; ``scatter_nd`` where the indices do not cover the data's other axes.

    coremltools folds a scatter along an axis as if it always updated: constants take ``scatter_nd``, too.
    """
    source = b.var(op.inputs[0])
    name = inner_name(b, op, source)
    mode = _mode(b, op)
    axis = axis_of(b, op, b.attr(op, "axis"), source.rank)
    sizes, wanted = b.sizes(op.inputs[0]), b.sizes(op.inputs[1])
    data, updates = via_int32(b, source), via_int32(b, b.var(op.inputs[2]))
    indices = integers.indices(b, op.inputs[1], sizes[axis])
    covers = all(i == axis or have == want for i, (have, want) in enumerate(zip(sizes, wanted, strict=True)))
    foldable = all(var.val is not None for var in (data, indices, updates))
    if covers and not (foldable and mode != "update"):
        found = b.mb.scatter_along_axis(data=data, indices=indices, updates=updates, axis=axis, mode=mode, **name)
    else:
        places = _coordinates(b, indices, axis, b.shape(op.inputs[1]))
        found = b.mb.scatter_nd(data=data, indices=places, updates=updates, mode=mode, **name)
    return from_int32(b, op, found, source)


def _coordinates(b: Emitter, indices: Any, axis: int, shape: tuple[int, ...]) -> Any:
    """The place of every update on every axis, along a new last axis."""
    columns: list[Any] = [grid[..., None] for grid in np.indices(shape, np.int32)]
    columns[axis] = b.mb.expand_dims(x=indices, axes=np.array([-1], np.int32))
    return b.mb.concat(values=columns, axis=-1) if len(columns) > 1 else columns[axis]


@lower("ScatterND", attrs="reduction")
def scatter_nd(b: Emitter, op: Op) -> Any:
    """``scatter_nd`` with its mode written out."""
    source = b.var(op.inputs[0])
    name = inner_name(b, op, source)
    depth = _depth(b, op, b.sizes(op.inputs[1]))
    indices = integers.indices(b, op.inputs[1], b.sizes(op.inputs[0])[:depth])
    updates = via_int32(b, b.var(op.inputs[2]))
    found = b.mb.scatter_nd(data=via_int32(b, source), indices=indices, updates=updates, mode=_mode(b, op), **name)
    return from_int32(b, op, found, source)


@lower("TensorScatter", attrs="axis mode")
def tensor_scatter(b: Emitter, op: Op) -> Any:
    """New entries written into a cache, from an index of each batch on: ``scatter_along_axis``; ``concat`` at 0."""
    cache, update = b.var(op.inputs[0]), b.var(op.inputs[1])
    axis = axis_of(b, op, b.attr(op, "axis"), cache.rank)
    size, shape = b.shape(op.inputs[0])[axis], b.shape(op.inputs[1])
    if not operand(op, 2):
        if shape[axis] == size:
            return update
        return b.mb.concat(values=[update, slice_axis(b, cache, axis, shape[axis], size)], axis=axis, name=b.name(op))
    first = to_shape(b, b.var(op.inputs[2]), [shape[0] if i == 0 else 1 for i in range(len(shape))])
    places = b.mb.add(x=first, y=iota(b, shape[axis], len(shape), axis))
    if b.attr(op, "mode") in ("circular", b"circular"):
        places = b.mb.mod(x=places, y=np.int32(size))
    found = b.mb.scatter_along_axis(
        data=via_int32(b, cache), indices=broadcast_to(b, places, shape), updates=via_int32(b, update), axis=axis,
        mode="update", **inner_name(b, op, cache),
    )  # fmt: skip
    return from_int32(b, op, found, cache)


def _mode(b: Emitter, op: Op) -> str:
    kind = b.attr(op, "reduction")
    kind = kind.decode() if isinstance(kind, bytes) else kind
    if kind not in _MODES:
        b.refuse(op, f'reduction "{kind}" is not one of ONNX')
    return _MODES[kind]
