"""Folding a per-channel affine map ``y * scale + shift`` into the weights of the op that computes ``y``."""

from __future__ import annotations

from typing import Any

import numpy as np

from coregraft.rewriter.passes import NoMatch, OpBuilder, OpView, ValueView
from coregraft.rewriter.types import Array

#: A weight that other ops use too is copied by folding into it; above this many bytes it is left alone.
SHARED_LIMIT = 1 << 16


def channel_vector(c: ValueView, rank: int, channels: int) -> Array | None:
    """A constant as a float64 vector over axis 1 of a value of ``rank`` dims; None when it is not one.

    A constant of more dims than the value would raise its rank, and is none either.
    """
    if not c.is_const or c.rank is None or c.rank > rank:
        return None
    array = np.asarray(c.array(), np.float64)
    if array.size == 1:
        return np.full(channels, array.reshape(-1)[0])
    shape = (1,) * (rank - array.ndim) + array.shape
    if shape[1] != channels or array.size != channels:
        return None
    return array.reshape(-1)


def channels_of(conv: OpView) -> int:
    """Output channels of a Conv or ConvTranspose with constant weights."""
    weight = conv.inputs[1]
    assert weight is not None and weight.const is not None  # can_fold is asked first
    shape = weight.const.shape
    return shape[0] if conv.type == "Conv" else shape[1] * int(conv.attr("group"))


def can_fold(conv: OpView) -> bool | NoMatch:
    """Whether scale and shift may go into the weights and bias of a Conv or ConvTranspose."""
    _, weight, *rest = conv.inputs
    bias = rest[0] if rest else None
    const = None if weight is None else weight.const
    if weight is None or const is None or (bias is not None and not bias.is_const):
        return NoMatch("weights or bias are computed at run time")
    if const.nbytes > SHARED_LIMIT and len(weight.users) > 1:
        return NoMatch("the weights are shared with other ops")
    return True


def fold(op: OpBuilder, conv: OpView, scale: Array, shift: Array) -> ValueView:
    """The Conv or ConvTranspose with ``scale`` and ``shift`` (float64, one per output channel) folded in."""
    x, weight, *rest = conv.inputs
    assert weight is not None
    w = weight.array()
    bias = rest[0].array().astype(np.float64) if rest and rest[0] is not None else np.zeros(len(scale))
    if conv.type == "Conv":
        scaled = _scaled(w, scale.reshape(-1, *(1,) * (w.ndim - 1)))
    else:  # (C_in, C_out / group, ...): output channel g * C_out/group + j belongs to rows of group g
        group = int(conv.attr("group"))
        rows = w.reshape(group, w.shape[0] // group, *w.shape[1:])
        scaled = _scaled(rows, scale.reshape(group, 1, -1, *(1,) * (w.ndim - 2))).reshape(w.shape)
    new_bias = (bias * scale + shift).astype(w.dtype)
    build: Any = getattr(op, conv.type)
    result: ValueView = build(x, scaled, new_bias, **conv.attrs)
    return result


def _scaled(w: Array, scale: Array) -> Array:
    """``w * scale`` in double precision, rounded once to the type of ``w``; without a copy of ``w`` in doubles."""
    if w.dtype.kind != "f":  # bfloat16 and its like have no multiplication in place
        return (w.astype(np.float64) * scale).astype(w.dtype)
    return np.multiply(w, scale, out=np.empty_like(w), dtype=np.float64, casting="same_kind")
