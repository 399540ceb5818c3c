"""What a drawn graph is made of, part 2: arithmetic, layouts, selection, control flow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.types import Const, DType
from tests.properties.sketch import Sketch

UNARY: Sequence[tuple[str, Mapping[str, Any]]] = (
    ("Relu", {}), ("Sigmoid", {}), ("Tanh", {}), ("Neg", {}), ("Abs", {}), ("Erf", {}), ("Softplus", {}),
    ("LeakyRelu", {"alpha": 0.1}), ("Elu", {"alpha": 0.7}), ("HardSigmoid", {}), ("HardSwish", {}), ("Gelu", {}),
    ("Gelu", {"approximate": "tanh"}), ("Mish", {}), ("Softsign", {}), ("Selu", {}), ("Cos", {}), ("Identity", {}),
)  # fmt: skip


def unary(s: Sketch) -> bool:
    x = s.any_value()
    if x is None:
        return False
    kind, attrs = s.pick(UNARY)
    return s.keep(s.make(kind, x, **attrs))


def positive(s: Sketch) -> bool:
    """Functions of positive numbers."""
    x = s.any_value()
    if x is None:
        return False
    square = s.make("Mul", x, x)
    if s.flip():
        return s.keep(s.make("Sqrt", square))
    above = s.make("Add", square, s.const(0.5))
    form = s.pick(["Sqrt", "Log", "Reciprocal", "Pow", "Exp"])
    if form == "Pow":
        return s.keep(s.make("Pow", above, s.const(s.pick([-1.0, -0.5, 0.5, 2.0]))))
    return s.keep(s.make("Exp", s.make("Neg", above)) if form == "Exp" else s.make(form, above))


def binary(s: Sketch) -> bool:
    x = s.any_value()
    if x is None:
        return False
    kind = s.pick(["Add", "Sub", "Mul", "Div", "Max", "Min"])
    y = s.operand_for(x)
    if kind == "Div":
        y = s.make("Add", s.make("Abs", y), s.const(0.7))
        return s.keep(s.make("Div", x, y))
    return s.keep(s.make(kind, *s.draw_order(x, y)))


def scale(s: Sketch) -> bool:
    """A multiplication or sum with one constant per channel, or one in all."""
    x = s.value(lambda shape: len(shape) >= 2)
    if x is None:
        return False
    shape = s.shape(x)
    size = s.pick([(), (1,) * len(shape), (shape[1], *(1,) * (len(shape) - 2)), shape[-1:]])
    kind = s.pick(["Mul", "Add", "Sub", "Div"])
    constant = s.positive(size) if kind == "Div" else s.normal(size)
    return s.keep(s.make(kind, *((x, constant) if kind == "Div" else s.draw_order(x, constant))))


def neutral(s: Sketch) -> bool:
    """Ops that change nothing."""
    x = s.any_value()
    if x is None:
        return False
    rank = len(s.shape(x))
    form = s.pick(["add", "mul", "neg", "cast", "transpose", "dropout", "identity", "unsqueeze", "concat"])
    if form == "add":
        return s.keep(s.make("Add", *s.draw_order(x, s.const(np.zeros((1,) * rank)))))
    if form == "mul":
        return s.keep(s.make("Mul", *s.draw_order(x, s.const(1.0))))
    if form == "neg":
        return s.keep(s.make("Neg", s.make("Neg", x)))
    if form == "cast":
        return s.keep(s.make("Cast", x, to=int(DType.FLOAT)))
    if form == "transpose" and rank:
        perm = [*range(1, rank), 0]
        turned = s.make("Transpose", x, perm=perm)
        return s.keep(s.make("Transpose", s.make("Tanh", turned) if s.flip() else turned, perm=list(np.argsort(perm))))
    if form == "unsqueeze" and rank < 5:
        return s.keep(s.make("Squeeze", s.make("Unsqueeze", x, s.ints([0])), s.ints([0])))
    if form == "concat" and rank:
        return s.keep(s.make("Concat", x, axis=0))
    return s.keep(s.make("Dropout" if form == "dropout" else "Identity", x))


def reshape(s: Sketch) -> bool:
    x = s.value(lambda shape: len(shape) > 0 and math.prod(shape) > 0)
    if x is None:
        return False
    shape = list(s.shape(x))
    form = s.pick(["split", "merge", "flat", "keep first", "flatten"])
    if form == "flatten":
        return s.keep(s.make("Flatten", x, axis=s.integer(0, len(shape))))
    if form == "split" and shape[-1] % 2 == 0 and len(shape) < 5:
        target = [*shape[:-1], 2, shape[-1] // 2]
    elif form == "merge" and len(shape) > 1:
        target = [shape[0] * shape[1], *shape[2:]]
    elif form == "keep first" and len(shape) > 1:
        target = [0, -1]
    else:
        target = [-1]
    return s.keep(s.make("Reshape", x, s.ints(target)))


def reshape_by_shape(s: Sketch) -> bool:
    """A target computed from the value's own shape, as exporters write it."""
    x = s.any_value(2)
    if x is None:
        return False
    size = s.make("Shape", x)
    first = s.make("Gather", size, s.ints([0]))
    if s.flip():
        return s.keep(s.make("Reshape", x, s.make("Concat", first, s.ints([-1]), axis=0)))
    rest = s.make("Slice", size, s.ints([1]), s.ints([99]))
    one = s.make("Div", first, s.ints([1]))
    return s.keep(s.make("Reshape", s.make("Relu", x), s.make("Concat", one, rest, axis=0)))


def transpose(s: Sketch) -> bool:
    x = s.any_value(2)
    if x is None:
        return False
    rank = len(s.shape(x))
    perm = s.pick([[*range(1, rank), 0], [rank - 1, *range(rank - 1)], [*range(rank - 2), rank - 1, rank - 2]])
    return s.keep(s.make("Transpose", x, perm=perm))


def squeeze(s: Sketch) -> bool:
    x = s.any_value()
    if x is None:
        return False
    shape = s.shape(x)
    ones = [i for i, d in enumerate(s.type(x).shape or ()) if d == 1]
    if ones and s.flip():
        return s.keep(s.make("Squeeze", x, s.ints([s.pick(ones)])))
    return s.keep(s.make("Unsqueeze", x, s.ints([s.integer(0, len(shape))]))) if len(shape) < 5 else False


def concat(s: Sketch) -> bool:
    x = s.value(lambda shape: len(shape) > 0)
    if x is None:
        return False
    axis = s.integer(-len(s.shape(x)), len(s.shape(x)) - 1)
    others = [s.like(x)] if s.flip() else [s.normal(s.shape(x))]
    return s.keep(s.make("Concat", *s.draw_order(x, *others), axis=axis))


def split(s: Sketch) -> bool:
    x = s.value(lambda shape: len(shape) > 0 and max(shape) > 1)
    if x is None:
        return False
    axis = s.pick([i for i, d in enumerate(s.shape(x)) if d > 1])
    size = s.shape(x)[axis]
    if size % 2 == 0 and s.flip():
        return s.keep(*s.op("Split", [x], n_outputs=2, axis=axis, num_outputs=2))
    first = s.integer(1, size - 1)
    return s.keep(*s.op("Split", [x, s.ints([first, size - first])], n_outputs=2, axis=axis))


def slice_(s: Sketch) -> bool:
    x = s.value(lambda shape: len(shape) > 0 and max(shape) > 1)
    if x is None:
        return False
    axis = s.pick([i for i, d in enumerate(s.shape(x)) if d > 1])
    size = s.shape(x)[axis]
    start, end, step = s.pick([(1, size, 1), (0, -1, 1), (0, 99, 2), (-1, -99, -1), (size - 1, 0, -1), (0, size, 1)])
    return s.keep(s.make("Slice", x, s.ints([start]), s.ints([end]), s.ints([axis]), s.ints([step])))


def pad(s: Sketch) -> bool:
    x = s.value(lambda shape: len(shape) > 0 and min(shape) > 1)
    if x is None:
        return False
    rank = len(s.shape(x))
    mode = s.pick(["constant", "edge", "reflect"])
    spatial = rank > 2 and s.flip()
    amounts = [0 if spatial and i < 2 else s.integer(0, 1) for i in range(rank)] * 2
    value = [s.const(s.pick([0.0, 0.5]))] if mode == "constant" and s.flip() else []
    return s.keep(s.make("Pad", x, s.ints(amounts), *value, mode=mode))


def gather(s: Sketch) -> bool:
    x = s.value(lambda shape: len(shape) > 0 and min(shape) > 0)
    if x is None:
        return False
    axis = s.integer(0, len(s.shape(x)) - 1)
    choices: Sequence[int | Sequence[int]] = [0, [0, -1], [-1]]
    indices = s.ints(s.pick(choices))
    return s.keep(s.make("Gather", x, indices, axis=axis))


def expand(s: Sketch) -> bool:
    x = s.value(lambda shape: 0 < len(shape) < 5)
    if x is None:
        return False
    shape = s.shape(x)
    if s.flip():
        return s.keep(s.make("Expand", x, s.ints([2, *shape])))
    return s.keep(s.make("Tile", x, s.ints([s.pick([1, 2]) for _ in shape])))


def reduce(s: Sketch) -> bool:
    x = s.value(lambda shape: len(shape) > 0 and min(shape) > 0)
    if x is None:
        return False
    kind = s.pick([
        "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare",
        "ReduceLogSumExp",
    ])  # fmt: skip
    rank = len(s.shape(x))
    attrs = {"keepdims": 0} if s.flip() else {}
    if s.flip():
        return s.keep(s.make(kind, x, s.ints([s.integer(-rank, rank - 1)]), **attrs))
    return s.keep(s.make(kind, x, **({**attrs, "noop_with_empty_axes": 1} if s.flip() else attrs)))


def select(s: Sketch) -> bool:
    """A comparison and a choice by it."""
    x = s.any_value()
    if x is None:
        return False
    other = s.const(0.37) if s.flip() else s.like(x)
    mask = s.make(s.pick(["Greater", "Less", "GreaterOrEqual"]), x, s.make("Add", other, s.const(0.11)))
    if s.flip():
        mask = s.make("Not", mask)
    s.keep(mask)
    return s.keep(s.make("Where", mask, *s.draw_order(x, s.operand_for(x))))


def cast(s: Sketch) -> bool:
    """Through another type and back."""
    if s.masks and s.flip():
        return s.keep(s.make("Cast", s.pick(s.masks), to=int(DType.FLOAT)))
    x = s.any_value()
    if x is None:
        return False
    between = s.make("Cast", x, to=int(s.pick([DType.DOUBLE, DType.FLOAT16])))
    # Something between the casts: onnxruntime removes pairs of them, and forgets the branches that capture the result.
    between = s.make("Abs", between)
    return s.keep(s.make("Cast", between, to=int(DType.FLOAT)))


def repeat(s: Sketch) -> bool:
    """An op once more, on the same operands."""
    again = [op for _, op in s.g.ops() if op.outputs[0] in s.values and len(op.outputs) == 1]
    if not again:
        return False
    op = s.pick(again[-4:])
    return s.keep(s.make(op.type, *op.inputs, **op.attrs))


def fold(s: Sketch) -> bool:
    """Arithmetic of constants alone, and its use."""
    x = s.any_value()
    if x is None:
        return False
    made = s.make("Tanh", s.make("Add", s.normal((1,)), s.const(1.0)))
    return s.keep(s.make("Mul", x, made))


def branch(s: Sketch) -> bool:
    """An If whose condition is constant, or known at run time only."""
    x = s.any_value()
    if x is None:
        return False
    if s.flip():
        condition = s.const(s.flip(), bool)
    else:
        condition = s.make("Greater", s.make("ReduceSum", x, keepdims=0), s.const(0.21))

    def taken(body: Graph) -> str:
        inner, result = s.name(), s.name()
        body.add_op(Op("Tanh", (x,), (inner,), name=s.name("n")))
        body.add_op(Op("Mul", (inner, x), (result,), name=s.name("n")))
        return result

    def skipped(body: Graph) -> str:
        k, result = s.name("c"), s.name()
        body.add_value(k, None, Const.of(np.float32(0.5)))
        body.add_op(Op("Mul", (x, k), (result,), name=s.name("n")))
        return result

    then_branch, else_branch = s.body(x, taken), s.body(x, skipped)
    return s.keep(s.make("If", condition, then_branch=then_branch, else_branch=else_branch))


def depth_to_space(s: Sketch) -> bool:
    x = s.value(lambda shape: len(shape) == 4 and shape[1] % 4 == 0)
    if x is None:
        return False
    return s.keep(s.make("DepthToSpace", x, blocksize=2, mode=s.pick(["DCR", "CRD"])))


def resize(s: Sketch) -> bool:
    x = s.value(lambda shape: len(shape) == 4 and min(shape) > 0)
    if x is None:
        return False
    mode, points = s.pick([
        ("nearest", "asymmetric"), ("nearest", "half_pixel"), ("linear", "half_pixel"), ("linear", "align_corners"),
        ("linear", "asymmetric"),
    ])  # fmt: skip
    scales = s.const([1.0, 1.0, 2.0, s.pick([1.0, 2.0])])
    attrs = {"mode": mode, "coordinate_transformation_mode": points}
    if mode == "nearest":
        attrs["nearest_mode"] = "floor"
    return s.keep(s.make("Resize", x, "", scales, **attrs))


def einsum(s: Sketch) -> bool:
    x = s.value(lambda shape: len(shape) == 3)
    if x is None:
        return False
    if s.flip():
        return s.keep(s.make("Einsum", x, s.weight((s.shape(x)[2], 3)), equation="bsd,dk->bsk"))
    return s.keep(s.make("Einsum", x, s.like(x), equation=s.pick(["bsd,btd->bst", "bsd,bsd->bs", "bsd,bsd->bds"])))
