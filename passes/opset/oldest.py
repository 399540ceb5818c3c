"""Opset 6: broadcasting that had to be asked for, and training switches."""

from __future__ import annotations

from coregraft.passes.opset.edit import Edit, adapts

#: Ops of two operands that broadcast since opset 7 as numpy does.
BINARY = ("Add", "And", "Div", "Equal", "Greater", "Less", "Mul", "Or", "Pow", "Sub", "Xor")


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


@adapts(7, "GRU")
def gru(e: Edit) -> str | None:
    return recurrent(e)


@adapts(7, "Upsample")
def upsample_sizes(e: Edit) -> str:
    scales = (1.0, 1.0, float(e.attr("height_scale")), float(e.attr("width_scale")))
    e.change(scales=scales, height_scale=None, width_scale=None)
    return "scales are given for every axis"
