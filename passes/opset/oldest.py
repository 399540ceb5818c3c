"""Opsets 1 to 6: broadcasting that had to be asked for, training switches, and in-place hints."""

from __future__ import annotations

import numpy as np

from coregraft.passes.opset.edit import Edit, adapts
from coregraft.rewriter.types import Array, DType

#: Ops of two operands that broadcast since opset 7 as numpy does.
BINARY = ("Add", "And", "Div", "Equal", "Greater", "Less", "Mul", "Or", "Pow", "Sub", "Xor")
_SELU_1 = {"alpha": 1.673200011253357, "gamma": 1.0506999492645264}


@adapts(6, "Abs", "Add", "Ceil", "Clip", "Div", "Elu", "Exp", "Floor", "HardSigmoid", "InstanceNormalization",
        "LeakyRelu", "Log", "Max", "Mean", "Min", "Mul", "Neg", "PRelu", "Reciprocal", "Relu", "Sigmoid", "Sqrt",
        "Sub", "Sum", "Tanh", "BatchNormalization", "Dropout")  # fmt: skip
def in_place(e: Edit) -> str | None:
    """Which operands might be overwritten was the runtime's business, and is no longer said."""
    if "consumed_inputs" not in e.op.attrs:
        return None
    e.change(consumed_inputs=None)
    return "consumed_inputs is dropped"


@adapts(6, "Selu")
def selu(e: Edit) -> str:
    e.change(consumed_inputs=None, **{name: e.attr(name, value) for name, value in _SELU_1.items()})
    return "the defaults, which got more digits, are written out"


@adapts(7, *BINARY)
def broadcast(e: Edit) -> str | None:
    """``axis`` said where the shape of the second operand starts in that of the first; by default they end alike."""
    axis = e.attr("axis")
    if not e.attr("broadcast", 0) or axis is None:
        had = e.op.attrs.keys() & {"axis", "broadcast"}
        e.change(axis=None, broadcast=None)
        return "broadcast is dropped" if had else None
    ranks = [None if kind is None else kind.rank for kind in (e.type(0), e.type(1))]
    if ranks[0] is None or ranks[1] is None:
        e.refuse("it broadcasts along an axis of operands whose rank is unknown")
    trailing = ranks[0] - axis % ranks[0] - ranks[1]
    if trailing < 0:
        e.refuse(f"the second operand does not fit at axis {axis} of the first")
    second = e.input(1)
    if trailing:
        second = e.insert("Unsqueeze", [second, e.ints(range(ranks[1], ranks[1] + trailing))])
    e.change(inputs=[e.input(0), second], axis=None, broadcast=None)
    return f"the second operand is aligned at axis {axis}"


@adapts(7, "Gemm")
def gemm(e: Edit) -> str | None:
    if "broadcast" not in e.op.attrs:
        return None
    e.change(broadcast=None)
    return "broadcast is dropped"


@adapts(7, "PRelu")
def prelu(e: Edit) -> str | None:
    """A slope per channel lies along axis 1 by itself; now it has to be given that shape."""
    kind, slope = e.type(0), e.type(1)
    if slope is None or slope.rank is None or kind is None or kind.rank is None:
        e.refuse("the ranks of its operands are unknown")
    if slope.rank != 1 or slope.shape == (1,) or kind.rank <= 2:
        return None
    shaped = e.insert("Unsqueeze", [e.input(1), e.ints(range(1, kind.rank - 1))])
    e.change(inputs=[e.input(0), shaped])
    return "the slope is shaped to the channels"


@adapts(7, "BatchNormalization", "Dropout")
def evaluation(e: Edit) -> str:
    """The op used to train unless it was told not to."""
    if not e.attr("is_test", 0):
        e.refuse("it is in training mode (is_test=0)", "Export the model in evaluation mode.")
    e.change(is_test=None)
    return "is_test is dropped"


@adapts(7, "LSTM", "RNN")
def recurrent(e: Edit) -> str | None:
    """Whether there is a sequence of outputs is now said by naming it."""
    if "output_sequence" not in e.op.attrs:
        return None
    e.change(output_sequence=None)
    return "output_sequence is dropped"


@adapts(3, "GRU")
def gru_direction(e: Edit) -> str:
    """The default was misspelt."""
    direction = e.attr("direction", "forward")
    e.change(direction="forward" if direction == "foward" else direction)
    return "direction is written out"


@adapts(7, "GRU")
def gru(e: Edit) -> str | None:
    return recurrent(e)


@adapts(6, "Cast")
def cast(e: Edit) -> str:
    """The type was a word."""
    name = e.attr("to")
    if name not in DType.__members__:
        e.refuse(f'"{name}" is no element type')
    e.change(to=int(DType[name]))
    return "to is a number"


@adapts(4, "Concat")
def concat(e: Edit) -> str | None:
    if "axis" in e.op.attrs:
        return None
    e.change(axis=1)
    return "axis=1 is written out"


@adapts(5, "Reshape")
def reshape(e: Edit) -> str:
    e.change(inputs=[e.input(0), e.operand("shape")], shape=None, consumed_inputs=None)
    return "shape is an operand"


@adapts(2, "Pad")
def paddings(e: Edit) -> str:
    e.change(pads=e.attr("paddings"), paddings=None)
    return "paddings is called pads"


@adapts(2, "LpPool", "GlobalLpPool")
def exponent(e: Edit) -> str | None:
    p = float(e.attr("p", 2.0))
    if not p.is_integer():
        e.refuse(f"p={p} is no whole number")
    e.change(p=None)  # 2 equals 2.0, and a change to what is equal is none
    e.change(p=int(p))
    return "p is a whole number"


@adapts(2, "Split")
def split(e: Edit) -> str | None:
    """The sizes were an operand for a while, with an attribute beside it."""
    if not e.input(1):
        return None
    sizes = _constant(e, 1, "the sizes of its pieces")
    e.change(inputs=[e.input(0)], split=tuple(int(n) for n in sizes.ravel()))
    return "split is an attribute"


@adapts(6, "Tile")
def tile(e: Edit) -> str:
    """It used to repeat along one axis."""
    kind = e.type(0)
    if kind is None or kind.rank is None:
        e.refuse("the rank of its operand is unknown")
    repeats = [1] * kind.rank
    axis = int(_constant(e, 2, "its axis").item())
    repeats[axis] = int(_constant(e, 1, "the number of its tiles").item())
    e.change(inputs=[e.input(0), e.ints(repeats)])
    return "repeats is given for every axis"


@adapts(7, "Upsample")
def upsample_sizes(e: Edit) -> str:
    scales = (1.0, 1.0, float(e.attr("height_scale")), float(e.attr("width_scale")))
    e.change(scales=scales, height_scale=None, width_scale=None)
    return "scales are given for every axis"


def _constant(e: Edit, i: int, what: str) -> Array:
    array = e.array(i)
    if array is None:
        e.refuse(f"{what} is computed at run time")
    return np.asarray(array)
