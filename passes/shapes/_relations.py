"""How the sizes around elementwise ops and around those that move elements hang together, in both directions."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from coregraft.passes.shapes._arithmetic import (
    axis_of,
    equal,
    from_front,
    is_product,
    is_sum,
    moves,
    paired,
    relates,
    share,
)
from coregraft.passes.shapes._sizes import Place, Size, Sizes
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.schema import attr

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


# ---------------------------------------------------------------- elementwise


@relates(*_SAME.split())
def _same(p: Place) -> None:
    for result in range(len(p.op.outputs) if p.op.type == "Dropout" else 1):
        if (y := p.y(result)) is not None:
            p.set_x(0, y)
        if (x := p.x()) is not None:
            p.set_y(result, x)


@relates(*_BROADCAST.split())
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


@relates("Expand")
def _expand(p: Place) -> None:
    """The target may say 1 where the operand is larger."""
    target = p.shapes.numbers(p.name(1))
    if target is not None:
        _broadcast_of(p, {"x": p.x(), "target": target} if p.x() is not None else {p.name(0): None, "target": target})


# ---------------------------------------------------------------- moved and rearranged


@relates("Transpose")
def _transpose(p: Place) -> None:
    x, y = p.x(), p.y()
    rank = len(x or y or ())
    perm = list(p.op.attrs.get("perm") or range(rank)[::-1])
    if x is not None and len(x) == len(perm):
        p.set_y(0, [x[i] for i in perm])
    if y is not None and len(y) == len(perm):
        p.set_x(0, [y[perm.index(i)] for i in range(len(perm))])


@relates("Unsqueeze")
@moves
def _unsqueeze(p: Place) -> None:
    x, y = p.x(), p.y()
    axes = p.shapes.constant(p.name(1))
    if axes is not None:
        _ones(p, y, x, axes, (p.set_y, p.set_x))


@relates("Squeeze")
@moves
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
        ones, rest = {from_front(a, rank) for a in axes}, iter(shorter)
        put[0](0, [p.unknowns.number(1) if i in ones else next(rest) for i in range(rank)])
    elif longer is not None:
        ones = {from_front(a, len(longer)) for a in axes}
        for i in sorted(ones):
            p.unknowns.settle(longer[i], 1)
        put[1](0, [d for i, d in enumerate(longer) if i not in ones])


@relates("Reshape")
@moves
def _reshape(p: Place) -> None:
    x, target = p.x(), p.shapes.numbers(p.name(1))
    if target is None:
        return
    if p.y() is None:
        p.set_y(0, [p.slot("reshaped", i) for i in range(len(target))])
    u, y, copies = p.unknowns, p.y() or (), not attr(p.op, "allowzero")
    for i, (wanted, have) in enumerate(paired(target, y)):
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
        is_product(p, x, y)


@relates("Flatten")
def _flatten(p: Place) -> None:
    x = p.x()
    if p.y() is None:
        p.set_y(0, [p.slot("flat", i) for i in range(2)])
    if x is not None:
        y, axis = p.y() or (), int(attr(p.op, "axis"))
        axis = axis + len(x) if axis < 0 else axis
        is_product(p, x[:axis], y[:1])
        is_product(p, x[axis:], y[1:])


def _joined(p: Place, whole: Sizes | None, parts: Sequence[Sizes | None], put_whole: Callable[[Sizes], None],
            put_part: Callable[[int, Sizes], None]) -> None:  # fmt: skip
    """``whole`` is the parts one after another along an axis."""
    known = next((d for d in (whole, *parts) if d is not None), None)
    if known is None:
        return
    axis = axis_of(p, len(known))
    if whole is None:
        whole = (*known[:axis], p.slot("whole"), *known[axis + 1 :])
        put_whole(whole)
    along = []
    for i, part in enumerate(parts):
        there = part if part is not None else (*whole[:axis], p.slot("part", i), *whole[axis + 1 :])
        if part is None:
            put_part(i, there)
        equal(p, [*whole[:axis], *whole[axis + 1 :]], [*there[:axis], *there[axis + 1 :]])
        along.append(there[axis])
    is_sum(p, whole[axis], along)


@relates("Concat")
def _concat(p: Place) -> None:
    parts = [p.x(i) for i in range(len(p.op.inputs))]
    _joined(p, p.y(), parts, lambda dims: p.set_y(0, dims), p.set_x)
    held = [p.shapes.numbers(v) for v in p.op.inputs]
    if None not in held:
        share(p, [n for numbers in held for n in numbers or ()], p.shapes.numbers(p.op.outputs[0]))


@relates("Split")
def _split(p: Place) -> None:
    parts = [p.y(i) for i in range(len(p.op.outputs))]
    _joined(p, p.x(), parts, lambda dims: p.set_x(0, dims), p.set_y)
    sizes, x, pieces = p.shapes.numbers(p.name(1)), p.x(), [p.y(i) for i in range(len(p.op.outputs))]
    if x is None or None in pieces:
        return
    u, axis = p.unknowns, axis_of(p, len(x))
    along = [piece[axis] for piece in pieces if piece is not None]
    if sizes is not None:
        equal(p, along, sizes)
    elif not p.name(1) and u.value(x[axis]) is not None:
        total = u.value(x[axis]) or 0
        chunk = -(-total // len(along))
        for i, d in enumerate(along):
            u.settle(d, min(chunk, total - i * chunk))
    share(p, [n for o in p.op.outputs for n in p.shapes.numbers(o) or ()], p.shapes.numbers(p.name(0)))


relates("Cast", "Identity")(moves(_same))
