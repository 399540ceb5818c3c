"""How the sizes around an op hang together, in both directions: from operands to results and back.

A relation says what must hold for every run of a model that has the shapes it declares, and says nothing where two
answers are possible. A size that is 1 or something else by broadcasting, the input of a strided convolution, where a
slice begins: such things do not follow from a result. Asked again when more is known, a relation may say more.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

from coregraft.passes.shapes._sizes import ContradictionError, Place, Size, Sizes
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.schema import attr

Relation = Callable[[Place], None]

_SAME = """
    Abs Acos Acosh Asin Asinh Atan Atanh BatchNormalization BitwiseNot Cast CastLike Ceil Celu Clip Cos Cosh CumProd
    CumSum DequantizeLinear Dropout Elu Erf Exp Floor Gelu GroupNormalization HardSigmoid HardSwish Hardmax Identity
    InstanceNormalization IsInf IsNaN LRN LayerNormalization LeakyRelu Log LogSoftmax LpNormalization
    MeanVarianceNormalization Mish Neg Not PRelu QuantizeLinear RMSNormalization Reciprocal Relu ReverseSequence Round
    ScatterElements ScatterND Selu Shrink Sigmoid Sign Sin Sinh Softmax Softplus Softsign Sqrt Swish Tan Tanh
    ThresholdedRelu Trilu
"""
_BROADCAST = """
    Add And BitShift BitwiseAnd BitwiseOr BitwiseXor Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min Mod
    Mul Or Pow Sub Sum Where Xor
"""
_REDUCE = "L1 L2 LogSum LogSumExp Max Mean Min Prod Sum SumSquare"


# ---------------------------------------------------------------- arithmetic of sizes


def _equal(p: Place, a: Sequence[Size], b: Sequence[Size]) -> None:
    p.shapes.check(a, b)
    for x, y in _paired(a, b):
        p.unknowns.equate(x, y)


def _is_product(p: Place, left: Sequence[Size], right: Sequence[Size]) -> None:
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


def _is_sum(p: Place, whole: Size, parts: Sequence[Size]) -> None:
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


def _shift(p: Place, y: Size, x: Size, by: int) -> None:
    """``y = x + by``."""
    before, after = p.unknowns.value(x), p.unknowns.value(y)
    if not by:
        p.unknowns.equate(x, y)
    elif before is not None:
        p.unknowns.settle(y, before + by)
    elif after:  # 0 may be less than that, cut off
        p.unknowns.settle(x, after - by)


def _axis(p: Place, rank: int) -> int:
    """The attribute ``axis``, counted from the front."""
    return _front(int(attr(p.op, "axis")), rank)


def _front(axis: int, rank: int) -> int:
    """An axis counted from the front."""
    if not -rank <= axis < rank:
        raise ContradictionError
    return axis % rank


def _paired(a: Sequence[Size], b: Sequence[Size]) -> Iterator[tuple[Size, Size]]:
    """Those of one list with those of another, which must be as many."""
    if len(a) != len(b):
        raise ContradictionError
    return zip(a, b, strict=True)


# ---------------------------------------------------------------- elementwise


def _same(p: Place) -> None:
    for result in range(len(p.op.outputs) if p.op.type == "Dropout" else 1):
        if (y := p.y(result)) is not None:
            p.set_x(0, y)
        if (x := p.x()) is not None:
            p.set_y(result, x)


def _broadcast(p: Place) -> None:
    names = list(dict.fromkeys(v for v in p.op.inputs if v))
    _broadcast_of(p, {v: p.shapes.dims(v) for v in names})


def _broadcast_of(p: Place, operands: dict[str, Sizes | None]) -> None:
    """Each dim of the result is the one that its operands have beside 1."""
    u, y = p.unknowns, p.y()
    ranked = [x for x in operands.values() if x is not None]
    unranked = [v for v, x in operands.items() if x is None]
    if y is None:
        if unranked:
            return
        y = tuple(p.slot("broadcast", i) for i in range(max(map(len, ranked), default=0)))
        p.set_y(0, y)
    rank = len(y)
    if len(unranked) == 1 and all(len(x) < rank for x in ranked):
        p.shapes.set_dims(unranked[0], [p.slot("unranked", i) for i in range(rank)])
        ranked, unranked = [*ranked, p.shapes.dims(unranked[0]) or ()], []
    for back in range(1, rank + 1):
        here = y[-back]
        dims = [x[-back] for x in ranked if len(x) >= back]
        if u.value(here) == 1:
            for d in dims:
                u.settle(d, 1)
            continue
        if unranked:
            continue
        distinct = list(dict.fromkeys(u.root(d) for d in dims if u.value(d) != 1))
        if not distinct:
            u.settle(here, 1)
        elif len(distinct) == 1:
            u.equate(here, distinct[0])
        else:  # all of them are 1 or the same number
            for d in distinct:
                if u.value(d) is not None:
                    u.equate(here, d)


def _expand(p: Place) -> None:
    """The target may say 1 where the operand is larger."""
    target = p.shapes.numbers(p.name(1))
    if target is not None:
        _broadcast_of(p, {"x": p.x(), "target": target} if p.x() is not None else {p.name(0): None, "target": target})


# ---------------------------------------------------------------- moved and rearranged


def _transpose(p: Place) -> None:
    x, y = p.x(), p.y()
    rank = len(x or y or ())
    perm = list(p.op.attrs.get("perm") or range(rank)[::-1])
    if x is not None and len(x) == len(perm):
        p.set_y(0, [x[i] for i in perm])
    if y is not None and len(y) == len(perm):
        p.set_x(0, [y[perm.index(i)] for i in range(len(perm))])


def _unsqueeze(p: Place) -> None:
    x, y = p.x(), p.y()
    axes = p.shapes.constant(p.name(1))
    if axes is not None:
        _ones(p, y, x, axes, (p.set_y, p.set_x))


def _squeeze(p: Place) -> None:
    x, y = p.x(), p.y()
    if p.name(1):
        axes = p.shapes.constant(p.name(1))
        if axes is not None:
            _ones(p, x, y, axes, (p.set_x, p.set_y))
        return
    if x is None:
        return
    least = _least_rank(p.shapes.graph, p.op.outputs[0]) if y is None else len(y)
    ways = [
        kept
        for n in range(least, (len(x) if y is None else least) + 1)
        for kept in itertools.combinations(range(len(x)), n)
        if _leaves(p, x, kept, y)
    ]
    if len(ways) == 1:
        for i in range(len(x)):
            if i not in ways[0]:
                p.unknowns.settle(x[i], 1)
        p.set_y(0, [x[i] for i in ways[0]])


def _leaves(p: Place, x: Sizes, kept: Sequence[int], y: Sizes | None) -> bool:
    """Whether a squeeze of all ones may keep exactly these axes."""
    values = [p.unknowns.value(d) for d in x]
    if any((value == 1) if i in kept else value not in (1, None) for i, value in enumerate(values)):
        return False
    wanted = [None] * len(kept) if y is None else [p.unknowns.value(d) for d in y]
    return all(v is None or w is None or v == w for v, w in zip([values[i] for i in kept], wanted, strict=True))


def _least_rank(g: Graph, value: str) -> int:
    """The rank that a value has at least, since ops work along an axis of it."""
    users = [g.op(i) for i in g.users(value)]
    along = [int(attr(op, "axis")) for op in users if op.type in ("Concat", "Softmax")
             or (op.type in ("Gather", "Split") and op.inputs[0] == value)]  # fmt: skip
    return max((a + 1 if a >= 0 else -a for a in along), default=0)


def _ones(
    p: Place, longer: Sizes | None, shorter: Sizes | None, axes: Sequence[int],
    put: tuple[Callable[[int, Sequence[Size]], None], Callable[[int, Sequence[Size]], None]],
) -> None:  # fmt: skip
    """``longer`` is ``shorter`` with ones at the axes."""
    if shorter is not None:
        rank = len(shorter) + len(axes)
        ones, rest = {_front(a, rank) for a in axes}, iter(shorter)
        put[0](0, [p.unknowns.number(1) if i in ones else next(rest) for i in range(rank)])
    elif longer is not None:
        ones = {_front(a, len(longer)) for a in axes}
        for i in sorted(ones):
            p.unknowns.settle(longer[i], 1)
        put[1](0, [d for i, d in enumerate(longer) if i not in ones])


def _reshape(p: Place) -> None:
    x, target = p.x(), p.shapes.numbers(p.name(1))
    if target is None:
        return
    if p.y() is None:
        p.set_y(0, [p.slot("reshaped", i) for i in range(len(target))])
    u, y, copies = p.unknowns, p.y() or (), not attr(p.op, "allowzero")
    for i, (wanted, have) in enumerate(_paired(target, y)):
        value = u.value(wanted)
        if value == 0 and copies:
            if x is not None and i < len(x):
                u.equate(x[i], have)
        elif value is not None and value >= 0:
            u.settle(have, value)
        elif value is None and u.is_natural(wanted) and u.value(have):
            # A number that is 0 copies the operand's dim, which must then be the result's: not where that differs.
            copied = x[i] if x is not None and i < len(x) else None
            other = copied is not None and u.value(copied) not in (None, u.value(have))
            past = x is not None and copied is None
            if not copies or other or past or (copied is not None and u.root(copied) == u.root(wanted)):
                u.equate(wanted, have)
    if x is not None:
        _is_product(p, x, y)


def _flatten(p: Place) -> None:
    x = p.x()
    if p.y() is None:
        p.set_y(0, [p.slot("flat", i) for i in range(2)])
    if x is not None:
        y, axis = p.y() or (), int(attr(p.op, "axis"))
        axis = axis + len(x) if axis < 0 else axis
        _is_product(p, x[:axis], y[:1])
        _is_product(p, x[axis:], y[1:])


def _joined(p: Place, whole: Sizes | None, parts: Sequence[Sizes | None], put_whole: Callable[[Sizes], None],
            put_part: Callable[[int, Sizes], None]) -> None:  # fmt: skip
    """``whole`` is the parts one after another along an axis."""
    known = next((d for d in (whole, *parts) if d is not None), None)
    if known is None:
        return
    axis = _axis(p, len(known))
    if whole is None:
        whole = (*known[:axis], p.slot("whole"), *known[axis + 1 :])
        put_whole(whole)
    along = []
    for i, part in enumerate(parts):
        there = part if part is not None else (*whole[:axis], p.slot("part", i), *whole[axis + 1 :])
        if part is None:
            put_part(i, there)
        _equal(p, [*whole[:axis], *whole[axis + 1 :]], [*there[:axis], *there[axis + 1 :]])
        along.append(there[axis])
    _is_sum(p, whole[axis], along)


def _concat(p: Place) -> None:
    parts = [p.x(i) for i in range(len(p.op.inputs))]
    _joined(p, p.y(), parts, lambda dims: p.set_y(0, dims), p.set_x)
    held = [p.shapes.numbers(v) for v in p.op.inputs]
    if None not in held:
        _share(p, [n for numbers in held for n in numbers or ()], p.shapes.numbers(p.op.outputs[0]))


def _split(p: Place) -> None:
    parts = [p.y(i) for i in range(len(p.op.outputs))]
    x, sizes = p.x(), p.shapes.constant(p.name(1))
    _joined(p, x, parts, lambda dims: p.set_x(0, dims), p.set_y)
    x, pieces = p.x(), [p.y(i) for i in range(len(p.op.outputs))]
    if x is None or None in pieces:
        return
    u, axis = p.unknowns, _axis(p, len(x))
    along = [piece[axis] for piece in pieces if piece is not None]
    if sizes is not None:
        for d, size in _paired(along, sizes):
            u.settle(d, size)
    elif not p.name(1) and u.value(x[axis]) is not None:
        total = u.value(x[axis]) or 0
        chunk = -(-total // len(along))
        for i, d in enumerate(along):
            u.settle(d, min(chunk, total - i * chunk))
    _share(p, [n for o in p.op.outputs for n in p.shapes.numbers(o) or ()], p.shapes.numbers(p.name(0)))


def _share(p: Place, a: Sequence[Size] | None, b: Sequence[Size] | None) -> None:
    """Two vectors that hold the same numbers."""
    if a is not None and b is not None and len(a) == len(b):
        for x, y in zip(a, b, strict=True):
            p.unknowns.equate(x, y)


def _moves(relation: Relation) -> Relation:
    """A relation of an op that hands on the numbers it is given."""

    def both(p: Place) -> None:
        relation(p)
        _share(p, p.shapes.numbers(p.name(0)), p.shapes.numbers(p.op.outputs[0]))

    return both


# ---------------------------------------------------------------- cut and picked


def _gather(p: Place) -> None:
    data, places, y = p.x(), p.x(1), p.y()
    if data is not None and places is not None:
        axis = _axis(p, len(data))
        p.set_y(0, [*data[:axis], *places, *data[axis + 1 :]])
    elif y is not None and places is not None and len(y) >= len(places):
        rank = len(y) - len(places) + 1
        axis = _axis(p, rank)
        p.set_x(0, [*y[:axis], p.slot("axis"), *y[axis + len(places) :]])
    elif y is not None and data is not None and len(y) >= len(data) - 1:
        axis = _axis(p, len(data))
        p.set_x(1, y[axis : axis + len(y) - len(data) + 1])
    held, picked = p.shapes.numbers(p.name(0)), p.shapes.constant(p.name(1))
    if held is not None and picked is not None and held:
        _share(p, [held[i] for i in picked if -len(held) <= i < len(held)], p.shapes.numbers(p.op.outputs[0]))


def _gather_elements(p: Place) -> None:
    if (places := p.x(1)) is not None:
        p.set_y(0, places)
    if (y := p.y()) is not None:
        p.set_x(1, y)


def _slice(p: Place) -> None:
    starts, ends = p.shapes.constant(p.name(1)), p.shapes.constant(p.name(2))
    count = p.x(1)
    every = p.unknowns.value(count[0]) if count else None
    axes = p.shapes.constant(p.name(3)) if p.name(3) else None if every is None else list(range(every))
    steps = p.shapes.constant(p.name(4)) if p.name(4) else [1] * len(starts or ())
    _beside(p, axes)
    held = p.shapes.numbers(p.name(0))
    if held is not None and starts and ends and steps and axes in ([0], [-1]):
        _share(p, held[slice(starts[0], ends[0], steps[0])], p.shapes.numbers(p.op.outputs[0]))


def _beside(p: Place, axes: Sequence[int] | None) -> None:
    """The rank stays, and so do the dims beside these axes; of all axes where none are given."""
    x, y = p.x(), p.y()
    known = x if x is not None else y
    if known is None:
        return
    rank = len(known)
    changed = set(range(rank)) if axes is None else {_front(a, rank) for a in axes}
    if x is None:
        p.set_x(0, [p.slot("before", i) if i in changed else d for i, d in enumerate(known)])
    elif y is None:
        p.set_y(0, [p.slot("after", i) if i in changed else d for i, d in enumerate(known)])
    elif len(x) == len(y):
        _equal(p, [d for i, d in enumerate(x) if i not in changed], [d for i, d in enumerate(y) if i not in changed])


def _pad(p: Place) -> None:
    known = p.x() or p.y()
    if known is None:
        return
    axes = p.shapes.constant(p.name(3)) if p.name(3) else list(range(len(known)))
    _beside(p, axes)
    x, y, pads = p.x(), p.y(), p.shapes.constant(p.name(1))
    if axes is None or pads is None or x is None or y is None or len(pads) != 2 * len(axes):
        return
    for i, axis in enumerate(axes):
        _shift(p, y[axis], x[axis], pads[i] + pads[i + len(axes)])


def _tile(p: Place) -> None:
    repeats = p.shapes.numbers(p.name(1))
    if repeats is None:
        return
    if p.x() is None:
        p.set_x(0, [p.slot("before", i) for i in range(len(repeats))])
    if p.y() is None:
        p.set_y(0, [p.slot("after", i) for i in range(len(repeats))])
    for n, (x, y) in zip(repeats, _paired(p.x() or (), p.y() or ()), strict=False):
        _is_product(p, [y], [x, n])


def _top_k(p: Place) -> None:
    for i, name in enumerate(p.op.outputs):
        if not name:
            continue
        known = p.x() or p.y(i)
        if known is None:
            continue
        axis = _axis(p, len(known))
        if p.x() is None:
            p.set_x(0, [*known[:axis], p.slot("before"), *known[axis + 1 :]])
        p.set_y(i, [*known[:axis], p.slot("k"), *known[axis + 1 :]])
        if k := p.shapes.numbers(p.name(1)):
            p.unknowns.equate(p.slot("k"), k[0])


def _one_hot(p: Place) -> None:
    x, y = p.x(), p.y()
    if x is not None:
        axis = _axis(p, len(x) + 1)
        p.set_y(0, [*x[:axis], p.slot("depth"), *x[axis:]])
        if depth := p.shapes.numbers(p.name(1)):
            p.unknowns.equate(p.slot("depth"), depth[0])
    elif y:
        axis = _axis(p, len(y))
        p.set_x(0, [*y[:axis], *y[axis + 1 :]])


def _reduce(p: Place) -> None:
    x, y, keep = p.x(), p.y(), bool(attr(p.op, "keepdims"))
    if p.op.type.startswith("Arg"):
        given: list[int] | None = [int(attr(p.op, "axis"))]
    else:
        given = p.shapes.constant(p.name(1)) if p.name(1) else None
        count = p.x(1)
        if not p.name(1) or (count and p.unknowns.value(count[0]) in (0, None)):
            return  # all axes or none, or nobody knows: inference says what there is to say
    if given is None:
        _reduced_at_run_time(p, x, y, keep)
    elif keep:
        _beside(p, given)
        if (y := p.y()) is not None:
            for a in given:
                p.unknowns.settle(y[_front(a, len(y))], 1)
    elif x is not None:
        gone = {_front(a, len(x)) for a in given}
        p.set_y(0, [d for i, d in enumerate(x) if i not in gone])
    elif y is not None:
        rank = len(y) + len(given)
        gone, rest = {_front(a, rank) for a in given}, iter(y)
        p.set_x(0, [p.slot("reduced", i) if i in gone else next(rest) for i in range(rank)])


def _reduced_at_run_time(p: Place, x: Sizes | None, y: Sizes | None, keep: bool) -> None:
    """A dim that is kept and is not 1 was not reduced; one that is not kept takes its place in the rank along."""
    count = p.x(1)
    number = None if not count else p.unknowns.value(count[0])
    if number is None:
        return
    if x is not None and y is None:
        p.set_y(0, [p.slot("left", i) for i in range(len(x) - (0 if keep else number))])
    elif y is not None and x is None:
        p.set_x(0, [p.slot("before", i) for i in range(len(y) + (0 if keep else number))])
    elif x is not None and y is not None and keep and len(x) == len(y):
        for a, b in zip(x, y, strict=True):
            if p.unknowns.value(b) not in (None, 1):
                p.unknowns.equate(a, b)


# ---------------------------------------------------------------- products and windows


def _matmul(p: Place) -> None:
    a, b, y = p.x(), p.x(1), p.y()
    if y and len(y) >= 2 and b is not None and len(b) == 2 and a is None:  # a vector would have given one
        p.set_x(0, [*(p.slot("rows", i) for i in range(len(y) - 1)), b[0]])
        a = p.x()
    if not a or not b or len(a) < 2 or len(b) < 2:
        return
    p.unknowns.equate(a[-1], b[-2])
    if y is None:
        batch = max(len(a), len(b)) - 2
        p.set_y(0, [*(p.slot("batch", i) for i in range(batch)), a[-2], b[-1]])
        y = p.y()
    if y is None or len(y) < 2:
        return
    _equal(p, y[-2:], [a[-2], b[-1]])
    for i in range(3, len(y) + 1):
        dims = [x[-i] for x in (a, b) if len(x) >= i]
        distinct = [d for d in dims if p.unknowns.value(d) != 1]
        if p.unknowns.value(y[-i]) == 1:
            for d in dims:
                p.unknowns.settle(d, 1)
        elif len({p.unknowns.root(d) for d in distinct}) == 1:
            p.unknowns.equate(y[-i], distinct[0])


def _gemm(p: Place) -> None:
    a, b, y = (d or tuple(p.slot(n, i) for i in range(2)) for n, d in (("a", p.x()), ("b", p.x(1)), ("y", p.y())))
    rows, inner = a[::-1] if attr(p.op, "transA") else a
    depth, columns = b[::-1] if attr(p.op, "transB") else b
    _equal(p, (inner, *y), (depth, rows, columns))
    for i, dims in ((0, a), (1, b)):
        p.set_x(i, dims)
    p.set_y(0, y)


def _window(p: Place) -> None:
    """Batch and channels; and what a window of stride 1 takes off."""
    x, y = p.x(), p.y()
    known = x if x is not None else y
    if known is None or len(known) < 3:
        return
    rank = len(known) - 2
    if x is None:
        p.set_x(0, [p.slot("x", i) for i in range(rank + 2)])
    if y is None:
        p.set_y(0, [p.slot("y", i) for i in range(rank + 2)])
    x, y, u = p.x() or (), p.y() or (), p.unknowns
    u.equate(x[0], y[0])
    kernel = p.op.attrs.get("kernel_shape")
    if p.op.type == "Conv":
        w = p.x(1)
        if w is None or len(w) != rank + 2:
            return
        u.equate(y[1], w[0])
        _is_product(p, [x[1]], [w[1], u.number(int(attr(p.op, "group")))])
        kernel = kernel or [u.value(d) for d in w[2:]]
    else:
        u.equate(x[1], y[1])
    pads, dilations = p.op.attrs.get("pads") or (0,) * (2 * rank), p.op.attrs.get("dilations") or (1,) * rank
    auto = p.op.attrs.get("auto_pad", "NOTSET")
    if kernel is None or None in kernel or any(s != 1 for s in p.op.attrs.get("strides") or ()):
        return
    for i in range(rank):
        lost = (kernel[i] - 1) * dilations[i] - (0 if auto == "VALID" else pads[i] + pads[rank + i])
        _shift(p, y[2 + i], x[2 + i], 0 if auto in ("SAME_UPPER", "SAME_LOWER") else -lost)


# ---------------------------------------------------------------- numbers that become sizes


def _shape(p: Place) -> None:
    x = p.x()
    if x is not None:
        _share(p, x[slice(int(attr(p.op, "start")), p.op.attrs.get("end"))], p.shapes.numbers(p.op.outputs[0]))


def _full(p: Place) -> None:
    if (sizes := p.shapes.numbers(p.name(0))) is not None:
        p.set_y(0, sizes)


def _range(p: Place) -> None:
    """From 0 by ones the length is the limit, unless that is negative."""
    y, limit = p.y(), p.shapes.numbers(p.name(1))
    if y is None or not limit or p.shapes.constant(p.name(0)) != [0] or p.shapes.constant(p.name(2)) != [1]:
        return
    if p.unknowns.is_natural(limit[0]) or p.unknowns.value(y[0]):
        p.unknowns.equate(y[0], limit[0])


def _table() -> dict[str, Relation]:
    table: dict[str, Relation] = {
        "AveragePool": _window, "Concat": _concat, "ConstantOfShape": _full, "Conv": _window, "Expand": _expand,
        "Flatten": _flatten, "Gather": _gather, "GatherElements": _gather_elements, "Gemm": _gemm, "LpPool": _window,
        "MatMul": _matmul, "MaxPool": _window, "OneHot": _one_hot, "Pad": _pad, "Range": _range,
        "Reshape": _moves(_reshape), "Shape": _shape, "Slice": _slice, "Split": _split, "Squeeze": _moves(_squeeze),
        "Tile": _tile, "TopK": _top_k, "Transpose": _transpose, "Unsqueeze": _moves(_unsqueeze),
    }  # fmt: skip
    table |= dict.fromkeys(_SAME.split(), _same) | dict.fromkeys(_BROADCAST.split(), _broadcast)
    table |= dict.fromkeys((f"Reduce{name}" for name in _REDUCE.split()), _reduce)
    return table | dict.fromkeys(("ArgMax", "ArgMin"), _reduce) | dict.fromkeys(("Cast", "Identity"), _moves(_same))


#: What relates the sizes around an op, by its type in ai.onnx.
RELATIONS = _table()
