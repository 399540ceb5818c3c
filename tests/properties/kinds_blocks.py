"""What a drawn graph is made of, part 3: blocks of networks in the many forms that exporters and authors write them.

Where a rewrite looks for one form, the others are near misses: an epsilon in another place, another axis, another
constant, operands the other way round, a value on the way that others read.
"""

from __future__ import annotations

import numpy as np

from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.types import Const, DType, TensorType
from tests.properties.sketch import Sketch


def affine_tail(s: Sketch) -> bool:
    """A convolution, and what may or may not belong into its weights."""
    x = s.value(lambda shape: len(shape) in (3, 4) and min(shape) > 0)
    if x is None:
        return False
    channels, rank = s.shape(x)[1], len(s.shape(x))
    y = s.make("Conv", x, s.weight((2, channels, *(1,) * (rank - 2))), *([s.normal((2,))] if s.flip() else []))
    for _ in range(s.integer(1, 2)):
        size = s.pick([(), (1,), (2, *(1,) * (rank - 2)), s.shape(y)[-1:], s.shape(y)[1:], (1,) * rank])
        kind = s.pick(["Add", "Mul", "Sub", "Div", "from", "over"])
        constant = s.positive(size)
        if kind in ("from", "over"):
            y = s.make("Sub", constant, y) if kind == "from" else s.make("Mul", y, s.make("Reciprocal", constant))
        else:
            y = s.make(kind, *((y, constant) if kind in ("Sub", "Div") else s.draw_order(y, constant)))
        if s.integer(0, 4) == 0:
            s.keep(y)
    return s.keep(y)


def normalization(s: Sketch) -> bool:
    """A normalization over some axes: centred or not, the epsilon inside, outside, or on both sides of the root."""
    x = s.value(lambda shape: len(shape) >= 2 and min(shape) > 1)
    if x is None:
        return False
    rank, size = len(s.shape(x)), s.shape(x)
    axes = s.ints(s.pick([[-1], [rank - 1], [-2, -1], [1], [0], list(range(1, rank))]))
    centred = s.make("Sub", x, s.make("ReduceMean", x, axes)) if s.flip() else x
    square = s.make("Mul", centred, centred) if s.flip() else s.make("Pow", centred, s.const(s.pick([2.0, 2.0, 4.0])))
    spread = s.make(s.pick(["ReduceMean", "ReduceMean", "ReduceSum"]), square, axes)
    place, eps = s.pick(["inside", "inside", "outside", "both"]), s.const(s.pick([1e-2, 0.1]))
    if place != "outside":
        spread = s.make("Add", *s.draw_order(spread, eps))
    root = s.make("Sqrt", spread)
    if place != "inside":
        root = s.make("Add", root, eps)
    if s.integer(0, 4) == 0:
        s.keep(root)
    y = s.make("Div", centred, root) if s.flip() else s.make("Mul", *s.draw_order(centred, s.make("Reciprocal", root)))
    if s.flip():
        shape = s.pick([size[-1:], (), size[1:], (size[1], *(1,) * (rank - 2))])
        y = s.make("Mul", *s.draw_order(y, s.normal(shape)))
        y = s.make("Add", *s.draw_order(y, s.normal(shape))) if s.flip() else y
    return s.keep(y)


def gate(s: Sketch) -> bool:
    """Activations that multiply a value with a function of itself, or of another value, with constants that may be
    off by a little."""
    x = s.any_value()
    if x is None:
        return False
    form = s.pick(["swish", "hard swish", "gelu", "quick gelu", "mish"])
    if form == "swish":
        g = s.make("Sigmoid", x)
    elif form == "quick gelu":
        g = s.make("Sigmoid", s.make("Mul", x, s.const(s.pick([1.702, 1.0]))))
    elif form == "hard swish":
        above = s.make("Add", *s.draw_order(x, s.const(s.pick([3.0, 2.5]))))
        g = s.make("Div", s.make("Clip", above, s.const(0.0), s.const(s.pick([6.0, 5.0]))), s.const(6.0))
    elif form == "gelu":
        inner = s.make("Erf", s.make("Div", x, s.const(s.pick([2.0**0.5, 1.5]))))
        g = s.make("Mul", *s.draw_order(s.make("Add", *s.draw_order(inner, s.const(1.0))), s.const(s.pick([0.5, 0.4]))))
    else:
        g = s.make("Tanh", s.make("Softplus", x))
    if s.integer(0, 4) == 0:
        s.keep(g)
    return s.keep(s.make("Mul", *s.draw_order(s.like(x) if s.integer(0, 5) == 0 else x, g)))


def attention(s: Sketch) -> bool:
    """Self-attention of one or two heads, the scale before or after the scores, with or without a mask."""
    x = s.value(lambda shape: len(shape) == 3 and shape[-1] % 2 == 0 and min(shape) > 0)
    if x is None:
        return False
    batch, steps, width = s.shape(x)
    heads = s.pick([1, 2])
    depth = width // heads

    def project(perm: list[int]) -> str:
        y = s.make("MatMul", x, s.weight((width, width)))
        y = s.make("Add", *s.draw_order(y, s.normal((width,)))) if s.flip() else y
        shape = s.pick([[batch, steps, heads, depth], [0, 0, heads, depth], [0, -1, heads, depth]])
        return s.make("Transpose", s.make("Reshape", y, s.ints(shape)), perm=perm)

    q, k, v = project([0, 2, 1, 3]), project([0, 2, 3, 1]), project([0, 2, 1, 3])
    scale = s.const(depth**-0.5)
    scores = s.make("MatMul", s.make("Mul", *s.draw_order(q, scale)), k) if s.flip() else s.make(
        "Mul", *s.draw_order(s.make("MatMul", q, k), scale))  # fmt: skip
    if s.flip():
        keep = np.tril(np.ones((steps, steps), bool))
        low = s.pick([-1e4, -1e9, -np.inf])
        if s.flip():
            scores = s.make("Add", *s.draw_order(scores, s.const(np.where(keep, 0.0, low))))
        else:
            scores = s.make("Where", s.const(keep, bool), scores, s.const(low))
    weights = s.make("Softmax", scores, axis=s.pick([-1, 3]))
    mixed = s.make("Transpose", s.make("MatMul", weights, v), perm=[0, 2, 1, 3])
    y = s.make("Reshape", mixed, s.ints([0, 0, width]))
    if s.integer(0, 3) == 0:
        s.keep(weights)
    return s.keep(s.make("Add", *s.draw_order(x, y)) if s.flip() else y)


def rotary(s: Sketch) -> bool:
    """Two halves of the last axis turned against each other."""
    x = s.value(lambda shape: len(shape) >= 2 and shape[-1] % 2 == 0)
    if x is None:
        return False
    half, axis = s.shape(x)[-1] // 2, len(s.shape(x)) - 1
    if s.flip():
        a, b = s.op("Split", [x, s.ints([half, half])], n_outputs=2, axis=axis)
    else:
        a = s.make("Slice", x, s.ints([0]), s.ints([half]), s.ints([axis]))
        b = s.make("Slice", x, s.ints([half]), s.ints([2**63 - 1]), s.ints([-1]))
    turned = s.make("Concat", s.make("Neg", b), a, axis=-1)
    size = s.shape(x)[-2:]
    return s.keep(s.make("Add", s.make("Mul", x, s.normal(size)), s.make("Mul", turned, s.normal(size))))


def squeeze_excite(s: Sketch) -> bool:
    """Channels weighed by a function of their means; or shuffled."""
    x = s.value(lambda shape: len(shape) == 4 and shape[1] % 2 == 0 and min(shape) > 0)
    if x is None:
        return False
    n, channels, height, width = s.shape(x)
    if s.flip():
        y = s.make("Reshape", x, s.ints([n, 2, channels // 2, height, width]))
        y = s.make("Transpose", y, perm=[0, 2, 1, 3, 4])
        return s.keep(s.make("Reshape", y, s.ints([n, -1, height, width])))
    pooled = s.make("GlobalAveragePool", x) if s.flip() else s.make("ReduceMean", x, s.ints([2, 3]))
    hidden = s.make("Relu", s.make("Conv", pooled, s.weight((2, channels, 1, 1)), s.normal((2,))))
    g = s.make(s.pick(["Sigmoid", "HardSigmoid"]), s.make("Conv", hidden, s.weight((channels, 2, 1, 1))))
    return s.keep(s.make("Mul", *s.draw_order(x, g)))


def power(s: Sketch) -> bool:
    """A constant power that is no product and no root."""
    x = s.any_value()
    if x is None:
        return False
    above = s.make("Add", s.make("Abs", x), s.const(0.3))
    return s.keep(s.make("Pow", above, s.const(s.pick([1.7, -1.3, 0.3, 3.0, -2.0, 0.0, 1.0]))))


def same_twice(s: Sketch) -> bool:
    """An op that reads one value as each of its operands."""
    x = s.any_value(1)
    if x is None:
        return False
    kind = s.pick(["Add", "Mul", "Sub", "Max", "Concat"])
    return s.keep(s.make("Concat", x, x, x, axis=-1) if kind == "Concat" else s.make(kind, x, x))


def loop(s: Sketch) -> bool:
    """A loop of a few turns over a value, its state collected in every turn or not."""
    x = s.value(lambda shape: len(shape) > 0 and min(shape) > 0)
    if x is None:
        return False
    state, turn, again, collected = s.name("s"), s.name("i"), s.name("c"), s.flip()
    body = Graph()
    body.add_input(turn, TensorType(DType.INT64, ()))
    body.add_input(again, TensorType(DType.BOOL, ()))
    body.add_input(state, s.type(x))
    half, scaled, mixed, goes_on = s.name("c"), s.name(), s.name(), s.name()
    body.add_value(half, None, Const.of(np.float32(0.5)))
    body.add_op(Op("Mul", (state, half), (scaled,), name=s.name("n")))
    body.add_op(Op(s.pick(["Add", "Sub", "Max"]), (scaled, x) if s.flip() else (x, scaled), (mixed,), name=s.name("n")))
    body.add_op(Op("Identity", (again,), (goes_on,), name=s.name("n")))
    outputs = [goes_on, mixed]
    if collected:
        outputs.append(s.name())
        body.add_op(Op("Tanh", (mixed,), (outputs[-1],), name=s.name("n")))
    body.set_outputs(outputs)
    body.add_value(x, s.g.type_of(x))
    operands = (s.ints(s.integer(1, 3)), s.const(True, bool), x)
    return s.keep(*s.op("Loop", operands, n_outputs=1 + collected, body=body))
