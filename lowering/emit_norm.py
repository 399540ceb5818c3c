"""The normalisations. Every epsilon is written out: MIL's defaults are not ONNX's (H3.04)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from coregraft.lowering.registry import lower
from coregraft.lowering.shaping import to_shape
from coregraft.lowering.sizes import Size, product
from coregraft.lowering.vars import cast, channel_var, like, named, np_type, reshape
from coregraft.rewriter.graph import Op
from coregraft.rewriter.types import Array, DType

if TYPE_CHECKING:
    from coregraft.lowering.emitter import Emitter


@lower("BatchNormalization", attrs="epsilon momentum training_mode")
def batch_normalization(b: Emitter, op: Op) -> Any:
    """``batch_norm`` on rank 3 to 5, other ranks reshaped to 3; arithmetic where a parameter is computed at run time.

    Variance and epsilon are folded into the scale in fp64: in fp16 they overflow or vanish long before it does (H3.03).
    """
    x = b.var(op.inputs[0])
    scale, bias, mean, variance = parameters = [b.var(name) for name in op.inputs[1:5]]
    if b.attr(op, "training_mode"):
        return _training_batch_norm(b, op, x, parameters)
    if any(v.val is None for v in parameters):
        return _standardise(b, op, x, mean, variance, scale, bias)
    sizes = b.sizes(op.inputs[0])
    dims = None if 3 <= x.rank <= 5 else _batch_norm_dims(b, sizes)
    gain = scale.val.astype(np.float64) / np.sqrt(variance.val.astype(np.float64) + b.attr(op, "epsilon"))
    y = b.mb.batch_norm(
        x=x if dims is None else to_shape(b, x, dims),
        mean=like(x, mean.val),
        variance=like(x, np.ones(mean.shape)),
        gamma=like(x, gain),
        beta=like(x, bias.val),
        epsilon=_epsilon(b, x, 0),
        **named(b.name(op) if dims is None else None),
    )
    return y if dims is None else to_shape(b, y, sizes, b.name(op))


def _epsilon(b: Emitter, x: Any, value: float) -> Any:
    """An epsilon, in the element type of ``x``. To a layer of a neuralnetwork 0 says that its default is meant, which
    is 1e-5 or 1e-6: it gets what adds nothing to any variance."""
    return like(x, value or (1e-30 if b.target.format == "neuralnetwork" else 0))


@lower("InstanceNormalization", attrs="epsilon")
def instance_normalization(b: Emitter, op: Op) -> Any:
    """``instance_norm``, documented for rank 3 and 4 only: the middle axes of a higher rank are merged (H4.16)."""
    x = b.var(op.inputs[0])
    scale, bias = b.var(op.inputs[1]), b.var(op.inputs[2])
    if x.rank < 3:
        b.refuse(op, f"its input has {x.rank} dims, none of them spatial")
    shape = b.sizes(op.inputs[0]) if x.rank > 4 else None
    if shape is not None:
        x = to_shape(b, x, [*shape[:2], product(b, shape[2:-1]), shape[-1]])
    affine = scale.val is not None and bias.val is not None
    direct = affine and shape is None
    y = b.mb.instance_norm(
        x=x,
        gamma=like(x, scale.val if affine else np.ones(scale.shape)),
        beta=like(x, bias.val if affine else np.zeros(bias.shape)),
        epsilon=_epsilon(b, x, b.attr(op, "epsilon")),
        **named(b.name(op) if direct else None),
    )
    if not affine:
        y = b.mb.mul(x=y, y=channel_var(b, scale, y.rank))
        y = b.mb.add(x=y, y=channel_var(b, bias, y.rank), **named(b.name(op) if shape is None else None))
    return y if shape is None else to_shape(b, y, shape, b.name(op))


@lower("LayerNormalization", attrs="axis epsilon stash_type")
def layer_normalization(b: Emitter, op: Op) -> Any:
    """``layer_norm`` over the last axes; scale and bias go in where they vary along those only, after it otherwise.

    ``stash_type`` asks for fp32 inside. MIL's op has no such switch: on fp16 values its inner precision is that of the
    backend, which is the reason to emit it whole (H3.05).
    """
    x = b.var(op.inputs[0])
    _check_stash(b, op, x)
    axes = np.arange(b.attr(op, "axis") % x.rank, x.rank, dtype=np.int32)
    shape = tuple(x.shape[i] for i in axes)
    scale = b.var(op.inputs[1])
    bias = b.var(op.inputs[2]) if len(op.inputs) > 2 and op.inputs[2] else None
    gamma = _exact(scale, shape)
    beta = None if bias is None else _exact(bias, shape)
    scale_inside = gamma is not None
    bias_inside = bias is None or (scale_inside and beta is not None)
    inside = scale_inside and bias_inside
    y = b.mb.layer_norm(
        x=x,
        axes=axes,
        gamma=like(x, gamma if gamma is not None else np.ones(_static(b, op, shape))),
        beta=like(x, beta if bias is not None and bias_inside else np.zeros(_static(b, op, shape))),
        epsilon=_epsilon(b, x, b.attr(op, "epsilon")),
        **named(b.name(op) if inside else None),
    )
    if not scale_inside:
        y = b.mb.mul(x=y, y=scale, **named(b.name(op) if bias is None else None))
    if not bias_inside:
        y = b.mb.add(x=y, y=bias, name=b.name(op))
    return [y, *_statistics(b, op, x, axes)]


@lower("RMSNormalization", attrs="axis epsilon stash_type")
def rms_normalization(b: Emitter, op: Op) -> Any:
    """``x * rsqrt(mean(x²) + eps) * scale``, the mean and the root in ``stash_type`` as ONNX says (H3.06)."""
    x, scale = b.var(op.inputs[0]), b.var(op.inputs[1])
    stash = _stash_type(b, op, x)
    wide = cast(b, x, stash)
    axes = np.arange(b.attr(op, "axis") % x.rank, x.rank, dtype=np.int32)
    mean = b.mb.reduce_mean(x=b.mb.mul(x=wide, y=wide), axes=axes, keep_dims=True)
    normalised = b.mb.mul(x=wide, y=b.mb.rsqrt(x=mean, epsilon=_epsilon(b, wide, b.attr(op, "epsilon"))))
    return b.mb.mul(x=cast(b, normalised, np_type(x)), y=scale, name=b.name(op))


@lower("GroupNormalization", attrs="epsilon num_groups stash_type")
def group_normalization(b: Emitter, op: Op) -> Any:
    """``instance_norm`` over the groups as channels, then the affine part per channel (H4.16)."""
    x = b.var(op.inputs[0])
    _check_stash(b, op, x)
    scale, bias = b.var(op.inputs[1]), b.var(op.inputs[2])
    shape, groups = b.sizes(op.inputs[0]), b.attr(op, "num_groups")
    inner = b.known_sizes(op.inputs[0], range(1, len(shape)))
    if not inner or inner[0] % groups:
        b.refuse(op, f"its {inner[:1]} channels do not split into {groups} groups")
    # The last axis stays one of its own: Core ML's axes have a length limit that a merged one would soon reach.
    tail = inner[-1] if len(inner) > 1 else 1
    grouped = to_shape(b, x, [shape[0], groups, math.prod(inner) // groups // tail, tail])
    normalised = b.mb.instance_norm(
        x=grouped,
        gamma=like(x, np.ones(groups)),
        beta=like(x, np.zeros(groups)),
        epsilon=_epsilon(b, x, b.attr(op, "epsilon")),
    )
    y = to_shape(b, normalised, shape)
    if scale.val is not None and bias.val is not None and 3 <= x.rank <= 5:
        zeros, ones = np.zeros(inner[0]), np.ones(inner[0])
        return b.mb.batch_norm(
            x=y, mean=like(x, zeros), variance=like(x, ones), gamma=like(x, scale.val), beta=like(x, bias.val),
            epsilon=_epsilon(b, x, 0), name=b.name(op),
        )  # fmt: skip
    y = b.mb.mul(x=y, y=channel_var(b, scale, x.rank))
    return b.mb.add(x=y, y=channel_var(b, bias, x.rank), name=b.name(op))


@lower("LRN", attrs="alpha beta bias size")
def lrn(b: Emitter, op: Op) -> Any:
    """``local_response_norm`` for odd windows on rank 4; else an average pool over the channels.

    MIL does not say where an even window sits, and on rank 3 it normalises over another axis than ONNX. To a layer of
    a neuralnetwork a bias of 0 says that its default, 1, is meant.
    """
    x = b.var(op.inputs[0])
    size, alpha, beta, bias = (b.attr(op, name) for name in ("size", "alpha", "beta", "bias"))
    if x.rank == 4 and size % 2 and (bias or b.target.format == "mlprogram"):
        return b.mb.local_response_norm(
            x=x, size=size, alpha=like(x, alpha), beta=like(x, beta), k=like(x, bias), name=b.name(op)
        )
    shape = b.sizes(op.inputs[0])
    squares = to_shape(b, b.mb.mul(x=x, y=x), [shape[0], 1, shape[1], product(b, shape[2:])])
    mean = b.mb.avg_pool(
        x=squares,
        kernel_sizes=np.array([size, 1], np.int32),
        strides=np.array([1, 1], np.int32),
        pad_type="custom",
        pad=np.array([(size - 1) // 2, size // 2, 0, 0], np.int32),
        exclude_padding_from_average=False,
        ceil_mode=False,
    )
    base = b.mb.add(x=b.mb.mul(x=to_shape(b, mean, shape), y=like(x, alpha)), y=like(x, bias))
    return b.mb.real_div(x=x, y=b.mb.pow(x=base, y=like(x, beta)), name=b.name(op))


@lower("LpNormalization", attrs="axis p")
def lp_normalization(b: Emitter, op: Op) -> Any:
    """``x / |x|_p``; the norm is held above zero, so that a row of zeros stays one instead of turning into NaN."""
    x = b.var(op.inputs[0])
    p = b.attr(op, "p")
    if p not in (1, 2):
        b.refuse(op, f"p is {p}; ONNX defines 1 and 2")
    norm = b.mb.reduce_l1_norm if p == 1 else b.mb.reduce_l2_norm
    length = norm(x=x, axes=np.array([b.attr(op, "axis") % x.rank], np.int32), keep_dims=True)
    floor = like(x, np.finfo(np_type(x)).tiny)
    return b.mb.real_div(x=x, y=b.mb.maximum(x=length, y=floor), name=b.name(op))


@lower("MeanVarianceNormalization", attrs="axes")
def mean_variance_normalization(b: Emitter, op: Op) -> Any:
    """``(x - mean) / (std + 1e-9)`` as ONNX's function body has it, the variance by the two-pass formula (H3.07)."""
    x = b.var(op.inputs[0])
    axes = np.array([axis % x.rank for axis in b.attr(op, "axes")], np.int32)
    centred, variance = _moments(b, x, axes)[1:]
    guard = like(x, max(1e-9, float(np.finfo(np_type(x)).tiny)))  # fp16 would round 1e-9 to 0
    return b.mb.real_div(x=centred, y=b.mb.add(x=b.mb.sqrt(x=variance), y=guard), name=b.name(op))


def _moments(b: Emitter, x: Any, axes: Array) -> tuple[Any, Any, Any]:
    """Mean, ``x - mean`` and variance over some axes, which stay as size 1."""
    mean = b.mb.reduce_mean(x=x, axes=axes, keep_dims=True)
    centred = b.mb.sub(x=x, y=mean)
    return mean, centred, b.mb.reduce_mean(x=b.mb.mul(x=centred, y=centred), axes=axes, keep_dims=True)


def _statistics(b: Emitter, op: Op, x: Any, axes: Array) -> list[Any]:
    """The optional Mean and InvStdDev outputs of LayerNormalization, those that the op has."""
    if not any(op.outputs[1:]):
        return []
    wide = cast(b, x, _stash_type(b, op, x))
    mean, _, variance = _moments(b, wide, axes)
    mean = b.mb.identity(x=mean, name=b.name(op, 1))
    if len(op.outputs) < 3 or not op.outputs[2]:
        return [mean]
    return [mean, b.mb.rsqrt(x=variance, epsilon=_epsilon(b, wide, b.attr(op, "epsilon")), name=b.name(op, 2))]


def _training_batch_norm(b: Emitter, op: Op, x: Any, parameters: list[Any]) -> list[Any]:
    """Normalise by the batch's own statistics, and move the running ones towards them."""
    scale, bias, mean, variance = parameters
    axes = np.array([i for i in range(x.rank) if i != 1], np.int32)
    batch_mean, _, batch_variance = _moments(b, x, axes)
    channels = [-1]
    flat_mean, flat_variance = reshape(b, batch_mean, channels), reshape(b, batch_variance, channels)
    results = [_standardise(b, op, x, flat_mean, flat_variance, scale, bias)]
    momentum = b.attr(op, "momentum")
    for i, (running, batch) in enumerate(((mean, flat_mean), (variance, flat_variance)), start=1):
        if i < len(op.outputs) and op.outputs[i]:
            kept = b.mb.mul(x=running, y=like(running, momentum))
            moved = b.mb.mul(x=cast(b, batch, np_type(running)), y=like(running, 1 - momentum))
            results.append(b.mb.add(x=kept, y=moved, name=b.name(op, i)))
        else:
            results.append(None)
    return results


def _standardise(b: Emitter, op: Op, x: Any, mean: Any, variance: Any, scale: Any, bias: Any) -> Any:
    """``(x - mean) / sqrt(variance + eps) * scale + bias`` along axis 1, of vectors that may be run-time values."""

    def along_channels(vector: Any) -> Any:
        return channel_var(b, cast(b, vector, np_type(x)), x.rank)

    variance = cast(b, variance, np_type(x))
    root = b.mb.rsqrt(x=variance, epsilon=_epsilon(b, x, b.attr(op, "epsilon")))
    y = b.mb.mul(x=b.mb.sub(x=x, y=along_channels(mean)), y=along_channels(root))
    y = b.mb.mul(x=y, y=along_channels(scale))
    return b.mb.add(x=y, y=along_channels(bias), name=b.name(op))


def _batch_norm_dims(b: Emitter, shape: Sequence[Size]) -> list[Size]:
    """The shape of rank 3 in which ``batch_norm`` takes an input of a rank that it lacks."""
    if len(shape) < 2:
        return [*shape, 1, 1]  # ONNX reads a vector as N samples of one channel
    return [shape[0], shape[1], product(b, shape[2:])]


def _exact(var: Any, shape: tuple[Any, ...]) -> Array | None:
    """A constant as an array of exactly ``shape``; None when it is not constant or varies along other axes."""
    if var.val is None or not all(isinstance(d, (int, np.integer)) for d in shape):
        return None
    values = np.asarray(var.val)
    while values.ndim > len(shape):
        if values.shape[0] != 1:
            return None
        values = values[0]
    return np.broadcast_to(values, shape)


def _static(b: Emitter, op: Op, shape: tuple[Any, ...]) -> tuple[int, ...]:
    if not all(isinstance(d, (int, np.integer)) for d in shape):
        b.refuse(op, "the size of a normalised axis is not known at compile time")
    return tuple(int(d) for d in shape)


def _stash_type(b: Emitter, op: Op, x: Any) -> np.dtype[Any]:
    """The element type in which ONNX computes the statistics, as Core ML has it."""
    from coregraft.lowering.emitter import canonical

    stash = canonical(DType(b.attr(op, "stash_type")), op.label)
    if not stash.is_float:
        b.refuse(op, f"stash_type is {stash.name.lower()}, not a float type")
    return max(np_type(x), stash.numpy, key=lambda dtype: dtype.itemsize)


def _check_stash(b: Emitter, op: Op, x: Any) -> None:
    _stash_type(b, op, x)
