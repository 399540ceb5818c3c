"""Attention, taken apart into products and a softmax.

MIL's own ``scaled_dot_product_attention`` (iOS 18) has no scale, no soft cap and no grouped heads, and Core ML's fused
kernels for it have been reported wrong on GPU for larger batches (H6.11), so it is not used.

Every mask is brought to one additive bias with finite entries: minus infinity turns into NaN on Apple's half-precision
units (H3.01). A row that may not attend to anything is zero, as ONNX defines it: its weights are multiplied by 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from coregraft.lowering.registry import lower
from coregraft.lowering.shaping import to_shape
from coregraft.lowering.sizes import Size, is_known, product, sizes_of
from coregraft.lowering.vars import cast, like, np_type, reshape, transpose
from coregraft.rewriter.graph import Op
from coregraft.rewriter.types import Array, DType

if TYPE_CHECKING:
    from coregraft.lowering.emitter import Emitter

#: What the bias of a masked position is, by element type: far below any score, and safe to add one to.
_MASKED = {"float16": -4e4, "float32": -1e30}


@dataclass(frozen=True, slots=True)
class _Sizes:
    """Sizes of the attention: [batch, q_heads, queries, head] by [batch, kv_heads, keys, head]."""

    batch: Size
    q_heads: int
    kv_heads: int
    queries: Size
    past: Size
    keys: Size


@dataclass(slots=True)
class _Mask:
    """What may be attended to.

    Attributes:
        allowed: what is known at compile time, bool, broadcastable to [batch, q_heads, queries, keys].
        shift: constant finite summand of the scores, or None.
        live: run-time factor 1 (allowed) or 0 (not), ``allowed`` included; None when nothing is decided at run time.
        conditions: how many run-time conditions ``live`` is the product of.
        addend: run-time summand of the scores, or None; may hold minus infinity.
    """

    allowed: Array
    shift: Array | None = None
    live: Any = None
    conditions: int = 0
    addend: Any = None


@lower(
    "Attention",
    attrs="is_causal kv_num_heads left_window_size q_num_heads qk_matmul_output_mode right_window_size scale softcap "
    "softmax_precision",
)
def attention(b: Emitter, op: Op) -> Any:
    """``softmax(cap(q @ kᵀ * scale) + mask) @ v``; query heads that share keys become rows of one product."""
    flat = b.var(op.inputs[0]).rank == 3
    q, k, v = _heads(b, op, flat)
    k, v, past = _with_past(b, op, k, v)
    batch, q_heads, queries, _ = sizes_of(q)
    kv_heads, keys = sizes_of(k)[1:3]
    if not (is_known(q_heads) and is_known(kv_heads)):
        b.refuse(op, "how many heads it has depends on the data")
    sizes = _Sizes(batch, q_heads, kv_heads, queries, past, keys)
    if sizes.q_heads % sizes.kv_heads:
        b.refuse(op, f"{sizes.q_heads} query heads do not share {sizes.kv_heads} key heads evenly")
    mode = b.attr(op, "qk_matmul_output_mode") if _wanted(op, 3) else None
    scale = b.attr(op, "scale")
    scale = 1 / math.sqrt(int(q.shape[3])) if scale is None else scale
    mask = _mask(b, op, sizes, np_type(q))

    grouped = _fold(b, b.mb.mul(x=q, y=like(q, scale)), sizes)
    scores = _unfold(b, b.mb.matmul(x=grouped, y=k, transpose_y=True), sizes)
    probe = scores if mode == 0 else None
    cap = b.attr(op, "softcap")
    if cap:
        scores = b.mb.mul(x=b.mb.tanh(x=b.mb.mul(x=scores, y=like(scores, 1 / cap))), y=like(scores, cap))
    probe = scores if mode == 1 else probe
    if mode == 2:
        probe = _scores_as_defined(b, op, scores, mask)
    weights = _softmax(b, op, _biased(b, scores, mask))
    weights = _without_empty_rows(b, weights, mask)
    probe = weights if mode == 3 else probe
    y = _unfold(b, b.mb.matmul(x=_fold(b, weights, sizes), y=v), sizes, None if flat else b.name(op))
    if flat:
        width = sizes.q_heads * int(v.shape[3])
        y = to_shape(b, transpose(b, y, [0, 2, 1, 3]), [sizes.batch, sizes.queries, width], b.name(op))
    results = [y, k if _wanted(op, 1) else None, v if _wanted(op, 2) else None, probe]
    return [var if i == 0 or var is None else b.mb.identity(x=var, name=b.name(op, i)) for i, var in enumerate(results)]


def _wanted(op: Op, i: int) -> bool:
    return i < len(op.outputs) and bool(op.outputs[i])


def _input(op: Op, i: int) -> str:
    return op.inputs[i] if i < len(op.inputs) else ""


def _heads(b: Emitter, op: Op, flat: bool) -> tuple[Any, Any, Any]:
    """Query, key and value as [batch, heads, sequence, head size]."""
    if not flat:
        q, k, v = (b.var(name) for name in op.inputs[:3])
        return q, k, v
    q_heads, kv_heads = b.attr(op, "q_num_heads"), b.attr(op, "kv_num_heads")
    if not q_heads or not kv_heads:
        b.refuse(op, "its operands have three dims, and it does not say how many heads they hold")
    split = []
    for name, heads in zip(op.inputs[:3], (q_heads, kv_heads, kv_heads), strict=True):
        batch, length, _ = b.sizes(name)
        (hidden,) = b.known_sizes(name, [2])
        if hidden % heads:
            b.refuse(op, f"{hidden} features do not split into {heads} heads")
        split.append(transpose(b, to_shape(b, b.var(name), [batch, length, heads, hidden // heads]), [0, 2, 1, 3]))
    return split[0], split[1], split[2]


def _with_past(b: Emitter, op: Op, k: Any, v: Any) -> tuple[Any, Any, Size]:
    """Key and value behind those of earlier steps, and how many those are."""
    past_key, past_value = b.var(_input(op, 4)), b.var(_input(op, 5))
    if (past_key is None) != (past_value is None):
        b.refuse(op, "it has only one of past_key and past_value")
    if past_key is None:
        return k, v, 0
    if _input(op, 6):
        b.refuse(op, "it has both a past and nonpad_kv_seqlen, which ONNX rules out")
    k = b.mb.concat(values=[past_key, k], axis=2, interleave=False)
    v = b.mb.concat(values=[past_value, v], axis=2, interleave=False)
    return k, v, sizes_of(past_key)[2]


def _fold(b: Emitter, x: Any, sizes: _Sizes) -> Any:
    """[batch, q_heads, queries, …] as [batch, kv_heads, group * queries, …]."""
    group = sizes.q_heads // sizes.kv_heads
    if group == 1:
        return x
    rows = product(b, [group, sizes.queries])
    return to_shape(b, x, [sizes.batch, sizes.kv_heads, rows, sizes_of(x)[3]])


def _unfold(b: Emitter, x: Any, sizes: _Sizes, name: str | None = None) -> Any:
    """The inverse of :func:`_fold`."""
    if sizes.q_heads != sizes.kv_heads:
        return to_shape(b, x, [sizes.batch, sizes.q_heads, sizes.queries, sizes_of(x)[3]], name)
    return x if name is None else b.mb.identity(x=x, name=name)


# -------------------------------------------------------------------- masks


def _mask(b: Emitter, op: Op, sizes: _Sizes, dtype: np.dtype[Any]) -> _Mask:
    mask = _Mask(np.ones((1, 1), np.bool_))
    flags = _add_positions(b, op, mask, sizes, dtype)
    name = _input(op, 3)
    if name:
        short = _missing(b, op, sizes.keys, b.sizes(name)[-1])
        known = b.const(name)
        if known is None:
            flags.append(_add_variable(b, mask, b.var(name), short, dtype))
        else:
            _add_constant(mask, known, short, dtype)
    if flags and not mask.allowed.all():
        flags.append(mask.allowed.astype(dtype))
    for flag in flags:
        mask.live = flag if mask.live is None else b.mb.mul(x=mask.live, y=flag)
    mask.conditions = len(flags)
    return mask


def _missing(b: Emitter, op: Op, keys: Size, columns: Size) -> int:
    """How many keys at the end a mask says nothing of."""
    if keys == columns:
        return 0
    if not (is_known(keys) and is_known(columns)):
        b.refuse(op, "how many keys its mask leaves out depends on the data")
    return int(keys - columns)


def _add_positions(b: Emitter, op: Op, mask: _Mask, sizes: _Sizes, dtype: np.dtype[Any]) -> list[Any]:
    """The causal frontier, the window, and the end of each sequence; what is known only at run time is returned.

    Query i stands at position ``offset + i``; ``offset`` counts the keys before the first query.
    """
    left, right = op.attrs.get("left_window_size", -1), op.attrs.get("right_window_size", -1)
    if not (b.attr(op, "is_causal") or left >= 0 or right >= 0 or _input(op, 6)):
        return []
    if not all(map(is_known, (sizes.past, sizes.queries, sizes.keys))):
        b.refuse(op, "it masks by position, and how many queries or keys there are depends on the data")
    ahead = np.arange(sizes.keys)[None, :] - np.arange(sizes.queries)[:, None]  # key position - query index
    bounds = [ahead] if b.attr(op, "is_causal") else []  # each must be <= offset
    bounds += [ahead - right] if right >= 0 else []
    name = _input(op, 6)
    lengths = b.const(name) if name else None
    if not name or lengths is not None:
        offset = np.asarray(sizes.past) if lengths is None else lengths.reshape(-1, 1, 1, 1) - sizes.queries
        for bound in bounds:
            mask.allowed = mask.allowed & (bound <= offset)
        if left >= 0:
            mask.allowed = mask.allowed & (ahead + left >= offset)
        if lengths is not None:
            mask.allowed = mask.allowed & (np.arange(sizes.keys) < lengths.reshape(-1, 1, 1, 1))
        return []
    length = reshape(b, b.var(name), [-1, 1, 1, 1])
    columns = np.arange(1, sizes.keys + 1)[None, :]

    def at_most_length(bound: Array) -> Any:
        return b.mb.less_equal(x=bound[None, None].astype(np.int32), y=length)

    flags = [at_most_length(bound) for bound in [columns, *(bound + sizes.queries for bound in bounds)]]
    if left >= 0:
        reach = (ahead + left + sizes.queries)[None, None].astype(np.int32)
        flags.append(b.mb.greater_equal(x=reach, y=length))
    return [cast(b, flag, dtype) for flag in flags]


def _add_constant(mask: _Mask, known: Array, short: int, dtype: np.dtype[Any]) -> None:
    boolean = known.dtype == np.bool_
    if short:
        pads = [(0, 0)] * (known.ndim - 1) + [(0, short)]
        known = np.pad(known, pads, constant_values=False if boolean else -np.inf)
    if boolean:
        mask.allowed = mask.allowed & known
        return
    barred = np.isneginf(known)
    mask.allowed = mask.allowed & ~barred
    mask.shift = np.maximum(np.where(barred, 0, known), _MASKED[dtype.name])


def _add_variable(b: Emitter, mask: _Mask, var: Any, short: int, dtype: np.dtype[Any]) -> Any:
    """A mask computed at run time, as a flag; a float one is an addend, too."""
    boolean = np_type(var) == np.bool_
    var = cast(b, var, dtype)
    if short:
        pad = np.array([0, 0] * (var.rank - 1) + [0, short], np.int32)
        fill = 0 if boolean else -float(np.finfo(dtype).max)
        var = b.mb.pad(x=var, pad=pad, mode="constant", constant_val=like(var, fill))
    if boolean:
        return var
    mask.addend = var
    barred = cast(b, b.mb.less(x=var, y=like(var, -np.finfo(dtype).max)), dtype)  # true of minus infinity only
    return b.mb.sub(x=like(var, 1), y=barred)


def _biased(b: Emitter, scores: Any, mask: _Mask) -> Any:
    """The scores with everything added that the masks ask for; no entry is infinite."""
    floor = _MASKED[np_type(scores).name]
    if mask.live is not None:
        bias = b.mb.mul(x=b.mb.sub(x=mask.live, y=like(scores, 1)), y=like(scores, -floor))
        for summand in (mask.addend, mask.shift):
            if summand is not None:
                total = b.mb.add(x=bias, y=like(scores, summand) if isinstance(summand, np.ndarray) else summand)
                bias = b.mb.maximum(x=total, y=like(scores, floor))  # the sum of two biases may be infinite in fp16
        return b.mb.add(x=scores, y=bias)
    constant = np.where(mask.allowed, 0 if mask.shift is None else mask.shift, floor)
    return b.mb.add(x=scores, y=like(scores, constant)) if constant.any() else scores


def _scores_as_defined(b: Emitter, op: Op, scores: Any, mask: _Mask) -> Any:
    """The scores with ONNX's own bias, minus infinity included: an output of the op, which nothing here reads."""
    if mask.conditions > (mask.addend is not None) + (not mask.allowed.all()):
        b.refuse(op, "it puts out masked scores (qk_matmul_output_mode=2) under a boolean mask computed at run time")
    constant = np.where(mask.allowed, 0 if mask.shift is None else mask.shift, -np.inf)
    if mask.addend is not None:
        scores = b.mb.add(x=scores, y=mask.addend)
    return b.mb.add(x=scores, y=like(scores, constant)) if constant.any() else scores


def _softmax(b: Emitter, op: Op, scores: Any) -> Any:
    from coregraft.lowering.emitter import canonical

    own = np_type(scores)
    precision = b.attr(op, "softmax_precision")
    inner = canonical(DType(precision), op.label).numpy if precision else own
    return cast(b, b.mb.softmax(x=cast(b, scores, inner), axis=-1), own)


def _without_empty_rows(b: Emitter, weights: Any, mask: _Mask) -> Any:
    """The weights, zero in rows that may not attend to anything."""
    if mask.live is not None:
        return b.mb.mul(x=weights, y=b.mb.reduce_max(x=mask.live, axes=[-1], keep_dims=True))
    alive = mask.allowed.any(axis=-1, keepdims=True)
    return weights if alive.all() else b.mb.mul(x=weights, y=like(weights, alive))
