"""Layers that work element by element, and those that reduce axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from coregraft.lowering.lift.nn.network import Blob
from coregraft.lowering.lift.nn.registry import layers
from coregraft.rewriter.types import DType

if TYPE_CHECKING:
    from coregraft.lowering.lift.nn.network import Layer, Network

_UNARY = ("ceil", "floor", "sign", "round", "exp2", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh",
          "atanh", "erf")  # fmt: skip
_BINARY = {
    "modBroadcastable": "mod", "minBroadcastable": "minimum", "maxBroadcastable": "maximum", "addBroadcastable": "add",
    "powBroadcastable": "pow", "divideBroadcastable": "real_div", "floorDivBroadcastable": "floor_div",
    "multiplyBroadcastable": "mul", "subtractBroadcastable": "sub",
}  # fmt: skip
_COMPARE = {
    "equal": "equal", "notEqual": "not_equal", "lessThan": "less", "lessEqual": "less_equal",
    "greaterThan": "greater", "greaterEqual": "greater_equal",
}  # fmt: skip
_VARIADIC = {"add": "add", "multiply": "mul", "max": "maximum", "min": "minimum"}
_REDUCE = {
    "reduceL1": "reduce_l1_norm", "reduceL2": "reduce_l2_norm", "reduceMax": "reduce_max", "reduceMin": "reduce_min",
    "reduceSum": "reduce_sum", "reduceProd": "reduce_prod", "reduceMean": "reduce_mean",
    "reduceLogSum": "reduce_log_sum", "reduceSumSquare": "reduce_sum_square",
    "reduceLogSumExp": "reduce_log_sum_exp",
}  # fmt: skip
_ACTIVATIONS = {
    "linear": "linear_activation", "ReLU": "relu", "leakyReLU": "leaky_relu", "thresholdedReLU": "thresholded_relu",
    "tanh": "tanh", "scaledTanh": "scaled_tanh", "sigmoid": "sigmoid", "sigmoidHard": "sigmoid_hard", "ELU": "elu",
    "softsign": "softsign", "softplus": "softplus",
}  # fmt: skip
_FUNCTIONS = {"SQRT": "sqrt", "EXP": "exp", "ABS": "abs"}
#: Below this, an epsilon of log changes nothing but log(0).
_NEGLIGIBLE = 1e-30


@layers(*_UNARY)
def unary_op(n: Network, layer: Layer) -> None:
    n.give(layer, layer.kind, x=n.x(layer))


@layers(*_BINARY)
def binary(n: Network, layer: Layer) -> None:
    n.give(layer, _BINARY[layer.kind], x=n.x(layer), y=n.x(layer, 1))


@layers(*_COMPARE)
def compare(n: Network, layer: Layer) -> None:
    """Against the second input, or against ``alpha``; true is 1."""
    other = n.x(layer, 1) if len(layer.inputs) > 1 else np.float32(layer.params.alpha)
    n.give(layer, _COMPARE[layer.kind], DType.BOOL, x=n.x(layer), y=other)


@layers("logicalAnd", "logicalOr", "logicalXor", "logicalNot")
def logical(n: Network, layer: Layer) -> None:
    """What is not 0 is true; true is 1."""
    truths = [n.truths(layer, blob) for blob in n.xs(layer)]
    n.give(layer, f"logical_{layer.kind[7:].lower()}", DType.BOOL, **dict(zip("xy", truths, strict=False)))


@layers(*_VARIADIC)
def variadic(n: Network, layer: Layer) -> None:
    """All inputs, one after the other; add and multiply of a single one take ``alpha``."""
    kind, blobs = _VARIADIC[layer.kind], n.xs(layer)
    if len(blobs) == 1 and layer.kind in ("add", "multiply"):
        n.give(layer, kind, x=blobs[0], y=np.float32(layer.params.alpha))
        return
    total = blobs[0]
    for blob in blobs[1:]:
        total = n.op(layer, kind, x=total, y=blob)
    n.give(layer, "identity", x=total)


@layers("average")
def average(n: Network, layer: Layer) -> None:
    blobs = n.xs(layer)
    total = blobs[0]
    for blob in blobs[1:]:
        total = n.op(layer, "add", x=total, y=blob)
    n.give(layer, "real_div", x=total, y=np.float32(len(blobs)))


@layers("unary")
def unary(n: Network, layer: Layer) -> None:
    """A function of ``scale * x + shift``; scale and epsilon have defaults that 0 stands for."""
    p = layer.params
    x, kind, epsilon = n.x(layer), p.Operation.Name(p.type), np.float32(p.epsilon or 1e-6)
    if p.scale not in (0, 1):
        x = n.op(layer, "mul", x=x, y=np.float32(p.scale))
    if p.shift:
        x = n.op(layer, "add", x=x, y=np.float32(p.shift))
    if kind in ("RSQRT", "INVERSE"):
        n.give(layer, kind.lower(), x=x, epsilon=epsilon)
    elif kind == "LOG":
        if p.epsilon > _NEGLIGIBLE:
            n.undefined(layer, f"an epsilon ({p.epsilon:g}) of log is not documented; it is ignored")
        n.give(layer, "log", x=x, epsilon=np.float32(0))
    elif kind == "POWER":
        n.give(layer, "pow", x=x, y=np.float32(p.alpha))
    elif kind == "THRESHOLD":
        n.give(layer, "maximum", x=x, y=np.float32(p.alpha))
    else:
        n.give(layer, _FUNCTIONS[kind], x=x)


@layers("activation")
def activation(n: Network, layer: Layer) -> None:
    kind = layer.params.WhichOneof("NonlinearityType")
    if kind is None:
        n.refuse(layer, "it names no function")
    p, x = getattr(layer.params, kind), n.x(layer)
    if kind == "PReLU":
        slope = _per_channel(n, layer, x, p.alpha)
        falling = n.op(layer, "mul", x=n.op(layer, "minimum", x=x, y=np.float32(0)), y=slope)
        n.give(layer, "add", x=n.op(layer, "relu", x=x), y=falling)
    elif kind == "parametricSoftplus":
        inner = n.op(layer, "mul", x=x, y=_per_channel(n, layer, x, p.beta))
        n.give(layer, "mul", x=n.op(layer, "softplus", x=inner), y=_per_channel(n, layer, x, p.alpha))
    else:
        parameters = {f.name: np.float32(getattr(p, f.name)) for f in p.DESCRIPTOR.fields}
        n.give(layer, _ACTIVATIONS[kind], x=x, **parameters)


@layers("clampedReLU")
def clamped_relu(n: Network, layer: Layer) -> None:
    p = layer.params
    n.give(layer, "clamped_relu", x=n.x(layer), alpha=np.float32(p.alpha), beta=np.float32(p.beta))


@layers("clip")
def clip(n: Network, layer: Layer) -> None:
    p = layer.params
    n.give(layer, "clip", x=n.x(layer), alpha=np.float32(p.minVal), beta=np.float32(p.maxVal))


@layers("gelu")
def gelu(n: Network, layer: Layer) -> None:
    n.give(layer, "gelu", x=n.x(layer), mode=layer.params.GeluMode.Name(layer.params.mode))


@layers("whereBroadcastable")
def where(n: Network, layer: Layer) -> None:
    condition, a, b = n.xs(layer)
    n.give(layer, "select", cond=n.truths(layer, condition), a=a, b=b)


@layers("softmax", "softmaxND")
def softmax(n: Network, layer: Layer) -> None:
    n.give(layer, "softmax", x=n.x(layer), axis=-3 if layer.kind == "softmax" else int(layer.params.axis))


@layers("cumSum")
def cumsum(n: Network, layer: Layer) -> None:
    if len(layer.inputs) > 1:
        n.refuse(layer, "its axis is an input")
    p = layer.params
    x = n.x(layer)
    axis = int(p.axis) % n.rank(layer, x)
    n.give(layer, "cumsum", x=x, axis=axis, exclusive=bool(p.excludeFinalSum), reverse=bool(p.reverse))


@layers(*_REDUCE)
def reduce(n: Network, layer: Layer) -> None:
    p, x = layer.params, n.x(layer)
    rank = n.rank(layer, x)
    axes = list(range(rank)) if p.reduceAll else [int(axis) % rank for axis in p.axes]
    if len(axes) == rank and not p.keepDims:
        total = n.op(layer, _REDUCE[layer.kind], x=x, axes=axes, keep_dims=True)
        n.give(layer, "reshape", x=total, shape=[1])
        return
    n.give(layer, _REDUCE[layer.kind], x=x, axes=axes, keep_dims=bool(p.keepDims))


@layers("argMax", "argMin")
def arg(n: Network, layer: Layer) -> None:
    x = n.x(layer)
    keep = not layer.params.removeDim or n.rank(layer, x) == 1
    kind = "reduce_argmax" if layer.kind == "argMax" else "reduce_argmin"
    n.give(layer, kind, DType.INT32, x=x, axis=int(layer.params.axis), keep_dims=keep)


def _per_channel(n: Network, layer: Layer, x: Blob, message: object) -> Blob:
    """Parameters along the third axis from the end, or one for all."""
    held = len(message.floatValue) or len(message.float16Value) // 2  # type: ignore[attr-defined]
    channels = n.shape(layer, x)[-3] if held > 1 else 1
    if channels not in (held, None):
        n.refuse(layer, f"it has {held} parameters for {channels} channels")
    return n.const(layer, n.weights(layer, message, (held, 1, 1) if held > 1 else (1,)))
