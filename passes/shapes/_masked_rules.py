"""How each op carries rows that are masked: what it gives for all rows that may be there, and which are."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from coregraft.passes.decompose._base import computed, constant, ints
from coregraft.passes.decompose.decompose_non_max_suppression import select
from coregraft.passes.elementwise import BROADCASTING, UNARY
from coregraft.passes.shapes._index import number
from coregraft.passes.shapes._masked import Masked, Selections
from coregraft.rewriter.match import NoMatch, OpView, ValueView
from coregraft.rewriter.shapes import propagated_value
from coregraft.rewriter.shapes.dim_expr import parse
from coregraft.rewriter.types import DType

#: What a rule gives: a masked value for each result, or a value of fixed size; None where it cannot.
Carried = Sequence[Masked | ValueView] | None
Rule = Callable[[Selections, OpView], Carried]

RULES: dict[str, Rule] = {}
#: Ops that may make a dim of unknown size although no operand has one.
SOURCES = frozenset({"ConstantOfShape", "Expand", "NonMaxSuppression", "NonZero", "Range"})


def carries(*op_types: str) -> Callable[[Rule], Rule]:
    """Register a rule for ops."""

    def register(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(op_types, rule))
        return rule

    return register


# ---------------------------------------------------------------- where selections begin


@carries("NonZero")
def _non_zero(s: Selections, node: OpView) -> Carried:
    """All places, and where the operand is not zero. Of a masked vector the numbers of its rows."""
    rows, x = s.masked(node, 0), s.plain(node, 0)
    if rows is not None:
        if len(rows.shape) != 1:
            return None
        mask = s.both(_flags(s.op, s.absolute(rows).value), rows.mask)
        return [Masked(s.op.const(np.arange(rows.rows, dtype=np.int64)[None]), 1, mask, rows.mask, True)]
    if x is None or not x.rank or not 0 < math.prod(x.static_shape or ()) <= s.max_rows:
        return None
    shape = x.static_shape or ()
    places = s.op.const(np.indices(shape, dtype=np.int64).reshape(len(shape), -1))
    return [Masked(places, 1, s.op.Reshape(_flags(s.op, x), ints(s.op, [-1])), None, len(shape) == 1, True)]


def _flags(op: Any, x: ValueView) -> Any:
    return x if x.dtype is DType.BOOL else op.Cast(x, to=int(DType.BOOL))


@carries("NonMaxSuppression")
def _non_max_suppression(s: Selections, node: OpView) -> Carried:
    """Each box that could be kept of each class, step by step, and whether it is."""
    boxes, scores = s.masked(node, 0), s.masked(node, 1)
    if (boxes is None) != (scores is None) or any(s.masked(node, i) for i in range(2, 5)):
        return None
    given, valid = [s.plain(node, i) for i in range(5)], None
    if boxes is not None and scores is not None:
        if boxes.mask != scores.mask or (boxes.axis, scores.axis) != (1, 2):
            return None
        given[:2], valid = [boxes.value, scores.value], boxes.mask
    if None in given[:2]:
        return None
    centred = node.attr("center_point_box") == 1
    found = select(s.op, given, node.op.outputs[0], centred=centred, valid=valid)
    if isinstance(found, NoMatch) or found[2].static_shape[0] > s.max_rows:
        return None
    owners, box, real = found
    image, label = (s.op.Gather(owners, number(s.op, i), axis=1) for i in range(2))
    columns = (Masked(image, 0, real), Masked(label, 0, real), Masked(box, 0, real, valid))
    last = s.op.Unsqueeze(s.absolute(columns[2]).value, ints(s.op, [1]))
    return [Masked(s.op.Concat(owners, last, axis=1), 0, real, columns=columns)]


@carries("ConstantOfShape", "Expand")
def _filled(s: Selections, node: OpView) -> Carried:
    """A tensor as large as it can be."""
    y = node.op.outputs[0]
    dims, axis = s.dims(y), s.open_axis(y)
    shape = s.full(dims) if dims is not None else None
    if dims is None or axis is None or shape is None:
        return None
    target = ints(s.op, shape)
    if node.type == "ConstantOfShape":
        mask = s.masks.get(str(dims[axis]))
        return None if mask is None else [Masked(s.op.ConstantOfShape(target, **node.attrs), axis, mask)]
    rows, x = s.masked(node, 0), s.plain(node, 0)
    if rows is not None:
        stays = _from_end(rows) == axis - len(shape)
        return [rows.moved(s.op.Expand(rows.value, target), axis)] if stays else None
    mask = s.masks.get(str(dims[axis]))
    if x is None or mask is None or size_at(x.static_shape, axis - len(shape)) != 1:
        return None
    return [Masked(s.op.Expand(x, target), axis, mask)]


@carries("Range")
def _range(s: Selections, node: OpView) -> Carried:
    """The numbers of the rows that are there."""
    dims, start, step = s.dims(node.op.outputs[0]), constant(node, 0), constant(node, 2)
    mask = s.masks.get(str(dims[0])) if dims else None
    if mask is None or start is None or step is None or (start.item(), step.item()) != (0, 1):
        return None
    count = s.op.const(np.arange(mask.static_shape[0], dtype=np.int64))  # type: ignore[index]
    rows = Masked(count, 0, mask, mask, True)
    dtype = node.outputs[0].dtype if node.outputs[0] is not None else None
    if dtype is DType.INT64:
        return [rows]
    rows = s.absolute(rows)
    return None if dtype is None else [rows.moved(s.op.Cast(rows.value, to=int(dtype)))]


# ---------------------------------------------------------------- sizes


@carries("Shape")
def _shape(s: Selections, node: OpView) -> Carried:
    """The sizes, of which one is counted."""
    rows = s.masked(node, 0)
    if rows is None:
        return None
    sizes = [s.count(rows.mask) if i == rows.axis else ints(s.op, [n]) for i, n in enumerate(rows.shape)]
    kept = sizes[slice(node.attr("start"), node.attr("end"))]
    return None if not kept else [s.op.Concat(*kept, axis=0)]


@carries("Size")
def _size(s: Selections, node: OpView) -> Carried:
    rows = s.masked(node, 0)
    if rows is None:
        return None
    others = number(s.op, math.prod(rows.shape) // rows.rows)
    return [s.op.Mul(s.op.Squeeze(s.count(rows.mask), ints(s.op, [0])), others)]


# ---------------------------------------------------------------- element by element


@carries(*UNARY, *BROADCASTING)
def _pointwise(s: Selections, node: OpView) -> Carried:
    """Operands broadcast against each other, all masked ones alike."""
    first, values = None, list[Any]()
    shape = s.dims(node.op.outputs[0])
    for i, name in enumerate(node.op.inputs):
        rows, x = s.masked(node, i), s.plain(node, i)
        if rows is None:
            if name and x is None:
                return None
            values.append(x)
            continue
        if not _recounts(node):
            rows = s.absolute(rows)
        if first is not None and (rows.mask != first.mask or _from_end(rows) != _from_end(first)):
            return None
        if i == 1 and node.type in ("Div", "Mod") and rows.value.dtype is not None and not rows.value.dtype.is_float:
            rows = replace(rows, value=s.only(rows, 1))  # nothing may divide by zero
        first = rows if first is None else first
        values.append(rows.value)
    if first is None or shape is None:
        return None
    at = _from_end(first)
    if any(size_at(x.static_shape, at) != 1 for i, x in enumerate(values) if x is not None and not s.masked(node, i)):
        return None
    if node.type in UNARY and any(x is not None and math.prod(x.static_shape or ()) != 1 for x in values[1:]):
        return None
    value = getattr(s.op, node.type)(*values, **node.attrs)
    into, own = (first.into, first.is_count) if _recounts(node) else (None, False)
    return [Masked(value, len(shape) + at, first.mask, into, own)]


def _recounts(node: OpView) -> bool:
    """Whether an op leaves whole numbers what they are."""
    return node.type == "Identity" or (node.type == "Cast" and DType(node.attr("to")).is_integer)


def _from_end(rows: Masked) -> int:
    return rows.axis - len(rows.shape)


def size_at(shape: tuple[int, ...] | None, axis: int) -> int:
    """The size of an axis counted from the end; 1 where there is no such axis."""
    assert shape is not None
    return shape[axis] if -axis <= len(shape) else 1


# ---------------------------------------------------------------- other places for the rows


@carries("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def _reshape(s: Selections, node: OpView) -> Carried:
    """Rows stay rows, or each becomes as many."""
    rows, y = s.masked(node, 0), node.op.outputs[0]
    old, new, axis = s.dims(node.op.inputs[0]), s.dims(y), s.open_axis(y)
    shape = s.full(new) if new is not None else None
    if rows is None or old is None or new is None or axis is None or shape is None:
        return None
    times, rest = divmod(shape[axis], rows.rows)
    if rest or math.prod(shape[:axis]) != math.prod(rows.shape[: rows.axis]) or not _is_multiple(old, new, times):
        return None
    value = s.op.Reshape(rows.value, ints(s.op, shape))
    own = times == 1 and rows.is_count
    return [Masked(value, axis, s.repeated(rows.mask, times), rows.into, own, _still_kept(rows) and times == 1)]


def _is_multiple(old: Sequence[Any], new: Sequence[Any], times: int) -> bool:
    """Whether the one open dim has become as many times what it was, for whatever that is."""
    before, after = ([parse(d) for d in dims if isinstance(d, str)] for dims in (old, new))
    return len(before) == len(after) == 1 and before[0] * times == after[0]


@carries("Transpose")
def _transpose(s: Selections, node: OpView) -> Carried:
    rows = s.masked(node, 0)
    if rows is None:
        return None
    perm = node.attr("perm") or tuple(reversed(range(len(rows.shape))))
    moved = rows.moved(s.op.Transpose(rows.value, perm=list(perm)), perm.index(rows.axis))
    return [replace(moved, is_kept=_still_kept(rows))]


def _still_kept(rows: Masked) -> bool:
    """Whether numbers of rows lie elsewhere on their way to a Gather."""
    return rows.is_kept and rows.value.dtype is DType.INT64


@carries("Concat")
def _concat(s: Selections, node: OpView) -> Carried:
    """Beside each other where all have the same rows; or one selection after the other."""
    parts: list[Any] = [s.masked(node, i) or s.plain(node, i) for i in range(len(node.op.inputs))]
    first = next((p for p in parts if isinstance(p, Masked)), None)
    if first is None or None in parts:
        return None
    if any(not isinstance(p, Masked) or p.into != first.into for p in parts):
        parts = [s.absolute(p) if isinstance(p, Masked) else p for p in parts]
    into = first.into if all(isinstance(p, Masked) and p.into == first.into for p in parts) else None
    axis = node.attr("axis") % len(first.shape)
    if any(isinstance(p, Masked) and p.axis != first.axis for p in parts):
        return None
    value = s.op.Concat(*(p.value if isinstance(p, Masked) else p for p in parts), axis=axis)
    if axis == first.axis:
        masks = [p.mask if isinstance(p, Masked) else s.every(p.static_shape[axis]) for p in parts]
        return [Masked(value, axis, s.joined(masks), into)]
    if any(not isinstance(p, Masked) or p.mask != first.mask for p in parts):
        return None
    return [Masked(value, first.axis, first.mask, into)]


@carries("Split")
def _split(s: Selections, node: OpView) -> Carried:
    rows = s.masked(node, 0)
    if rows is None or node.attr("axis") % len(rows.shape) == rows.axis:
        return None
    sizes = s.plain(node, 1)
    if len(node.op.inputs) > 1 and sizes is None:
        return None
    found = s.op.Split(rows.value, sizes, _outputs=len(node.op.outputs), **node.attrs)
    values = found if isinstance(found, tuple) else (found,)
    return [rows.moved(v) for v in values]


@carries("Slice")
def _slice(s: Selections, node: OpView) -> Carried:
    """The first rows, as many as are asked for; all other axes as they are."""
    rows, starts, ends = s.masked(node, 0), constant(node, 1), constant(node, 2)
    if rows is None or starts is None or computed(node, 3) or computed(node, 4):
        return None
    count, rank = len(starts), len(rows.shape)
    listed, by = constant(node, 3), constant(node, 4)
    axes = [int(a) % rank for a in (range(count) if listed is None else listed)]
    steps = [1] * count if by is None else [int(n) for n in by]
    if rows.axis in axes:
        i = axes.index(rows.axis)
        kept = _first_rows(s, node, rows, i) if (starts[i], steps[i]) == (0, 1) else None
        if kept is None:
            return None
        rows = kept
    others = [i for i in range(count) if axes[i] != rows.axis]
    if not others:
        return [replace(rows, is_kept=False)]
    if ends is None:
        return None
    chosen = [ints(s.op, [int(v[i]) for i in others]) for v in (starts, ends, axes, steps)]
    ahead = slice(*(int(v[others[0]]) for v in (starts, ends, steps)))
    one = column(rows, [axes[i] for i in others], range(len(rows.columns))[ahead])
    if one is not None:
        return [one.moved(s.op.Unsqueeze(one.value, ints(s.op, [1])))]
    return [rows.moved(s.op.Slice(rows.value, *chosen))]


def _first_rows(s: Selections, node: OpView, rows: Masked, i: int) -> Masked | None:
    """What a Slice from the first row on keeps."""
    ends = constant(node, 2)
    if ends is not None:
        end = int(ends[i])
        return None if end <= 0 else rows if end >= rows.rows else s.leading(rows, end)
    wanted = propagated_value(s.typed, node.op.inputs[2])
    dims = s.dims(node.op.inputs[0])
    if wanted is not None and dims is not None and wanted[i] is not None and wanted[i] == dims[rows.axis]:
        return rows
    end_value = s.plain(node, 2)
    if end_value is None or end_value.static_shape != (1,) or not _is_natural(end_value):
        return None
    early = s.once("early", [rows.mask, end_value], lambda: s.op.Less(s.ranks(rows.mask), end_value))
    mask = s.both(rows.mask, early)
    return Masked(rows.value, rows.axis, mask, rows.into, rows.is_count)


def _is_natural(value: ValueView) -> bool:
    """Whether a number is certainly not negative: chosen between constants that are not."""
    made = value.producer
    if made is None or made.type != "Where":
        return False
    return all(o is not None and o.is_const and bool((o.array() >= 0).all()) for o in made.inputs[1:])


def column(rows: Masked, axes: Sequence[int], chosen: Sequence[int]) -> Masked | None:
    """The one column that is asked for of rows that have columns of their own."""
    if not rows.columns or list(axes) != [1] or len(chosen) != 1:
        return None
    return rows.columns[chosen[0]]


# ---------------------------------------------------------------- row by row
