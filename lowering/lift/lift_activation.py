"""Activations."""

from __future__ import annotations

import numpy as np

from coregraft.lowering.lift.lifter import Lifter
from coregraft.lowering.lift.operands import scalar
from coregraft.lowering.lift.registry import lifts
from coregraft.lowering.lift.spec import MilOp

_PLAIN = {"sigmoid": "Sigmoid", "softplus": "Softplus", "softsign": "Softsign"}


def _number(l: Lifter, op: MilOp, key: str) -> float:
    found = scalar(l, op, key)
    if found is None:
        l.refuse(op, f"it needs {key}")
    return float(found)


def _by_channel(l: Lifter, op: MilOp, key: str) -> str:
    """A vector as a tensor that broadcasts along axis 1 of x."""
    shape = [-1] + [1] * (l.rank(op, "x") - 2)
    return l.emit("Reshape", [l.operand(op, key), np.array(shape, np.int64)])


@lifts(*_PLAIN)
def plain(l: Lifter, op: MilOp) -> None:
    l.emit(_PLAIN[op.type], [l.operand(op, "x")], None, [l.out(op)])


@lifts("relu", moves=True)
def relu(l: Lifter, op: MilOp) -> None:
    l.emit("Relu", [l.operand(op, "x")], None, [l.out(op)])


@lifts("relu6", moves=True)
def relu6(l: Lifter, op: MilOp) -> None:
    l.emit("Clip", [l.operand(op, "x"), np.float32(0), np.float32(6)], None, [l.out(op)])


@lifts("clamped_relu")
def clamped_relu(l: Lifter, op: MilOp) -> None:
    beta = _number(l, op, "beta")
    if beta < 0:
        l.undefined(op, "beta is negative, where MIL's text and its evaluation differ; the text is followed")
    leaky = l.emit("LeakyRelu", [l.operand(op, "x")], {"alpha": _number(l, op, "alpha")})
    l.emit("Min", [leaky, np.float32(beta)], None, [l.out(op)])


@lifts("leaky_relu")
def leaky_relu(l: Lifter, op: MilOp) -> None:
    l.emit("LeakyRelu", [l.operand(op, "x")], {"alpha": _number(l, op, "alpha")}, [l.out(op)])


@lifts("elu")
def elu(l: Lifter, op: MilOp) -> None:
    l.emit("Elu", [l.operand(op, "x")], {"alpha": _number(l, op, "alpha")}, [l.out(op)])


@lifts("gelu")
def gelu(l: Lifter, op: MilOp) -> None:
    x, mode = l.operand(op, "x"), scalar(l, op, "mode", "EXACT")
    if mode == "SIGMOID_APPROXIMATION":
        l.emit("Mul", [x, l.emit("Sigmoid", [l.emit("Mul", [x, np.float32(1.702)])])], None, [l.out(op)])
    elif mode in ("EXACT", "TANH_APPROXIMATION"):
        l.emit("Gelu", [x], {"approximate": "none" if mode == "EXACT" else "tanh"}, [l.out(op)])
    else:
        l.refuse(op, f"mode {mode} is unknown")


@lifts("linear_activation")
def linear_activation(l: Lifter, op: MilOp) -> None:
    scaled = l.emit("Mul", [l.operand(op, "x"), np.float32(_number(l, op, "alpha"))])
    l.emit("Add", [scaled, np.float32(_number(l, op, "beta"))], None, [l.out(op)])


@lifts("prelu")
def prelu(l: Lifter, op: MilOp) -> None:
    l.emit("PRelu", [l.operand(op, "x"), _by_channel(l, op, "alpha")], None, [l.out(op)])


@lifts("scaled_tanh")
def scaled_tanh(l: Lifter, op: MilOp) -> None:
    inner = l.emit("Tanh", [l.emit("Mul", [l.operand(op, "x"), np.float32(_number(l, op, "beta"))])])
    l.emit("Mul", [inner, np.float32(_number(l, op, "alpha"))], None, [l.out(op)])


@lifts("sigmoid_hard")
def sigmoid_hard(l: Lifter, op: MilOp) -> None:
    attrs = {"alpha": _number(l, op, "alpha"), "beta": _number(l, op, "beta")}
    l.emit("HardSigmoid", [l.operand(op, "x")], attrs, [l.out(op)])


@lifts("silu")
def silu(l: Lifter, op: MilOp) -> None:
    x = l.operand(op, "x")
    l.emit("Mul", [x, l.emit("Sigmoid", [x])], None, [l.out(op)])


@lifts("softplus_parametric")
def softplus_parametric(l: Lifter, op: MilOp) -> None:
    inner = l.emit("Softplus", [l.emit("Mul", [l.operand(op, "x"), _by_channel(l, op, "beta")])])
    l.emit("Mul", [inner, _by_channel(l, op, "alpha")], None, [l.out(op)])


@lifts("softmax")
def softmax(l: Lifter, op: MilOp) -> None:
    l.emit("Softmax", [l.operand(op, "x")], {"axis": int(scalar(l, op, "axis", -1))}, [l.out(op)])


@lifts("thresholded_relu", moves=True)
def thresholded_relu(l: Lifter, op: MilOp) -> None:
    """Keeps an element that equals alpha: ONNX's ThresholdedRelu does not."""
    x = l.operand(op, "x")
    kept = l.emit("GreaterOrEqual", [x, np.float32(_number(l, op, "alpha"))])
    l.emit("Where", [kept, x, np.float32(0)], None, [l.out(op)])
