"""Activations and the softmax family."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from coregraft.lowering.registry import lower
from coregraft.lowering.shaping import axis_of, iota
from coregraft.lowering.vars import is_float, like, np_type
from coregraft.rewriter.graph import Op
from coregraft.rewriter.types import Array

if TYPE_CHECKING:
    from coregraft.lowering.emitter import Emitter


@lower("Relu")
def relu(b: Emitter, op: Op) -> Any:
    """``relu``; integers ``maximum``."""
    x = b.var(op.inputs[0])
    if is_float(x):
        return b.mb.relu(x=x, name=b.name(op))
    return b.mb.maximum(x=x, y=np.int32(0), name=b.name(op))


@lower("Sigmoid", "Softsign")
def plain(b: Emitter, op: Op) -> Any:
    """The MIL op of the same name."""
    return getattr(b.mb, op.type.lower())(x=b.var(op.inputs[0]), name=b.name(op))


@lower("LeakyRelu", "Elu", attrs="alpha")
def with_alpha(b: Emitter, op: Op) -> Any:
    """``leaky_relu`` and ``elu``."""
    x = b.var(op.inputs[0])
    emit = b.mb.leaky_relu if op.type == "LeakyRelu" else b.mb.elu
    return emit(x=x, alpha=like(x, b.attr(op, "alpha"))[()], name=b.name(op))


@lower("PRelu")
def prelu(b: Emitter, op: Op) -> Any:
    """``leaky_relu`` for one slope, ``prelu`` for channels at rank 4; else ``max(x,0) + slope·min(x,0)`` (H2.20)."""
    mb, x = b.mb, b.var(op.inputs[0])
    slope = b.const(op.inputs[1])
    if slope is not None and is_float(x):
        if slope.size and bool((slope == slope.ravel()[0]).all()):
            return mb.leaky_relu(x=x, alpha=like(x, slope.ravel()[0])[()], name=b.name(op))
        channels = _per_channel(slope, tuple(x.shape))
        if channels is not None:
            return mb.prelu(x=x, alpha=like(x, channels), name=b.name(op))
    zero = like(x, 0)[()]
    negative = mb.mul(x=mb.minimum(x=x, y=zero), y=b.var(op.inputs[1]))
    return mb.add(x=mb.maximum(x=x, y=zero), y=negative, name=b.name(op))


def _per_channel(slope: Array, shape: tuple[Any, ...]) -> Array | None:
    """The slopes as a vector over axis 1 of a rank-4 tensor; None where they are anything else."""
    if len(shape) != 4 or slope.ndim > 4:
        return None
    padded = (1,) * (4 - slope.ndim) + slope.shape
    return slope.ravel() if padded == (1, shape[1], 1, 1) else None


@lower("Selu", attrs="alpha gamma")
def selu(b: Emitter, op: Op) -> Any:
    """``gamma·elu(x)``."""
    x = b.var(op.inputs[0])
    inner = b.mb.elu(x=x, alpha=like(x, b.attr(op, "alpha"))[()])
    return b.mb.mul(x=inner, y=like(x, b.attr(op, "gamma"))[()], name=b.name(op))


@lower("Celu", attrs="alpha")
def celu(b: Emitter, op: Op) -> Any:
    """``elu`` at alpha 1; else ``relu(x) + α·(exp(min(x,0)/α) - 1)``, whose exponent never overflows (H3.16)."""
    mb, x = b.mb, b.var(op.inputs[0])
    alpha = float(b.attr(op, "alpha"))
    if alpha == 0:
        b.refuse(op, "alpha is 0, and it divides by alpha")
    if alpha == 1:
        return mb.elu(x=x, alpha=like(x, 1)[()], name=b.name(op))
    scaled = mb.real_div(x=mb.minimum(x=x, y=like(x, 0)[()]), y=like(x, alpha)[()])
    below = mb.mul(x=mb.sub(x=mb.exp(x=scaled), y=like(x, 1)[()]), y=like(x, alpha)[()])
    return mb.add(x=mb.relu(x=x), y=below, name=b.name(op))


@lower("HardSigmoid", attrs="alpha beta")
def hard_sigmoid(b: Emitter, op: Op) -> Any:
    """``sigmoid_hard``."""
    x = b.var(op.inputs[0])
    alpha, beta = (like(x, b.attr(op, key))[()] for key in ("alpha", "beta"))
    return b.mb.sigmoid_hard(x=x, alpha=alpha, beta=beta, name=b.name(op))


@lower("HardSwish")
def hard_swish(b: Emitter, op: Op) -> Any:
    """``x·sigmoid_hard(x)`` with 1/6 and 1/2 (H2.13)."""
    x = b.var(op.inputs[0])
    gate = b.mb.sigmoid_hard(x=x, alpha=like(x, 1 / 6)[()], beta=like(x, 0.5)[()])
    return b.mb.mul(x=x, y=gate, name=b.name(op))


@lower("Swish", attrs="alpha")
def swish(b: Emitter, op: Op) -> Any:
    """``x·sigmoid(αx)``; the ``silu`` op is less exact on the GPU (H2.13)."""
    x, alpha = b.var(op.inputs[0]), float(b.attr(op, "alpha"))
    scaled = x if alpha == 1 else b.mb.mul(x=x, y=like(x, alpha)[()])
    return b.mb.mul(x=x, y=b.mb.sigmoid(x=scaled), name=b.name(op))


@lower("Gelu", attrs="approximate")
def gelu(b: Emitter, op: Op) -> Any:
    """``gelu``, in the form the model asks for."""
    modes = {"none": "EXACT", "tanh": "TANH_APPROXIMATION"}
    kind = _text(b.attr(op, "approximate"))
    if kind not in modes:
        b.refuse(op, f'approximate="{kind}" is no form of Gelu')
    return b.mb.gelu(x=b.var(op.inputs[0]), mode=modes[kind], name=b.name(op))


@lower("Softplus")
def softplus(b: Emitter, op: Op) -> Any:
    """``max(x,0) + log(1+exp(-|x|))``: MIL's ``softplus`` is 0 above 10.4 on the Neural Engine (H3.09)."""
    mb, x = b.mb, b.var(op.inputs[0])
    zero = like(x, 0)[()]
    decay = mb.exp(x=mb.mul(x=mb.abs(x=x), y=like(x, -1)[()]))
    return mb.add(x=mb.relu(x=x), y=mb.log(x=mb.add(x=decay, y=like(x, 1)[()]), epsilon=zero), name=b.name(op))


@lower("Mish")
def mish(b: Emitter, op: Op) -> Any:
    """``x·tanh(softplus(x))`` as a ratio of polynomials in ``t = exp(-|x|)``, which cannot overflow (H3.10)."""
    mb, x = b.mb, b.var(op.inputs[0])
    one, two = like(x, 1)[()], like(x, 2)[()]
    t = mb.exp(x=mb.mul(x=mb.abs(x=x), y=like(x, -1)[()]))
    square, double = mb.mul(x=t, y=t), mb.mul(x=t, y=two)
    over = mb.add(x=double, y=one)
    positive = mb.real_div(x=over, y=mb.add(x=over, y=mb.mul(x=square, y=two)))
    under = mb.add(x=square, y=double)
    negative = mb.real_div(x=under, y=mb.add(x=under, y=two))
    ratio = mb.select(cond=mb.greater_equal(x=x, y=like(x, 0)[()]), a=positive, b=negative)
    return mb.mul(x=x, y=ratio, name=b.name(op))


@lower("ThresholdedRelu", attrs="alpha")
def thresholded_relu(b: Emitter, op: Op) -> Any:
    """``x`` above alpha; MIL's op of that name keeps alpha itself, too (H4.29)."""
    x = b.var(op.inputs[0])
    above = b.mb.greater(x=x, y=like(x, b.attr(op, "alpha"))[()])
    return b.mb.select(cond=above, a=x, b=like(x, 0)[()], name=b.name(op))


@lower("Shrink", attrs="bias lambd")
def shrink(b: Emitter, op: Op) -> Any:
    """Both sides beyond lambd moved by bias, 0 between; integers by way of fp32."""
    mb, source = b.mb, b.var(op.inputs[0])
    x = source if is_float(source) else mb.cast(x=source, dtype="fp32")
    bias, lambd = like(x, b.attr(op, "bias"))[()], like(x, b.attr(op, "lambd"))[()]
    above = mb.select(cond=mb.greater(x=x, y=lambd), a=mb.sub(x=x, y=bias), b=like(x, 0)[()])
    below = mb.less(x=x, y=-lambd)
    if x is source:
        return mb.select(cond=below, a=mb.add(x=x, y=bias), b=above, name=b.name(op))
    return mb.cast(x=mb.select(cond=below, a=mb.add(x=x, y=bias), b=above), dtype="int32", name=b.name(op))


# ---------------------------------------------------------------- along an axis

@lower("Softmax", attrs="axis")
def softmax(b: Emitter, op: Op) -> Any:
    """``softmax``, which subtracts the maximum itself (H3.13)."""
    x = b.var(op.inputs[0])
    return b.mb.softmax(x=x, axis=axis_of(b, op, b.attr(op, "axis"), x.rank), name=b.name(op))


@lower("LogSoftmax", attrs="axis")
def log_softmax(b: Emitter, op: Op) -> Any:
    """``x - max - log Σ exp(x - max)``: no logarithm of an underflown 0 (H3.12)."""
    mb, x = b.mb, b.var(op.inputs[0])
    axes = np.array([axis_of(b, op, b.attr(op, "axis"), x.rank)], np.int32)
    shifted = mb.sub(x=x, y=mb.reduce_max(x=x, axes=axes, keep_dims=True))
    total = mb.reduce_sum(x=mb.exp(x=shifted), axes=axes, keep_dims=True)
    return mb.sub(x=shifted, y=mb.log(x=total, epsilon=like(x, 0)[()]), name=b.name(op))


@lower("Hardmax", attrs="axis")
def hardmax(b: Emitter, op: Op) -> Any:
    """1 at the first maximum along the axis, 0 elsewhere."""
    mb, x = b.mb, b.var(op.inputs[0])
    axis = axis_of(b, op, b.attr(op, "axis"), x.rank)
    first = mb.reduce_argmax(x=x, axis=axis, keep_dims=True)
    places = iota(b, b.sizes(op.inputs[0])[axis], x.rank, axis)
    dtype = {"float16": "fp16", "float32": "fp32"}[np_type(x).name]
    return mb.cast(x=mb.equal(x=first, y=places), dtype=dtype, name=b.name(op))


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
