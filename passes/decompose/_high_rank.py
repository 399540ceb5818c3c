"""How each op is computed on a view with fewer axes; used by :mod:`~coregraft.passes.decompose.split_high_rank`.

A handler takes the builder, the op and the highest rank allowed, and returns the results or a :class:`NoMatch`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from coregraft.passes.decompose._base import constant, ints, need
from coregraft.passes.decompose._ranks import (
    Groups,
    aligned,
    around,
    broadcast_groups,
    full_view,
    permutation_groups,
    permutation_steps,
    runs,
    view_of,
)
from coregraft.passes.elementwise import BROADCASTING, UNARY
from coregraft.rewriter.passes import NoMatch, OpBuilder, OpView, ValueView
from coregraft.rewriter.types import Dim

Handler = Callable[[OpBuilder, OpView, int], Any]
_UNKNOWN = NoMatch("more than one dim is unknown")


def same_view(value: ValueView, dims: Sequence[int]) -> bool:
    """Whether a value has this static shape already."""
    return value.static_shape == tuple(dims)


def view(op: OpBuilder, value: ValueView, dims: Sequence[int]) -> ValueView:
    """The value in another shape; a constant is reshaped in place."""
    if same_view(value, dims):
        return value
    if value.is_const:
        return op.const(np.ascontiguousarray(value.array()).reshape(dims))
    return op.Reshape(value, ints(op, dims))  # type: ignore[no-any-return]


def back(op: OpBuilder, value: ValueView, like: ValueView | None) -> Any:
    """The value in the shape of the result it stands for."""
    dims = None if like is None or like.shape is None else full_view(like.shape)
    return _UNKNOWN if dims is None else op.Reshape(value, ints(op, dims))


def shape_of(value: ValueView | None) -> tuple[Dim, ...] | None:
    return None if value is None else value.shape


# -------------------------------------------------------------------- moving


def reshaping(op: OpBuilder, node: OpView, limit: int) -> Any:
    """Squeeze, Unsqueeze, Flatten."""
    return back(op, need(node, 0), node.outputs[0])


def transpose(op: OpBuilder, node: OpView, limit: int) -> Any:
    x = need(node, 0)
    if x.shape is None:
        return _UNKNOWN
    perm = node.attr("perm") or tuple(reversed(range(len(x.shape))))
    moved = permute(op, x, perm, limit)
    return moved if isinstance(moved, NoMatch) else back(op, moved, node.outputs[0])


def permute(op: OpBuilder, x: ValueView, perm: Sequence[int], limit: int) -> Any:
    """The elements of ``x`` in the order of a transpose, in a view of the shape that it would give."""
    assert x.shape is not None
    groups, order = permutation_groups(x.shape, perm)
    dims = view_of(x.shape, groups)
    if dims is None:
        return _UNKNOWN
    steps = [(dims, order)] if len(dims) <= limit else permutation_steps(dims, order)
    for shape, axes in steps:
        x = view(op, x, shape)
        if axes != tuple(range(len(axes))):
            x = op.Transpose(x, perm=axes)
    return x


# -------------------------------------------------------------------- elementwise


def unary(op: OpBuilder, node: OpView, limit: int) -> Any:
    """Ops of one tensor; further operands are scalars that stay as they are."""
    x, *others = node.inputs
    assert x is not None
    if x.shape is None or any(o is not None and not _has_one_element(o) for o in others):
        return NoMatch("an operand is not a scalar")
    lead = len(x.shape) - limit + 1
    dims = view_of(x.shape, [list(range(lead)), *([axis] for axis in range(lead, len(x.shape)))])
    if dims is None:
        dims = (-1,)
    y = _make(op, node, [view(op, x, dims), *others])
    return back(op, y, node.outputs[0])


def _has_one_element(value: ValueView) -> bool:
    return value.static_shape is not None and math.prod(value.static_shape) == 1


def broadcasting(op: OpBuilder, node: OpView, limit: int) -> Any:
    operands = [need(node, i) for i in range(len(node.inputs))]
    result = node.outputs[0]
    shapes = [shape_of(v) for v in operands]
    known = [s for s in shapes if s is not None]
    target = shape_of(result)
    if target is None or len(known) != len(shapes):
        return _UNKNOWN
    found = broadcast_groups(known, target)
    if found is None:
        return NoMatch("it is not known which dims are broadcast")
    groups, whole = found
    if len(groups) > limit:
        return _expand_first(op, node, operands, known, target)
    dims = view_of(target, groups)
    if dims is None:
        return _UNKNOWN
    views = [
        view(op, v, [size if flag else 1 for size, flag in zip(dims, flags, strict=True)])
        for v, flags in zip(operands, whole, strict=True)
    ]
    return back(op, _make(op, node, views), result)


def _expand_first(
    op: OpBuilder,
    node: OpView,
    operands: Sequence[ValueView],
    shapes: Sequence[Sequence[Dim]],
    target: Sequence[Dim],
) -> Any:
    """Operands expanded one run of axes after the other, then the op on a flat view."""
    views = []
    for value, shape in zip(operands, shapes, strict=True):
        full = expand_to(op, value, shape, target)
        if isinstance(full, NoMatch):
            return full
        views.append(view(op, full, (math.prod(target),)))  # type: ignore[arg-type]
    return back(op, _make(op, node, views), node.outputs[0])


def expand_to(op: OpBuilder, value: ValueView, shape: Sequence[Dim], target: Sequence[Dim]) -> Any:
    """All elements of ``value`` broadcast to ``target``, in some view of it; static dims only."""
    static = [d for d in target if isinstance(d, int)]
    now = [d for d in aligned(shape, len(target)) if isinstance(d, int)]
    if len(static) != len(target) or len(now) != len(target):
        return _UNKNOWN
    for run in runs([a == b for a, b in zip(now, static, strict=True)]):
        if now[run[0]] == static[run[0]]:
            continue
        size = math.prod(static[axis] for axis in run)
        before, behind = math.prod(now[: run[0]]), math.prod(now[run[-1] + 1 :])
        value = op.Expand(view(op, value, (before, 1, behind)), ints(op, (before, size, behind)))
        now = [static[i] if i in run else n for i, n in enumerate(now)]
    return value


def expand(op: OpBuilder, node: OpView, limit: int) -> Any:
    x, result = need(node, 0), node.outputs[0]
    source, target = shape_of(x), shape_of(result)
    if source is None or target is None:
        return _UNKNOWN
    found = broadcast_groups([source], target)
    dims = None if found is None else view_of(target, found[0])
    if found is None or dims is None or -1 in dims:
        return _UNKNOWN
    if len(found[0]) > limit:
        full = expand_to(op, x, source, target)
        return full if isinstance(full, NoMatch) else back(op, full, result)
    lesser = [size if flag else 1 for size, flag in zip(dims, found[1][0], strict=True)]
    return back(op, op.Expand(view(op, x, lesser), ints(op, dims)), result)


# -------------------------------------------------------------------- along some axes


def reduction(op: OpBuilder, node: OpView, limit: int) -> Any:
    x, result = need(node, 0), node.outputs[0]
    shape = x.shape
    if shape is None:
        return _UNKNOWN
    rank = len(shape)
    axes = constant(node, 1)
    if axes is None and len(node.inputs) > 1 and node.inputs[1] is not None:
        return NoMatch("the axes are computed at run time")
    reduced = list(range(rank)) if axes is None or axes.size == 0 else sorted(int(a) % rank for a in axes)
    if (axes is None or axes.size == 0) and node.attr("noop_with_empty_axes"):
        reduced = []
    groups = runs([axis in reduced for axis in range(rank)])
    if len(groups) > limit:
        kept = [axis for axis in range(rank) if axis not in reduced]
        dims = view_of(shape, [kept, reduced])
        moved = permute(op, x, [*kept, *reduced], limit)
        if isinstance(moved, NoMatch) or dims is None:
            return _UNKNOWN
        x, inner = view(op, moved, dims), [1]
    else:
        dims = view_of(shape, groups)
        if dims is None:
            return _UNKNOWN
        x, inner = view(op, x, dims), [i for i, group in enumerate(groups) if group[0] in reduced]
    attrs = {"keepdims": 0, "noop_with_empty_axes": 1}
    return back(op, getattr(op, node.type)(x, ints(op, inner), **attrs), result)


def one_axis(op: OpBuilder, node: OpView, limit: int) -> Any:
    """Ops along the axis of their attribute that leave the rank as it is."""

    def make(x: ValueView, at: list[int]) -> Any:
        return _make(op, node, [x, *node.inputs[1:]], axis=at[0])

    return _along(op, node, [int(node.attr("axis"))], make)


def arg_reduction(op: OpBuilder, node: OpView, limit: int) -> Any:

    def make(x: ValueView, at: list[int]) -> Any:
        return _make(op, node, [x], axis=at[0], keepdims=0)

    return _along(op, node, [int(node.attr("axis"))], make)


def cumulative(op: OpBuilder, node: OpView, limit: int) -> Any:
    axis = constant(node, 1)
    if axis is None:
        return NoMatch("the axis is computed at run time")

    def make(x: ValueView, at: list[int]) -> Any:
        return _make(op, node, [x, op.const(np.array(at[0], np.int64))])

    return _along(op, node, [int(axis.reshape(()))], make)


def _along(op: OpBuilder, node: OpView, axes: Sequence[int], make: Callable[[ValueView, list[int]], Any]) -> Any:
    """``make`` on a view of the first operand that keeps ``axes``; their new places are given to it. One result."""
    x = need(node, 0)
    if x.shape is None:
        return _UNKNOWN
    rank = len(x.shape)
    groups = around(rank, [axis % rank for axis in axes])
    dims = view_of(x.shape, groups)
    if dims is None:
        return _UNKNOWN
    return back(op, make(view(op, x, dims), [groups.index([axis % rank]) for axis in axes]), node.outputs[0])


def concat(op: OpBuilder, node: OpView, limit: int) -> Any:
    operands = [need(node, i) for i in range(len(node.inputs))]
    views, place = [], 0
    for x in operands:
        if x.shape is None:
            return _UNKNOWN
        axis = int(node.attr("axis")) % len(x.shape)
        groups = around(len(x.shape), [axis])
        dims = view_of(x.shape, groups)
        if dims is None:
            return _UNKNOWN
        place = groups.index([axis])
        views.append(view(op, x, dims))
    return back(op, _make(op, node, views, axis=place), node.outputs[0])


def split(op: OpBuilder, node: OpView, limit: int) -> Any:
    x = need(node, 0)
    if x.shape is None:
        return _UNKNOWN
    axis = int(node.attr("axis")) % len(x.shape)
    groups = around(len(x.shape), [axis])
    dims = view_of(x.shape, groups)
    outputs = node.outputs
    shapes = [full_view(o.shape) if o is not None and o.shape is not None else None for o in outputs]
    if dims is None or None in shapes:
        return _UNKNOWN
    attrs = {**node.attrs, "axis": groups.index([axis])}
    parts = op.Split(view(op, x, dims), *node.inputs[1:], _outputs=len(outputs), **attrs)
    parts = parts if isinstance(parts, tuple) else (parts,)
    return tuple(op.Reshape(part, ints(op, s or ())) for part, s in zip(parts, shapes, strict=True))


def gather(op: OpBuilder, node: OpView, limit: int) -> Any:
    indices = need(node, 1)

    def make(x: ValueView, at: list[int]) -> Any:
        return op.Gather(x, view(op, indices, (-1,)), axis=at[0])

    return _along(op, node, [int(node.attr("axis"))], make)


# -------------------------------------------------------------------- along several axes


def slicing(op: OpBuilder, node: OpView, limit: int) -> Any:
    x, axes = need(node, 0), constant(node, 3)
    starts, ends = need(node, 1), need(node, 2)
    if x.shape is None or starts.static_shape is None:
        return _UNKNOWN
    if axes is None and len(node.inputs) > 3 and node.inputs[3] is not None:
        return NoMatch("the axes are computed at run time")
    cut = [int(a) for a in axes] if axes is not None else list(range(starts.static_shape[0]))
    steps = node.inputs[4] if len(node.inputs) > 4 else None
    if len(around(len(x.shape), [a % len(x.shape) for a in cut])) <= limit:
        return _along(op, node, cut, lambda v, at: op.Slice(v, starts, ends, ints(op, at), steps))
    if not (starts.is_const and ends.is_const and (steps is None or steps.is_const)):
        return NoMatch("many axes are sliced at places computed at run time")
    by = steps.array() if steps is not None else np.ones(len(cut), np.int64)
    bounds = {a: (int(s), int(e), int(b)) for a, s, e, b in zip(cut, starts.array(), ends.array(), by, strict=True)}

    def once(v: ValueView, axis: int) -> Any:
        start, end, step = bounds[axis]
        return op.Slice(v, ints(op, [start]), ints(op, [end]), ints(op, [1]), ints(op, [step]))

    return _one_by_one(op, node, x, cut, once)


def padding(op: OpBuilder, node: OpView, limit: int) -> Any:
    x, pads, axes = need(node, 0), constant(node, 1), constant(node, 3)
    if x.shape is None or pads is None or (axes is None and len(node.inputs) > 3 and node.inputs[3] is not None):
        return NoMatch("the pads or axes are computed at run time")
    listed = [int(a) % len(x.shape) for a in axes] if axes is not None else list(range(len(x.shape)))
    half = len(listed)
    amounts = {a: (int(pads[i]), int(pads[half + i])) for i, a in enumerate(listed) if pads[i] or pads[half + i]}
    value = node.inputs[2] if len(node.inputs) > 2 else None

    def once(v: ValueView, axis: int) -> Any:
        before, behind = amounts[axis]
        return op.Pad(v, ints(op, [0, before, 0, 0, behind, 0]), value, mode=node.attr("mode"))

    return _one_by_one(op, node, x, sorted(amounts), once)


def tiling(op: OpBuilder, node: OpView, limit: int) -> Any:
    x, repeats = need(node, 0), constant(node, 1)
    if x.shape is None or repeats is None:
        return NoMatch("the repeats are computed at run time")
    tiled = [axis for axis, n in enumerate(repeats) if n != 1]
    return _one_by_one(op, node, x, tiled, lambda v, axis: op.Tile(v, ints(op, [1, int(repeats[axis]), 1])))


def _one_by_one(
    op: OpBuilder, node: OpView, x: ValueView, axes: Sequence[int], once: Callable[[ValueView, int], Any]
) -> Any:
    """``once`` for each axis in turn, on a view (before, axis, behind) of what the last one gave."""
    result = shape_of(node.outputs[0])
    assert x.shape is not None
    now = list(x.shape)
    if result is None:
        return _UNKNOWN
    for axis in axes:
        place = axis % len(now)
        dims = view_of(now, [list(range(place)), [place], list(range(place + 1, len(now)))])
        if dims is None:
            return _UNKNOWN
        x = once(view(op, x, dims), axis)
        now[place] = result[place]
    return back(op, x, node.outputs[0])


def matmul(op: OpBuilder, node: OpView, limit: int) -> Any:
    a, b, result = need(node, 0), need(node, 1), node.outputs[0]
    left, right, target = a.shape, b.shape, shape_of(result)
    if left is None or right is None or target is None or len(left) < 2 or len(right) < 2:
        return _UNKNOWN
    found = broadcast_groups([left[:-2], right[:-2]], target[:-2])
    if found is None or len(found[0]) > limit - 2:
        return NoMatch("the batch axes cannot be merged")
    groups, whole = found
    batch = view_of(target[:-2], groups)
    if batch is None:
        return _UNKNOWN
    views = []
    for value, shape, flags in ((a, left, whole[0]), (b, right, whole[1])):
        dims = [*(size if flag else 1 for size, flag in zip(batch, flags, strict=True)), *shape[-2:]]
        sizes = [d if isinstance(d, int) else -1 for d in dims]
        if sizes.count(-1) > 1:
            return _UNKNOWN
        views.append(view(op, value, sizes))
    return back(op, op.MatMul(*views), result)


def layer_norm(op: OpBuilder, node: OpView, limit: int) -> Any:
    """LayerNormalization and RMSNormalization over the last axes, with scale and bias of exactly their shape."""
    x, *parameters = node.inputs
    if x is None or x.shape is None:
        return _UNKNOWN
    rank = len(x.shape)
    axis = int(node.attr("axis")) % rank
    groups: Groups = [list(range(axis)), list(range(axis, rank))]
    dims = view_of(x.shape, groups)
    if dims is None or any(p is not None and p.shape != x.shape[axis:] for p in parameters):
        return NoMatch("a parameter is broadcast")
    flat = [None if p is None else view(op, p, (dims[1],)) for p in parameters]
    return back(op, _make(op, node, [view(op, x, dims), *flat], axis=-1), node.outputs[0])


def _make(op: OpBuilder, node: OpView, operands: Sequence[Any], **changed: Any) -> Any:
    """The same op on other operands."""
    return getattr(op.domain(node.domain), node.type)(*operands, **{**node.attrs, **changed})


_REDUCTIONS = (
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin",
    "ReduceProd", "ReduceSum", "ReduceSumSquare",
)  # fmt: skip

HANDLERS: Mapping[str, Handler] = {
    **dict.fromkeys(UNARY, unary),
    **dict.fromkeys(BROADCASTING, broadcasting),
    **dict.fromkeys(_REDUCTIONS, reduction),
    **dict.fromkeys(("Squeeze", "Unsqueeze", "Flatten"), reshaping),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax"), one_axis),
    **dict.fromkeys(("ArgMax", "ArgMin"), arg_reduction),
    **dict.fromkeys(("LayerNormalization", "RMSNormalization"), layer_norm),
    "Concat": concat,
    "CumSum": cumulative,
    "Expand": expand,
    "Gather": gather,
    "MatMul": matmul,
    "Pad": padding,
    "Slice": slicing,
    "Split": split,
    "Tile": tiling,
    "Transpose": transpose,
}
