"""How the sizes around ops that pick, reduce, multiply and slide hang together, and the numbers that become sizes.

The input of a strided convolution, where a slice begins: such things do not follow from a result.
"""

from __future__ import annotations

from coregraft.passes.shapes._arithmetic import (
    axis_of,
    beside,
    equal,
    from_front,
    is_product,
    is_shift,
    paired,
    relates,
    share,
)
from coregraft.passes.shapes._sizes import Place, Sizes
from coregraft.rewriter.schema import attr

_REDUCE = "L1 L2 LogSum LogSumExp Max Mean Min Prod Sum SumSquare"


# ---------------------------------------------------------------- cut and picked


@relates("Gather")
def _gather(p: Place) -> None:
    data, places, y = p.x(), p.x(1), p.y()
    if data is not None and places is not None:
        axis = axis_of(p, len(data))
        p.set_y(0, [*data[:axis], *places, *data[axis + 1 :]])
    elif y is not None and places is not None and len(y) >= len(places):
        rank = len(y) - len(places) + 1
        axis = axis_of(p, rank)
        p.set_x(0, [*y[:axis], p.slot("axis"), *y[axis + len(places) :]])
    elif y is not None and data is not None and len(y) >= len(data) - 1:
        axis = axis_of(p, len(data))
        p.set_x(1, y[axis : axis + len(y) - len(data) + 1])
    held, picked = p.shapes.numbers(p.name(0)), p.shapes.constant(p.name(1))
    if held is not None and picked is not None and held:
        share(p, [held[i] for i in picked if -len(held) <= i < len(held)], p.shapes.numbers(p.op.outputs[0]))


@relates("GatherElements")
def _gather_elements(p: Place) -> None:
    if (places := p.x(1)) is not None:
        p.set_y(0, places)
    if (y := p.y()) is not None:
        p.set_x(1, y)


@relates("Slice")
def _slice(p: Place) -> None:
    starts, ends = p.shapes.constant(p.name(1)), p.shapes.constant(p.name(2))
    count = p.x(1)
    every = p.unknowns.value(count[0]) if count else None
    axes = p.shapes.constant(p.name(3)) if p.name(3) else None if every is None else list(range(every))
    steps = p.shapes.constant(p.name(4)) if p.name(4) else [1] * len(starts or ())
    beside(p, axes)
    held = p.shapes.numbers(p.name(0))
    if held is not None and starts and ends and steps and axes in ([0], [-1]):
        share(p, held[slice(starts[0], ends[0], steps[0])], p.shapes.numbers(p.op.outputs[0]))


@relates("Pad")
def _pad(p: Place) -> None:
    known = p.x() or p.y()
    if known is None:
        return
    axes = p.shapes.constant(p.name(3)) if p.name(3) else list(range(len(known)))
    beside(p, axes)
    x, y, pads = p.x(), p.y(), p.shapes.constant(p.name(1))
    if axes is None or pads is None or x is None or y is None or len(pads) != 2 * len(axes):
        return
    for i, axis in enumerate(axes):
        is_shift(p, y[axis], x[axis], pads[i] + pads[i + len(axes)])


@relates("Tile")
def _tile(p: Place) -> None:
    repeats = p.shapes.numbers(p.name(1))
    if repeats is None:
        return
    if p.x() is None:
        p.set_x(0, [p.slot("before", i) for i in range(len(repeats))])
    if p.y() is None:
        p.set_y(0, [p.slot("after", i) for i in range(len(repeats))])
    for n, (x, y) in zip(repeats, paired(p.x() or (), p.y() or ()), strict=False):
        is_product(p, [y], [x, n])


@relates("TopK")
def _top_k(p: Place) -> None:
    for i, name in enumerate(p.op.outputs):
        if not name:
            continue
        known = p.x() or p.y(i)
        if known is None:
            continue
        axis = axis_of(p, len(known))
        if p.x() is None:
            p.set_x(0, [*known[:axis], p.slot("before"), *known[axis + 1 :]])
        p.set_y(i, [*known[:axis], p.slot("k"), *known[axis + 1 :]])
        if k := p.shapes.numbers(p.name(1)):
            p.unknowns.equate(p.slot("k"), k[0])


@relates("OneHot")
def _one_hot(p: Place) -> None:
    x, y = p.x(), p.y()
    if x is not None:
        axis = axis_of(p, len(x) + 1)
        p.set_y(0, [*x[:axis], p.slot("depth"), *x[axis:]])
        if depth := p.shapes.numbers(p.name(1)):
            p.unknowns.equate(p.slot("depth"), depth[0])
    elif y:
        axis = axis_of(p, len(y))
        p.set_x(0, [*y[:axis], *y[axis + 1 :]])


@relates("ArgMax", "ArgMin", *(f"Reduce{name}" for name in _REDUCE.split()))
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
        beside(p, given)
        if (y := p.y()) is not None:
            for a in given:
                p.unknowns.settle(y[from_front(a, len(y))], 1)
    elif x is not None:
        gone = {from_front(a, len(x)) for a in given}
        p.set_y(0, [d for i, d in enumerate(x) if i not in gone])
    elif y is not None:
        rank = len(y) + len(given)
        gone, rest = {from_front(a, rank) for a in given}, iter(y)
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


@relates("MatMul")
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
    equal(p, y[-2:], [a[-2], b[-1]])
    for i in range(3, len(y) + 1):
        dims = [x[-i] for x in (a, b) if len(x) >= i]
        distinct = [d for d in dims if p.unknowns.value(d) != 1]
        if p.unknowns.value(y[-i]) == 1:
            for d in dims:
                p.unknowns.settle(d, 1)
        elif len({p.unknowns.root(d) for d in distinct}) == 1:
            p.unknowns.equate(y[-i], distinct[0])


@relates("Gemm")
def _gemm(p: Place) -> None:
    a, b, y = (d or tuple(p.slot(n, i) for i in range(2)) for n, d in (("a", p.x()), ("b", p.x(1)), ("y", p.y())))
    rows, inner = a[::-1] if attr(p.op, "transA") else a
    depth, columns = b[::-1] if attr(p.op, "transB") else b
    equal(p, (inner, *y), (depth, rows, columns))
    for i, dims in ((0, a), (1, b)):
        p.set_x(i, dims)
    p.set_y(0, y)


@relates("AveragePool", "Conv", "LpPool", "MaxPool")
def _window(p: Place) -> None:
    """Batch and channels; and what a window of stride 1 takes off."""
    x, y = p.x(), p.y()
    known = x if x is not None else y
    if known is None or len(known) < 3:
        return
    rank = len(known) - 2
    window = p.op.attrs.get("kernel_shape") or known[2:]
    if len(window) != rank or any(d is not None and len(d) != rank + 2 for d in (x, y)):
        return  # a broken op, which is not for this pass to name
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
        is_product(p, [x[1]], [w[1], u.number(int(attr(p.op, "group")))])
        kernel = kernel or [u.value(d) for d in w[2:]]
    else:
        u.equate(x[1], y[1])
    pads, dilations = p.op.attrs.get("pads") or (0,) * (2 * rank), p.op.attrs.get("dilations") or (1,) * rank
    auto = p.op.attrs.get("auto_pad", "NOTSET")
    if kernel is None or None in kernel or any(s != 1 for s in p.op.attrs.get("strides") or ()):
        return
    for i in range(rank):
        lost = (kernel[i] - 1) * dilations[i] - (0 if auto == "VALID" else pads[i] + pads[rank + i])
        is_shift(p, y[2 + i], x[2 + i], 0 if auto in ("SAME_UPPER", "SAME_LOWER") else -lost)


# ---------------------------------------------------------------- numbers that become sizes


@relates("Shape")
def _shape(p: Place) -> None:
    x = p.x()
    if x is not None:
        share(p, x[slice(int(attr(p.op, "start")), p.op.attrs.get("end"))], p.shapes.numbers(p.op.outputs[0]))


@relates("ConstantOfShape")
def _full(p: Place) -> None:
    if (sizes := p.shapes.numbers(p.name(0))) is not None:
        p.set_y(0, sizes)


@relates("Range")
def _range(p: Place) -> None:
    """From 0 by ones the length is the limit, unless that is negative."""
    y, limit = p.y(), p.shapes.numbers(p.name(1))
    if y is None or not limit or p.shapes.constant(p.name(0)) != [0] or p.shapes.constant(p.name(2)) != [1]:
        return
    if p.unknowns.is_natural(limit[0]) or p.unknowns.value(y[0]):
        p.unknowns.equate(y[0], limit[0])
