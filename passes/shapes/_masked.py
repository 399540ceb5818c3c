"""Rows that the data selects, left where they are beside a mask that tells which are selected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from coregraft.passes.decompose._base import ints, scalar
from coregraft.passes.shapes._bounds import bounds
from coregraft.passes.shapes._index import count_up, number, true_places
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.match import OpView, ValueView
from coregraft.rewriter.rule import OpBuilder
from coregraft.rewriter.shapes import completed, infer_op_types, propagated_value
from coregraft.rewriter.types import Dim, DType, TensorType


@dataclass(frozen=True)
class Masked:
    """What stands for a value of which one dim depends on the data: the rows that it may have, and which it has.

    Attributes:
        value: all rows, a value of static shape. What the rows hold that it has not is anything, but never an index
            that is out of range.
        axis: the dim in question.
        mask: whether it has a row, bool [rows].
        into: where the elements are numbers of rows of another value that is masked: the mask of that, and the
            numbers count all of its rows. None where they are what they are.
        is_count: whether the elements are 0, 1, 2, … along the axis: each row's own number.
        is_kept: whether the value itself is gathered so already that it may stay for whoever reads it.
        columns: for the rows of NonMaxSuppression, which count different things: each column by itself.
    """

    value: ValueView
    axis: int
    mask: ValueView
    into: ValueView | None = None
    is_count: bool = False
    is_kept: bool = False
    columns: tuple[Masked, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        assert self.value.static_shape is not None
        return self.value.static_shape

    def moved(self, value: ValueView, axis: int | None = None) -> Masked:
        """The same rows, of which each has other elements, or lies elsewhere."""
        return Masked(value, self.axis if axis is None else axis, self.mask, self.into, self.is_count)

    @property
    def rows(self) -> int:
        return self.shape[self.axis]


@dataclass
class Selections:
    """The masked values of a graph, and what the rules need to carry them through an op.

    Attributes:
        op: builds what takes the place of the ops.
        typed: a copy of the graph in which each dim that depends on the data has a name.
        known: the masked values found so far, by the value that each stands for.
        sizes: of each named dim, how large it can be.
        masks: of each dim, as a formula of the named ones, the mask of the value that had it first.
        max_rows: most rows to keep where others could be had.
    """

    op: OpBuilder
    typed: Graph
    max_rows: int
    known: dict[str, Masked] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    masks: dict[str, ValueView] = field(default_factory=dict)
    _names: int = 0
    _made: dict[tuple[Any, ...], Any] = field(default_factory=dict)

    # ---------------------------------------------------------------- undoing

    def saved(self) -> tuple[dict[Any, Any], ...]:
        """What is known now, for :meth:`restore`."""
        return tuple(dict(part) for part in self._parts())

    def restore(self, saved: tuple[dict[Any, Any], ...]) -> None:
        """Forget what was learned since."""
        for part, old in zip(self._parts(), saved, strict=True):
            part.clear()
            part.update(old)

    def _parts(self) -> tuple[dict[Any, Any], ...]:
        return self.known, self.sizes, self.masks, self._made

    # ---------------------------------------------------------------- operands

    def masked(self, node: OpView, index: int) -> Masked | None:
        """The masked value at an operand."""
        names = node.op.inputs
        return self.known.get(names[index]) if index < len(names) else None

    def plain(self, node: OpView, index: int) -> ValueView | None:
        """An operand of static shape; None where it is omitted, or has none."""
        view = node.inputs[index] if index < len(node.inputs) else None
        return view if view is not None and view.static_shape is not None else None

    def absolute(self, rows: Masked) -> Masked:
        """The same with numbers of rows as the graph counts them: only the rows that are there."""
        if rows.into is None:
            return rows
        return Masked(self.op.Gather(self.ranks(rows.into), rows.value, axis=0), rows.axis, rows.mask)

    def once(self, what: str, values: Sequence[ValueView], make: Callable[[], Any], *numbers: int) -> Any:
        """What ``make`` gives, made once for these values: masks are the same where they have the same name."""
        key = (what, *(value.name for value in values), *numbers)
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def ranks(self, mask: ValueView) -> Any:
        """How many rows are there before each row, int64 [rows]."""
        return self.once("ranks", [mask], lambda: self.op.CumSum(self._ones(mask), number(self.op, 0), exclusive=1))

    def count(self, mask: ValueView) -> Any:
        """How many rows are there, int64 [1]."""
        return self.once("count", [mask], lambda: self.op.ReduceSum(self._ones(mask), ints(self.op, [0]), keepdims=1))

    def _ones(self, mask: ValueView) -> Any:
        return self.once("ones", [mask], lambda: self.op.Cast(mask, to=int(DType.INT64)))

    def packed(self, rows: Masked) -> Any:
        """The value itself, whose size depends on the data."""
        op, rows = self.op, self.absolute(rows)
        places = self.once("places", [rows.mask], lambda: op.Squeeze(op.NonZero(rows.mask), ints(op, [0])))
        return op.Gather(rows.value, places, axis=rows.axis)

    # ---------------------------------------------------------------- masks

    def along(self, mask: ValueView, rank: int, axis: int) -> Any:
        """A mask in the place of one axis of as many."""
        return self.op.Reshape(mask, ints(self.op, [-1 if i == axis else 1 for i in range(rank)]))

    def only(self, rows: Masked, filler: Any) -> Any:
        """The value with a number in the rows that are not there."""
        mask = self.along(rows.mask, len(rows.shape), rows.axis)
        if rows.value.dtype is DType.BOOL:  # for which onnxruntime has no Where
            return self.op.Or(rows.value, self.op.Not(mask)) if filler else self.op.And(rows.value, mask)
        return self.op.Where(mask, rows.value, scalar(self.op, filler, rows.value))

    def both(self, a: ValueView, b: ValueView) -> Any:
        """Rows that are there by two masks."""
        return self.once("both", [a, b], lambda: self.op.And(a, b))

    def joined(self, masks: Sequence[ValueView]) -> Any:
        """The mask of selections one after the other."""
        return self.once("joined", masks, lambda: self.op.Concat(*masks, axis=0))

    def every(self, count: int) -> Any:
        """The mask of as many rows that are all there."""
        return self.once("every", [], lambda: self.op.const(np.ones(count, bool)), count)

    def first(self, size: int, count: ValueView) -> Any:
        """The mask of as many rows, of which the first ``count``, int64 [1], are there."""
        return self.once("first", [count], lambda: self.op.Less(count_up(self.op, size), count), size)

    def repeated(self, mask: ValueView, times: int) -> Any:
        """A mask in which each element stands as many times in a row."""
        if times == 1:
            return mask
        op = self.op

        def made() -> Any:
            wide = op.Expand(op.Reshape(mask, ints(op, [-1, 1])), ints(op, [1, times]))
            return op.Reshape(wide, ints(op, [-1]))

        return self.once("repeated", [mask], made, times)

    def leading(self, rows: Masked, count: int) -> Masked:
        """The first so many of the rows that are there, and no more."""
        op, last = self.op, number(self.op, rows.rows - 1)
        places = self.once("leading", [rows.mask], lambda: op.Min(true_places(op, rows.mask, count), last), count)
        mask = self.first(count, self.count(rows.mask))
        return Masked(op.Gather(rows.value, places, axis=rows.axis), rows.axis, mask, rows.into)

    # ---------------------------------------------------------------- shapes

    def dims(self, value: str) -> tuple[Dim, ...] | None:
        """The shape of a value of the graph, with names for what depends on the data."""
        kind = self.typed.tensor_type(value)
        return None if kind is None else kind.shape

    def full(self, dims: Sequence[Dim]) -> tuple[int, ...] | None:
        """A shape where every dim is as large as it can be; None where one has no bound."""
        found = [d if isinstance(d, int) else self.bound(d) for d in dims]
        return None if None in found else tuple(d for d in found if d is not None)

    def bound(self, dim: Dim) -> int | None:
        """How large a dim can be; None where nobody knows."""
        found = bounds(dim, self.sizes)
        return None if found is None else found[1]

    def open_axis(self, value: str) -> int | None:
        """The one axis of a value whose size depends on the data; None where there is none, or more."""
        shape = self.dims(value)
        found = [i for i, d in enumerate(shape or ()) if not isinstance(d, int)]
        return found[0] if len(found) == 1 else None

    def learn(self, op_id: int) -> None:
        """Type the results of an op, a name for every dim of which nothing is known."""
        g, op = self.typed, self.typed.op(op_id)
        if all((kind := g.tensor_type(v)) is not None and kind.static_shape is not None for v in op.outputs if v):
            return
        wanted = propagated_value(g, op.inputs[1]) if op.type == "TopK" else None
        for value, inferred in zip(op.outputs, infer_op_types(g, op_id), strict=False):
            found = completed(inferred, g.type_of(value)) if value else None
            if isinstance(found, TensorType) and found.shape is not None:
                known = wanted[0] if wanted else None
                shape = tuple((known or self._fresh()) if d is None else d for d in found.shape)
                g.nodes[value]["type"] = TensorType(found.dtype, shape)

    def _fresh(self) -> str:
        self._names += 1
        return f"selected:{self._names}?"  # it may be none

    def settle(self, value: str, rows: Masked) -> bool:
        """Let a masked value stand for a value of the graph, if it has the shape that this can have."""
        shape, axis = self.dims(value), self.open_axis(value)
        if shape is None or axis != rows.axis:
            return False
        dim = shape[axis]
        assert isinstance(dim, str)
        if self.bound(dim) is None:
            self.sizes[dim] = rows.rows
        if self.full(shape) != rows.shape:
            return False
        self.masks.setdefault(dim, rows.mask)
        self.known[value] = rows
        return True
