"""What is known of the sizes in a graph: one unknown for each dim and for each number that may become one.

Unknowns that must be equal are merged, so that knowing one is knowing all. Nothing here is a guess: an unknown has a
value only where every model that runs, and has the shapes it declares, gives it that value.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.shapes import dim_expr, propagated_value
from coregraft.rewriter.types import Dim, DType, TensorType

#: The number of an unknown.
Size = int
Sizes = tuple[Size, ...]

_MOST_NUMBERS = 64  # longer vectors are no shapes
_INTEGERS = (DType.INT64, DType.INT32)


class ContradictionError(Exception):
    """Two sizes that must be equal are not: what the model declares there is not what it does."""


@dataclass
class Unknowns:
    """Unknowns, which of them are equal, and their values.

    Attributes:
        progress: how many times something was learned.
    """

    progress: int = 0
    _parent: list[Size] = field(default_factory=list)
    _value: list[int | None] = field(default_factory=list)
    _natural: list[bool] = field(default_factory=list)
    _slots: dict[Hashable, Size] = field(default_factory=dict)

    def new(self, value: int | None = None, *, natural: bool = False) -> Size:
        """An unknown of its own, or a number."""
        self._parent.append(len(self._parent))
        self._value.append(value)
        self._natural.append(natural or (value is not None and value >= 0))
        return len(self._parent) - 1

    def slot(self, key: Hashable, value: int | None = None, *, natural: bool = False) -> Size:
        """The unknown of that key, the same one at every call."""
        if key not in self._slots:
            self._slots[key] = self.new(value, natural=natural)
        return self._slots[key]

    def number(self, value: int) -> Size:
        """A number."""
        return self.slot(("number", value), value)

    def root(self, size: Size) -> Size:
        """The one that stands for all that are equal to it."""
        while self._parent[size] != size:
            self._parent[size] = size = self._parent[self._parent[size]]
        return size

    def value(self, size: Size) -> int | None:
        """What it is, when that is known."""
        return self._value[self.root(size)]

    def is_natural(self, size: Size) -> bool:
        """Whether it cannot be negative: dims of tensors cannot."""
        return self._natural[self.root(size)]

    def mark_natural(self, size: Size) -> None:
        """Note that it cannot be negative."""
        if not self.is_natural(size):
            self._natural[self.root(size)] = True
            self.progress += 1

    def equate(self, a: Size, b: Size) -> None:
        """Make two the same.

        Raises:
            ContradictionError: they have different values.
        """
        a, b = self.root(a), self.root(b)
        if a == b:
            return
        first, second = self._value[a], self._value[b]
        natural = self._natural[a] or self._natural[b]
        value = second if first is None else first
        if (None not in (first, second) and first != second) or (natural and value is not None and value < 0):
            raise ContradictionError
        self._parent[b], self._value[a], self._natural[a] = a, value, natural
        self.progress += 1

    def settle(self, size: Size, value: int) -> None:
        """Give it a value.

        Raises:
            ContradictionError: it has another one.
        """
        self.equate(size, self.number(value))


class Shapes:
    """The sizes of the values of a graph: their dims, and what small vectors of integers hold."""

    def __init__(self, g: Graph) -> None:
        self.graph = g
        self.unknowns = Unknowns()
        self._dims: dict[str, Sizes] = {}
        self._numbers: dict[str, Sizes | None] = {}

    def dims(self, value: str) -> Sizes | None:
        """The dims of a value; None while its rank is not known."""
        if value not in self._dims:
            kind = self.graph.tensor_type(value) if value else None
            if kind is None or kind.shape is None:
                return None
            self._dims[value] = tuple(self._dim(d, (value, axis)) for axis, d in enumerate(kind.shape))
        return self._dims[value]

    def _dim(self, dim: Dim, place: Hashable) -> Size:
        if isinstance(dim, int):
            return self.unknowns.number(dim)
        if isinstance(dim, str) and dim not in dim_expr.UNNAMED:
            return self.unknowns.slot(("dim", dim), natural=True)
        return self.unknowns.slot(place, natural=True)

    def set_dims(self, value: str, dims: Sequence[Size]) -> None:
        """Say what the dims of a value are.

        Raises:
            ContradictionError: they are others.
        """
        known = self.dims(value)
        if known is not None:
            self.check(known, dims)
            for a, b in zip(known, dims, strict=True):
                self.unknowns.equate(a, b)
        elif value and self.graph.tensor_type(value) is not None:
            self._dims[value] = tuple(dims)
            self.unknowns.progress += 1
        for size in dims:
            self.unknowns.mark_natural(size)

    def check(self, a: Sequence[Size], b: Sequence[Size]) -> None:
        """Before anything is merged: see whether all can be.

        Raises:
            ContradictionError: some cannot.
        """
        if len(a) != len(b):
            raise ContradictionError
        values = [(self.unknowns.value(x), self.unknowns.value(y)) for x, y in zip(a, b, strict=True)]
        if any(x is not None and y is not None and x != y for x, y in values):
            raise ContradictionError

    def numbers(self, value: str) -> Sizes | None:
        """What a vector of integers (or a single one) holds; None where it is too long or its length is not known."""
        if not value:
            return None
        if self._numbers.get(value) is None:
            self._numbers[value] = self._read(value)
        return self._numbers[value]

    def _read(self, value: str) -> Sizes | None:
        kind, dims = self.graph.tensor_type(value), self.dims(value)
        if kind is None or dims is None or len(dims) > 1 or kind.dtype not in _INTEGERS:
            return None
        count = self.unknowns.value(dims[0]) if dims else 1
        if count is None or count > _MOST_NUMBERS:
            return None
        held: Sequence[Dim] = propagated_value(self.graph, value) or (None,) * count
        return tuple(
            self.unknowns.number(n) if isinstance(n, int) else self.unknowns.slot(("number of", value, i))
            for i, n in enumerate(held)
        )

    def constant(self, value: str) -> list[int] | None:
        """What a vector of integers holds, when all of it is known."""
        numbers = self.numbers(value)
        values = None if numbers is None else [self.unknowns.value(n) for n in numbers]
        return None if values is None or None in values else [v for v in values if v is not None]

    def completed(self, value: str) -> TensorType | None:
        """The type of a value with the dims that have become known; None where nothing is new."""
        kind, dims = self.graph.tensor_type(value), self._dims.get(value)
        if kind is None or dims is None:
            return None
        have = kind.shape or (None,) * len(dims)
        shape = tuple(self.unknowns.value(new) if old is None else old for old, new in zip(have, dims, strict=True))
        return None if shape == kind.shape else TensorType(kind.dtype, shape)


@dataclass(frozen=True)
class Place:
    """An op among the sizes of its operands and results."""

    shapes: Shapes
    op: Op
    op_id: int

    @property
    def unknowns(self) -> Unknowns:
        return self.shapes.unknowns

    def name(self, i: int) -> str:
        """Operand ``i``; empty where it is omitted."""
        return self.op.inputs[i] if i < len(self.op.inputs) else ""

    def x(self, i: int = 0) -> Sizes | None:
        """The dims of operand ``i``."""
        return self.shapes.dims(self.name(i))

    def y(self, i: int = 0) -> Sizes | None:
        """The dims of result ``i``."""
        return self.shapes.dims(self.op.outputs[i]) if i < len(self.op.outputs) else None

    def set_x(self, i: int, dims: Sequence[Size]) -> None:
        """Say what the dims of operand ``i`` are."""
        self.shapes.set_dims(self.name(i), dims)

    def set_y(self, i: int, dims: Sequence[Size]) -> None:
        """Say what the dims of result ``i`` are."""
        if i < len(self.op.outputs):
            self.shapes.set_dims(self.op.outputs[i], dims)

    def slot(self, *key: Hashable) -> Size:
        """An unknown dim of this op's own."""
        return self.unknowns.slot((self.op_id, *key), natural=True)
