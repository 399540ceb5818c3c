"""The same for ops that fetch, order and compute: what they give for all rows that may be there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from coregraft.passes.decompose._base import computed, constant, ints, scalar
from coregraft.passes.shapes._bounds import bounds
from coregraft.passes.shapes._index import count_up
from coregraft.passes.shapes._masked import Masked, Selections
from coregraft.passes.shapes._masked_rules import Carried, carries, column, size_at
from coregraft.rewriter.match import OpView, ValueView
from coregraft.rewriter.shapes import propagated_value
from coregraft.rewriter.types import Const, DType

#: Ops that take what is no row for nothing -> what that is.
_NEUTRAL = {"ReduceL1": 0, "ReduceL2": 0, "ReduceProd": 1, "ReduceSum": 0, "ReduceSumSquare": 0}
_EXTREMES = {"ReduceMax": False, "ReduceMin": True}


# ---------------------------------------------------------------- fetching


@carries("Gather")
def _gather(s: Selections, node: OpView) -> Carried:
    data, chosen, axis = s.masked(node, 0), s.masked(node, 1), node.attr("axis")
    if chosen is not None:
        found = _fetched(s, data or s.plain(node, 0), chosen, axis)
        return None if found is None else [found]
    indices = s.plain(node, 1)
    if data is None or indices is None or axis % len(data.shape) == data.axis:
        return None
    axis %= len(data.shape)
    one = column(data, [axis], [int(i) for i in indices.array().reshape(-1)]) if indices.is_const else None
    if one is not None:
        shape = (one.rows, *(1 for _ in range(indices.rank or 0)))
        return [one if len(shape) == 1 else one.moved(s.op.Reshape(one.value, ints(s.op, shape)))]
    at = data.axis if data.axis < axis else data.axis - 1 + (indices.rank or 0)
    return [data.moved(s.op.Gather(data.value, indices, axis=axis), at)]


def _fetched(s: Selections, data: Masked | ValueView | None, chosen: Masked, axis: int) -> Masked | None:
    """The rows of ``data`` with the chosen numbers along an axis."""
    if data is None:
        return None
    vector = len(chosen.shape) == 1
    if isinstance(data, Masked):
        axis %= len(data.shape)
        if axis != data.axis or chosen.into != data.mask:
            return None
        if vector and data.is_count and len(data.shape) == 1:
            return replace(chosen, into=data.into, is_kept=False)
        value = data.value if vector and chosen.is_count else s.op.Gather(data.value, chosen.value, axis=axis)
        own = data.is_count and vector and chosen.is_count
        return Masked(value, axis + chosen.axis, chosen.mask, data.into, own)
    chosen = s.absolute(chosen)
    axis %= data.rank or 1
    if vector and chosen.is_count and size_at(data.static_shape, axis - (data.rank or 0)) == chosen.rows:
        return Masked(data, axis, chosen.mask, is_kept=chosen.is_kept)
    value = s.op.Gather(data, s.only(chosen, 0), axis=axis)
    return Masked(value, axis + chosen.axis, chosen.mask, is_kept=chosen.is_kept)


@carries("GatherND")
def _gather_nd(s: Selections, node: OpView) -> Carried:
    data, chosen = s.masked(node, 0), s.masked(node, 1)
    if chosen is None or chosen.axis != 0 or len(chosen.shape) != 2 or node.attr("batch_dims"):
        return None
    if chosen.shape[1] == 1:
        flat = replace(chosen, value=s.op.Reshape(chosen.value, ints(s.op, [-1])))
        found = _fetched(s, data or s.plain(node, 0), flat, 0)
        return None if found is None else [found]
    x, chosen = s.plain(node, 0), s.absolute(chosen)
    if x is None:
        return None
    value = s.op.GatherND(x, s.only(chosen, 0))
    return [Masked(value, 0, chosen.mask, is_kept=chosen.is_kept)]


@carries("ScatterElements", "ScatterND")
def _scatter(s: Selections, node: OpView) -> Carried:
    """Rows that are put back where they were taken from: a choice between old and new."""
    data, chosen, updates = s.masked(node, 0), s.masked(node, 1), s.masked(node, 2)
    x = data or s.plain(node, 0)
    axis = 0 if node.type == "ScatterND" else node.attr("axis")
    if x is None or chosen is None or updates is None or not chosen.is_count or chosen.mask != updates.mask:
        return None
    shape = x.shape if isinstance(x, Masked) else x.static_shape or ()
    axis %= len(shape)
    deep = node.type == "ScatterND" and chosen.shape[1:] != (1,)
    home = None if data is None else data.mask
    if node.attr("reduction") != "none" or deep or chosen.into != home or updates.shape != shape:
        return None
    if updates.value.dtype is DType.BOOL:  # for which onnxruntime has no Where
        return None
    if (chosen.axis, updates.axis) != (axis, axis) or (data is not None and data.axis != axis):
        return None
    new = s.along(chosen.mask, len(shape), axis)
    value = s.op.Where(new, s.absolute(updates).value, s.absolute(data).value if data is not None else x)
    return [value if data is None else Masked(value, axis, data.mask)]


@carries("Pad")
def _pad(s: Selections, node: OpView) -> Carried:
    """Rows of one content after those that are there."""
    rows, pads = s.masked(node, 0), s.plain(node, 1)
    wanted, dims = propagated_value(s.typed, node.op.inputs[1]), s.dims(node.op.outputs[0])
    if rows is None or pads is None or wanted is None or dims is None or rows.value.dtype is None:
        return None
    if node.attr("mode") != "constant" or computed(node, 2) or computed(node, 3):
        return None
    rank, listed, fill = len(rows.shape), constant(node, 3), constant(node, 2)
    axes = [int(a) % rank for a in (range(rank) if listed is None else listed)]
    if rows.axis not in axes:
        return None
    at = len(axes) + axes.index(rows.axis)
    limits = bounds(wanted[at], s.sizes)
    if limits is None or limits[0] < 0 or limits[1] == 0 or any(n != 0 for i, n in enumerate(wanted) if i != at):
        return None
    shape = tuple(limits[1] if i == rows.axis else n for i, n in enumerate(rows.shape))
    content = np.full(shape, 0 if fill is None else fill.reshape(()), rows.value.dtype.numpy)
    rows = s.absolute(rows)
    added = s.first(limits[1], s.op.Slice(pads, ints(s.op, [at]), ints(s.op, [at + 1])))
    value = s.op.Concat(rows.value, s.op.const(Const.of(content, rows.value.dtype)), axis=rows.axis)
    padded, size = Masked(value, rows.axis, s.joined([rows.mask, added])), dims[rows.axis]
    return [s.leading(padded, size).value if isinstance(size, int) else padded]


# ---------------------------------------------------------------- ordering, reducing


@carries("TopK")
def _top_k(s: Selections, node: OpView) -> Carried:
    """What is no row comes last."""
    rows, k = s.masked(node, 0), s.plain(node, 1)
    if rows is None or k is None or rows.value.dtype is None:
        return None
    axis, options = node.attr("axis") % len(rows.shape), node.attrs
    if axis != rows.axis:
        within = s.op.TopK(s.absolute(rows).value, k, _outputs=2, **options)
        return [Masked(v, rows.axis, rows.mask) for v in within] if k.is_const else None
    largest = node.attr("largest") == 1
    worst, least = _bounds(rows.value.dtype, lowest=largest)
    bounded = (s.op.Max if largest else s.op.Min)(rows.value, scalar(s.op, least, rows.value))
    wanted = propagated_value(s.typed, k.name)
    bound = s.bound(wanted[0]) if wanted else None
    size = rows.rows if bound is None else min(bound, rows.rows)
    if not size:
        return None
    last = s.only(rows.moved(bounded), worst)
    _, places = s.op.TopK(last, ints(s.op, [size]), _outputs=2, **options)
    if len(rows.shape) == 1:
        values = s.op.Gather(rows.value, places, axis=0)
    else:
        values = s.op.GatherElements(rows.value, places, axis=axis)
    mask = s.op.Less(count_up(s.op, size), s.op.Reshape(k, ints(s.op, [1])))
    found = [Masked(values, axis, mask, rows.into), Masked(places, axis, mask, rows.mask)]
    if not k.is_const:
        return found
    return [s.absolute(f).value for f in found]  # as many as a constant says are certainly there


def _bounds(dtype: DType, *, lowest: bool) -> tuple[Any, Any]:
    """A value that comes after all others, and the last that these may be."""
    if dtype.is_float:
        kind = np.float16 if dtype is DType.FLOAT16 else np.float32
        worst = np.finfo(kind).min
        nearest = np.nextafter(worst, kind(0))
        return (worst, nearest) if lowest else (-worst, -nearest)
    info = np.iinfo(dtype.numpy)
    return (info.min, info.min + 1) if lowest else (info.max, info.max - 1)


@carries("ReduceMax", "ReduceMin", "ReduceMean", "ReduceLogSum", "ReduceLogSumExp", *_NEUTRAL)
def _reduce(s: Selections, node: OpView) -> Carried:
    """Within each row; or over the rows, of which those that are not there add nothing."""
    rows = s.masked(node, 0)
    listed = constant(node, 1)
    if rows is None or (listed is None and len(node.op.inputs) > 1 and node.op.inputs[1]):
        return None
    if (listed is None or not len(listed)) and node.attr("noop_with_empty_axes"):
        return None
    rank = len(rows.shape)
    axes = sorted({int(a) % rank for a in listed}) if listed is not None and len(listed) else list(range(rank))
    rows = s.absolute(rows)
    reduced: Any = rows.value
    if rows.axis in axes:
        nothing = _nothing(node.type, rows.value.dtype)
        if nothing is None:
            return None
        reduced = s.only(rows, nothing)
    value = getattr(s.op, node.type)(reduced, ints(s.op, axes), **node.attrs)
    if rows.axis in axes:
        return [value]
    at = rows.axis if node.attr("keepdims") else rows.axis - sum(a < rows.axis for a in axes)
    return [Masked(value, at, rows.mask)]


def _nothing(op_type: str, dtype: DType | None) -> Any:
    """What leaves a reduction as it is; None where nothing does."""
    if op_type in _NEUTRAL or dtype is None:
        return _NEUTRAL.get(op_type)
    if op_type not in _EXTREMES:
        return None
    if dtype.is_float:
        return np.inf if _EXTREMES[op_type] else -np.inf
    if dtype is DType.BOOL:
        return _EXTREMES[op_type]
    info = np.iinfo(dtype.numpy)
    return info.max if _EXTREMES[op_type] else info.min


@carries("Softmax", "LogSoftmax")
def _softmax(s: Selections, node: OpView) -> Carried:
    rows = s.masked(node, 0)
    if rows is None:
        return None
    over = node.attr("axis") % len(rows.shape) == rows.axis
    x = s.only(rows, -np.inf) if over else rows.value
    return [Masked(getattr(s.op, node.type)(x, **node.attrs), rows.axis, rows.mask)]


@carries("ArgMax", "ArgMin")
def _arg_max(s: Selections, node: OpView) -> Carried:
    rows = s.masked(node, 0)
    if rows is None or (axis := node.attr("axis") % len(rows.shape)) == rows.axis:
        return None
    value = getattr(s.op, node.type)(s.absolute(rows).value, **node.attrs)
    return [Masked(value, rows.axis - (not node.attr("keepdims") and axis < rows.axis), rows.mask)]


# ---------------------------------------------------------------- computing, row by row


@carries(
    "AveragePool", "BatchNormalization", "Conv", "ConvTranspose", "Gemm", "GlobalAveragePool", "GlobalMaxPool",
    "InstanceNormalization", "LpPool", "MaxPool",
)  # fmt: skip
def _batched(s: Selections, node: OpView) -> Carried:
    """Ops whose first axis only counts."""
    rows, others = s.masked(node, 0), _others(s, node)
    if rows is None or others is None or rows.axis != 0 or node.op.attrs.get("transA"):
        return None
    if node.type == "Gemm" and len(others) > 1 and others[1] is not None and size_at(others[1].static_shape, -2) != 1:
        return None
    value = getattr(s.op, node.type)(s.absolute(rows).value, *others, **node.attrs)
    return [Masked(value, 0, rows.mask)]


def _others(s: Selections, node: OpView) -> list[ValueView | None] | None:
    """All operands but the first; None where one has no static shape."""
    found = [s.plain(node, i) for i in range(1, len(node.op.inputs))]
    wanted = node.op.inputs[1:]
    return None if any(v is None and name for v, name in zip(found, wanted, strict=True)) else found


@carries("LayerNormalization", "RMSNormalization")
def _normalization(s: Selections, node: OpView) -> Carried:
    rows, others = s.masked(node, 0), _others(s, node)
    if rows is None or others is None:
        return None
    at = rows.axis - len(rows.shape)
    if node.attr("axis") % len(rows.shape) <= rows.axis or any(size_at(o.static_shape, at) != 1 for o in others if o):
        return None
    return [Masked(getattr(s.op, node.type)(rows.value, *others, **node.attrs), rows.axis, rows.mask)]


@carries("MatMul")
def _matmul(s: Selections, node: OpView) -> Carried:
    """Each row by itself, or each of a stack of matrices; never what is summed over."""
    operands: list[Any] = [s.masked(node, i) or s.plain(node, i) for i in range(2)]
    axis = s.open_axis(node.op.outputs[0])
    if None in operands or axis is None:
        return None
    at = [o.axis - len(o.shape) if isinstance(o, Masked) else None for o in operands]
    shapes = [o.shape if isinstance(o, Masked) else o.static_shape for o in operands]
    if at[0] == -1 or at[1] == (-2 if len(shapes[1]) > 1 else -1):
        return None
    batch = [i for i in at if i is not None and i < -2]
    if all(i is not None for i in at) and (operands[0].mask != operands[1].mask or at[0] != at[1] or not batch):
        return None
    if batch and any(size_at(shape, batch[0]) != 1 for shape, i in zip(shapes, at, strict=True) if i is None):
        return None
    found = next(o for o in operands if isinstance(o, Masked))
    value = s.op.MatMul(*(s.absolute(o).value if isinstance(o, Masked) else o for o in operands))
    return [Masked(value, axis, found.mask)]


@carries("RoiAlign")
def _roi_align(s: Selections, node: OpView) -> Carried:
    """Boxes that are none are boxes of nothing in the first image."""
    x, boxes, images = s.plain(node, 0), s.masked(node, 1), s.masked(node, 2)
    if x is None or boxes is None or images is None or boxes.mask != images.mask:
        return None
    images = s.absolute(images)
    operands = [s.only(v, 0) for v in (boxes, images)]
    return [Masked(s.op.RoiAlign(x, *operands, **node.attrs), 0, boxes.mask)]
