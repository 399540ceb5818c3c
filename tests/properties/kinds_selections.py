"""What a drawn graph is made of, part 4: rows that the data select, and what is done with any number of them.

Each kind adds one or a few ops; False when it finds no operand.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from coregraft.rewriter.types import DType
from tests.properties.kinds_shapes import UNARY
from tests.properties.sketch import Draw, Sketch

#: Rows to select from, and columns.
ROWS, COLUMNS = 5, 4


@dataclass
class Selection:
    """Rows that were selected by one condition.

    Attributes:
        places: which they are, int64 [n].
        values: float tensors of so many rows, the other dims known.
    """

    places: str
    values: list[str] = field(default_factory=list)


class Selecting(Sketch):
    """A sketch with the selections made so far, oldest first; ``values`` are those of known shape."""

    def __init__(self, draw: Draw) -> None:
        super().__init__(draw)
        self.selections: list[Selection] = []
        self.results: list[str] = []

    def some(self) -> tuple[Selection, str] | None:
        """One of the selections, and a tensor of its rows."""
        if not self.selections:
            return None
        chosen = self.pick(self.selections)
        return chosen, self.pick(chosen.values[-3:])

    def tail(self, value: str) -> tuple[int, ...]:
        """The dims of a tensor of selected rows but the first."""
        shape = self.type(value).shape or ()
        return tuple(d for d in shape[1:] if isinstance(d, int))

    def count(self, selection: Selection) -> str:
        """How many rows a selection has, int64 [1]."""
        return self.make("Shape", self.pick([selection.places, *selection.values]), start=0, end=1)

    def add(self, selection: Selection, *values: str) -> bool:
        selection.values += [v for v in values if len(self.type(v).shape or ()) <= 4]
        return True

    def end(self, *results: str) -> bool:
        """Results whose first dim is not that of a selection: they become outputs, and nothing reads them."""
        self.results += results
        return True


def select(s: Selecting) -> bool:
    """Rows of a tensor of known shape, by a mask of the run time."""
    x = s.value(lambda shape: len(shape) >= 2 and shape[0] == ROWS)
    if x is None or len(s.selections) > 2:
        return False
    if s.flip() and s.masks:
        mask = s.masks[0]
    else:
        sums = s.make("ReduceSum", x, s.ints(list(range(1, len(s.shape(x))))), keepdims=0)
        mask = s.make("Greater", sums, s.const(s.pick([-2.0, 0.0, 0.5])))
    found = s.make("NonZero", mask)
    selection = Selection(s.make("Squeeze", found, s.ints([0])))
    form = s.pick(["gather", "gather nd", "compress"])
    if form == "gather":
        rows = s.make("Gather", x, selection.places, axis=0)
    elif form == "gather nd":
        rows = s.make("GatherND", x, s.make("Transpose", found, perm=[1, 0]))
    else:
        rows = s.make("Compress", x, mask, axis=0)
    s.selections.append(selection)
    return s.add(selection, rows)


def select_again(s: Selecting) -> bool:
    """Some of the rows that were selected."""
    if (found := s.some()) is None or len(s.selections) > 2:
        return False
    _, x = found
    sums = s.make("ReduceMean", x, s.ints(list(range(1, 1 + len(s.tail(x))))), keepdims=0)
    mask = s.make("Less", sums, s.const(0.4))
    selection = Selection(s.make("Squeeze", s.make("NonZero", mask), s.ints([0])))
    s.selections.append(selection)
    return s.add(selection, s.make("Gather", x, selection.places, axis=0))


def elementwise(s: Selecting) -> bool:
    if (found := s.some()) is None:
        return False
    selection, x = found
    if s.flip():
        kind, attrs = s.pick(UNARY)
        return s.add(selection, s.make(kind, x, **attrs))
    others = [v for v in selection.values if s.tail(v) == s.tail(x)]
    y = s.pick([*others, s.normal(s.tail(x)), s.const(0.5)])
    return s.add(selection, s.make(s.pick(["Add", "Sub", "Mul", "Max"]), *s.draw_order(x, y)))


def choice(s: Selecting) -> bool:
    """Where, its operands of fewer dims than its result."""
    if (found := s.some()) is None:
        return False
    selection, x = found
    mask = s.make("Greater", x, s.pick([s.const(0.0), s.normal(s.tail(x)[-1:])]))
    sides = [x, s.const(0.0), s.normal(s.tail(x)[-1:]), *(v for v in selection.values if s.tail(v) == s.tail(x))]
    return s.add(selection, s.make("Where", mask, s.pick(sides), s.pick(sides)))


def product(s: Selecting) -> bool:
    if (found := s.some()) is None:
        return False
    selection, x = found
    columns = s.tail(x)[-1:]
    if not columns:
        return False
    if s.flip():
        return s.add(selection, s.make("MatMul", x, s.weight((*columns, s.pick([2, COLUMNS])))))
    turned = s.make("Transpose", x, perm=[*range(1, len(s.tail(x)) + 1), 0])
    if len(s.tail(x)) > 1:
        return s.end(turned)
    scores = s.make("MatMul", x, turned)
    weights = s.make("Softmax", scores, axis=-1)
    return s.add(selection, s.make("MatMul", weights, x)) if s.flip() else s.end(weights)


def along_columns(s: Selecting) -> bool:
    if (found := s.some()) is None or not s.tail(found[1]):
        return False
    selection, x = found
    form = s.pick(["softmax", "sum", "max", "norm", "topk", "cumsum"])
    if form == "softmax":
        return s.add(selection, s.make("Softmax", x, axis=-1))
    if form == "norm":
        return s.add(selection, s.make("LayerNormalization", x, s.normal(s.tail(x)[-1:])))
    if form == "topk" and s.tail(x)[-1] > 1:
        return s.add(selection, s.op("TopK", [x, s.ints([2])], 2, axis=-1)[0])
    if form == "cumsum":
        return s.add(selection, s.make("CumSum", x, s.ints(len(s.tail(x)))))
    return s.add(selection, s.make("ReduceMax" if form == "max" else "ReduceSum", x, s.ints([-1])))


def along_rows(s: Selecting) -> bool:
    """Over all rows that there are."""
    if (found := s.some()) is None:
        return False
    selection, x = found
    form = s.pick(["sum", "mean by count", "max", "softmax", "cumsum", "sorted"])
    if form == "softmax":
        return s.add(selection, s.make("Softmax", x, axis=0))
    if form == "cumsum":
        return s.add(selection, s.make("CumSum", x, s.ints(0), reverse=int(s.flip())))
    if form == "sorted":
        k = s.count(selection)
        if s.flip():
            k = s.make("Min", k, s.ints([2]))
        return s.end(s.op("TopK", [x, k], 2, axis=0, largest=int(s.flip()))[0])
    total = s.make("ReduceMax" if form == "max" else "ReduceSum", x, s.ints([0]), keepdims=0)
    if form == "mean by count":
        total = s.make("Div", total, s.make("Cast", s.count(selection), to=int(DType.FLOAT)))
    return s.keep(total) and s.end(total)


def joined(s: Selecting) -> bool:
    """Concatenations: of columns, and of rows of which some are known."""
    if (found := s.some()) is None:
        return False
    selection, x = found
    rank = len(s.tail(x)) + 1
    if rank > 1 and s.flip():
        others = [v for v in selection.values if s.tail(v)[:-1] == s.tail(x)[:-1] and len(s.tail(v)) == len(s.tail(x))]
        return s.add(selection, s.make("Concat", x, s.pick(others), axis=-1))
    return s.end(s.make("Concat", *s.draw_order(x, s.normal((2, *s.tail(x)))), x, axis=0))


def sliced(s: Selecting) -> bool:
    if (found := s.some()) is None:
        return False
    selection, x = found
    if s.tail(x) and s.flip():
        return s.add(selection, s.make("Slice", x, s.ints([0]), s.ints([max(1, s.tail(x)[-1] - 1)]), s.ints([-1])))
    start, step = s.integer(-6, 6), s.pick([1, 1, 2, -1, -2])
    end = s.pick([s.integer(-6, 6), 2**63 - 1 if step > 0 else -(2**63) + 1])
    return s.end(s.make("Slice", x, s.ints([start]), s.ints([end]), s.ints([0]), s.ints([step])))


def to_a_count(s: Selecting) -> bool:
    """As many rows of a tensor of known shape as were selected."""
    found, x = s.some(), s.value(lambda shape: len(shape) >= 2 and shape[0] == ROWS)
    if found is None or x is None:
        return False
    selection, _ = found
    count = s.count(selection)
    form = s.pick(["first", "last", "numbered"])
    if form == "first":
        return s.add(selection, s.make("Slice", x, s.ints([0]), count, s.ints([0])))
    if form == "last":
        return s.end(s.make("Slice", x, count, s.ints([99]), s.ints([0])))
    numbers = s.make("Range", s.ints(0), s.make("Squeeze", count), s.ints(1))
    return s.add(selection, s.make("Gather", x, numbers, axis=0))


def as_shape(s: Selecting) -> bool:
    """The shape of selected rows, given to ops that make a tensor of it."""
    if (found := s.some()) is None:
        return False
    selection, x = found
    shape = s.make("Shape", x)
    form = s.pick(["expand", "fill", "reshape", "tile"])
    if form == "expand":
        return s.add(selection, s.make("Expand", s.normal((1, *s.tail(x))), shape))
    if form == "fill":
        return s.add(selection, s.make("ConstantOfShape", shape))
    if form == "tile":
        return s.add(selection, s.make("Tile", x, s.ints([1, *[2] * len(s.tail(x))])))
    flat = s.make("Reshape", x, s.ints([-1]))
    return s.add(selection, s.make("Reshape", s.make("Tanh", flat), shape))


def reshaped(s: Selecting) -> bool:
    if (found := s.some()) is None:
        return False
    selection, x = found
    size = int(np.prod(s.tail(x), dtype=np.int64))
    form = s.pick(["unsqueeze", "merge", "flatten", "split", "squeeze"])
    if form == "unsqueeze" and len(s.tail(x)) < 3:
        return s.add(selection, s.make("Unsqueeze", x, s.ints([1])))
    if form == "squeeze" and 1 in s.tail(x):
        return s.add(selection, s.make("Squeeze", x, s.ints([1 + s.tail(x).index(1)])))
    if form == "merge":
        return s.add(selection, s.make("Reshape", x, s.ints([-1, size])))
    if form == "split" and size % 2 == 0:
        return s.add(selection, s.make("Reshape", x, s.ints([-1, 2, size // 2])))
    return s.add(selection, s.make("Flatten", x, axis=1))


def put_back(s: Selecting) -> bool:
    """Rows written to where the selection was made."""
    if (found := s.some()) is None:
        return False
    selection, x = found
    if len(s.selections) > 1 and selection is not s.selections[0]:
        return False
    data = s.normal((ROWS, *s.tail(x)))
    places = s.make("Unsqueeze", selection.places, s.ints([1]))
    written = s.make("ScatterND", data, places, x, reduction=s.pick(["none", "add"]))
    return s.keep(written) and s.end(written)


def picked(s: Selecting) -> bool:
    """An element of each row, and one row."""
    if (found := s.some()) is None or not s.tail(found[1]):
        return False
    selection, x = found
    if s.flip():
        best = s.make("ArgMax", x, axis=-1)
        return s.add(selection, s.make("GatherElements", x, best, axis=-1))
    return s.end(s.make("Gather", x, s.ints(s.pick([0, -1])), axis=0))
