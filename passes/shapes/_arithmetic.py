"""What the sizes around an op may have to do with each other, and the table of relations.

A relation says what must hold for every run of a model that has the shapes it declares, and says nothing where two
answers are possible. Asked again when more is known, it may say more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from coregraft.passes.shapes._sizes import ContradictionError, Place, Size
from coregraft.rewriter.schema import attr

Relation = Callable[[Place], None]
#: What relates the sizes around an op, by its type in ai.onnx.
RELATIONS: dict[str, Relation] = {}


def relates(*op_types: str) -> Callable[[Relation], Relation]:
    """Make a function the relation of op types."""

    def register(function: Relation) -> Relation:
        RELATIONS.update(dict.fromkeys(op_types, function))
        return function

    return register


def equal(p: Place, a: Sequence[Size], b: Sequence[Size]) -> None:
    p.shapes.check(a, b)
    for x, y in paired(a, b):
        p.unknowns.equate(x, y)


def is_product(p: Place, left: Sequence[Size], right: Sequence[Size]) -> None:
    """The products are equal: a factor on one side, or one that is alone on each, may follow."""
    u, rest = p.unknowns, list(map(p.unknowns.root, right))
    mine: list[Size] = []
    for size in map(u.root, left):
        if size in rest and u.value(size) != 0 and (u.value(size) is not None or _is_positive(p, left, right)):
            rest.remove(size)
        else:
            mine.append(size)
    sides = []
    for sizes in (mine, rest):
        product = 1
        for value in (u.value(s) for s in sizes):
            product *= 1 if value is None else value
        sides.append((product, [s for s in sizes if u.value(s) is None]))
    (a, open_a), (b, open_b) = sides
    if len(open_a) + len(open_b) == 1:
        known, whole = (a, b) if open_a else (b, a)
        if known and whole % known == 0:
            u.settle((open_a or open_b)[0], whole // known)
    elif len(open_a) == len(open_b) == 1 and a == b != 0:
        u.equate(open_a[0], open_b[0])


def _is_positive(p: Place, left: Sequence[Size], right: Sequence[Size]) -> bool:
    """Whether no factor can be 0: all of one side are known, and none of them is."""
    return any(all(map(p.unknowns.value, side)) for side in (left, right))


def is_sum(p: Place, whole: Size, parts: Sequence[Size]) -> None:
    """The parts make up the whole: the last that is not known follows, as often as it is among them."""
    u, total = p.unknowns, p.unknowns.value(whole)
    values = [u.value(s) for s in parts]
    known = sum(v for v in values if v is not None)
    left = [u.root(s) for s, v in zip(parts, values, strict=True) if v is None]
    if not left:
        u.settle(whole, known)
    elif total is not None and len(set(left)) == 1 and total >= known and (total - known) % len(left) == 0:
        u.settle(left[0], (total - known) // len(left))
    elif len(left) == 1 and known == 0:
        u.equate(left[0], whole)


def is_shift(p: Place, y: Size, x: Size, by: int) -> None:
    """``y = x + by``."""
    before, after = p.unknowns.value(x), p.unknowns.value(y)
    if not by:
        p.unknowns.equate(x, y)
    elif before is not None:
        p.unknowns.settle(y, before + by)
    elif after:  # 0 may be less than that, cut off
        p.unknowns.settle(x, after - by)


def axis_of(p: Place, rank: int) -> int:
    """The attribute ``axis``, counted from the front."""
    return from_front(int(attr(p.op, "axis")), rank)


def from_front(axis: int, rank: int) -> int:
    """An axis counted from the front."""
    if not -rank <= axis < rank:
        raise ContradictionError
    return axis % rank


def paired(a: Sequence[Size], b: Sequence[Size]) -> Iterator[tuple[Size, Size]]:
    """Those of one list with those of another, which must be as many."""
    if len(a) != len(b):
        raise ContradictionError
    return zip(a, b, strict=True)


def share(p: Place, a: Sequence[Size] | None, b: Sequence[Size] | None) -> None:
    """Two vectors that hold the same numbers."""
    if a is not None and b is not None and len(a) == len(b):
        for x, y in zip(a, b, strict=True):
            p.unknowns.equate(x, y)


def moves(relation: Relation) -> Relation:
    """A relation of an op that hands on the numbers it is given."""

    def both(p: Place) -> None:
        relation(p)
        share(p, p.shapes.numbers(p.name(0)), p.shapes.numbers(p.op.outputs[0]))

    return both


def beside(p: Place, axes: Sequence[int] | None) -> None:
    """The rank stays, and so do the dims beside these axes; of all axes where none are given."""
    x, y = p.x(), p.y()
    known = x if x is not None else y
    if known is None:
        return
    rank = len(known)
    changed = set(range(rank)) if axes is None else {from_front(a, rank) for a in axes}
    if x is None:
        p.set_x(0, [p.slot("before", i) if i in changed else d for i, d in enumerate(known)])
    elif y is None:
        p.set_y(0, [p.slot("after", i) if i in changed else d for i, d in enumerate(known)])
    elif len(x) == len(y):
        equal(p, [d for i, d in enumerate(x) if i not in changed], [d for i, d in enumerate(y) if i not in changed])
