"""MaxPool, AveragePool, LpPool and the global pools.

``ceil_mode`` is never handed to MIL, whose rule for the last window is another (it keeps one that starts outside
the input): the output size is computed here by ONNX's rule, and the end padding grown until it comes out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from coregraft.lowering import windows
from coregraft.lowering.registry import lower
from coregraft.lowering.vars import cast, is_float, like, named, np_type
from coregraft.rewriter.graph import Op
from coregraft.rewriter.types import Array

if TYPE_CHECKING:
    from coregraft.lowering.emitter import Emitter

_ATTRS = "auto_pad ceil_mode dilations kernel_shape pads strides"


@lower("MaxPool", attrs=f"{_ATTRS} storage_order")
def max_pool(b: Emitter, op: Op) -> Any:
    """``max_pool``, whose padding never wins. Integers are pooled as fp32 (ONNX allows 8-bit ones only here)."""
    x = b.var(op.inputs[0])
    window = _window(b, op, x)
    if len(op.outputs) > 1 and op.outputs[1]:
        b.refuse(op, "its Indices output is used, which Core ML's max pool does not have")
    values = x if is_float(x) else cast(b, x, np.float32)
    y = b.mb.max_pool(
        x=windows.crop_negative(b, values, window),
        **_mil_window(window),
        **named(b.name(op) if is_float(x) else None),
    )
    return y if is_float(x) else cast(b, y, np_type(x), b.name(op))


@lower("AveragePool", attrs=f"{_ATTRS} count_include_pad")
def average_pool(b: Emitter, op: Op) -> Any:
    """``avg_pool``; a constant factor corrects the divisor where a window hangs over padding that counts (H4.10)."""
    x = b.var(op.inputs[0])
    window = _window(b, op, x)
    include = bool(b.attr(op, "count_include_pad"))
    factor = _overhang_factor(b, op, window) if include else None
    y = b.mb.avg_pool(
        x=windows.crop_negative(b, x, window),
        **_mil_window(window),
        exclude_padding_from_average=not include,
        **named(b.name(op) if factor is None else None),
    )
    return y if factor is None else b.mb.mul(x=y, y=like(x, factor), name=b.name(op))


@lower("LpPool", attrs=f"{_ATTRS} p")
def lp_pool(b: Emitter, op: Op) -> Any:
    """The p-norm of each window from the sum of powers: MIL's own ``l2_pool`` does not document its scale."""
    x = b.var(op.inputs[0])
    window = _window(b, op, x, dilates=True)
    p = b.attr(op, "p")
    powers = _power(b, windows.crop_negative(b, x, window), p)
    name = b.name(op)
    total = _window_sums(b, powers, window, name if p == 1 else None)
    return total if p == 1 else _root(b, total, p, name)


@lower("GlobalAveragePool")
def global_average_pool(b: Emitter, op: Op) -> Any:
    """``reduce_mean`` over the spatial axes."""
    x = b.var(op.inputs[0])
    return b.mb.reduce_mean(x=x, axes=_spatial_axes(b, op, x), keep_dims=True, name=b.name(op))


@lower("GlobalMaxPool")
def global_max_pool(b: Emitter, op: Op) -> Any:
    """``reduce_max`` over the spatial axes."""
    x = b.var(op.inputs[0])
    return b.mb.reduce_max(x=x, axes=_spatial_axes(b, op, x), keep_dims=True, name=b.name(op))


@lower("GlobalLpPool", attrs="p")
def global_lp_pool(b: Emitter, op: Op) -> Any:
    """The p-norm over the spatial axes."""
    x = b.var(op.inputs[0])
    p = b.attr(op, "p")
    over = {"axes": _spatial_axes(b, op, x), "keep_dims": True}
    if p in (1, 2):
        norm = b.mb.reduce_l1_norm if p == 1 else b.mb.reduce_l2_norm
        return norm(x=x, **over, name=b.name(op))
    return _root(b, b.mb.reduce_sum(x=_power(b, x, p), **over), p, b.name(op))


def _window(b: Emitter, op: Op, x: Any, *, dilates: bool = False) -> windows.Window:
    """The window with the end padding that gives ONNX's output size under floor division."""
    if not 3 <= x.rank <= 5:
        b.refuse(op, f"its input has {x.rank} dims; Core ML pools over one to three spatial axes")
    window = windows.resolve(b, op, b.attr(op, "kernel_shape"))
    if max(window.dilations) > 1 and windows.text(b.attr(op, "auto_pad")).startswith("SAME"):
        b.refuse(op, "ONNX and onnxruntime disagree about auto_pad SAME of a pool with dilation", "write out its pads")
    if max(window.dilations) > 1 and not dilates:
        b.refuse(op, "Core ML's pools have no dilation", "run the pass that turns it into slices or phases")
    if any(p >= k for pads in (window.begins, window.ends) for p, k in zip(pads, window.kernel, strict=True)):
        b.refuse(op, "it pads by a whole window or more, so that some windows see nothing but padding")
    if not b.attr(op, "ceil_mode"):
        return window
    sizes = windows.spatial_sizes(b, op)
    return window.ending_for(sizes, window.ceil_sizes(sizes))


def _mil_window(window: windows.Window) -> dict[str, Any]:
    return {
        "kernel_sizes": np.array(window.kernel, np.int32),
        "strides": np.array(window.strides, np.int32),
        "pad_type": "custom",
        "pad": window.mil_pad,
        "ceil_mode": False,
    }


def _window_sums(b: Emitter, x: Any, window: windows.Window, name: str | None) -> Any:
    """The sum of each window: a mean times its taps, or where it is dilated a depthwise convolution with ones."""
    if max(window.dilations) == 1:
        mean = b.mb.avg_pool(x=x, **_mil_window(window), exclude_padding_from_average=False)
        return b.mb.mul(x=mean, y=like(x, np.prod(window.kernel)), **named(name))
    channels = int(x.shape[1])
    return b.mb.conv(
        x=x,
        weight=like(x, np.ones((channels, 1, *window.kernel))),
        strides=np.array(window.strides, np.int32),
        pad_type="custom",
        pad=window.mil_pad,
        dilations=np.array(window.dilations, np.int32),
        groups=channels,
        **named(name),
    )


def _overhang_factor(b: Emitter, op: Op, window: windows.Window) -> Array | None:
    """What to multiply a mean over whole windows by, where some hang over the declared padding; None if none does.

    ONNX divides by the elements of a window that lie in the input or in the padding declared, not beyond it.
    """
    if not b.attr(op, "ceil_mode"):
        return None
    declared = windows.resolve(b, op, window.kernel)
    if declared.ends == window.ends:
        return None
    sizes = windows.spatial_sizes(b, op)
    factor = np.ones((1, 1))
    for i, (n, count) in enumerate(zip(sizes, window.ceil_sizes(sizes), strict=True)):
        limit = n + declared.begins[i] + declared.ends[i]
        starts = np.arange(count) * window.strides[i]
        inside = np.minimum(starts + window.kernel[i], limit) - starts
        factor = factor[..., None] * (window.kernel[i] / inside)
    return factor


def _spatial_axes(b: Emitter, op: Op, x: Any) -> Array:
    if x.rank < 3:
        b.refuse(op, f"its input has {x.rank} dims, none of them spatial")
    return np.arange(2, x.rank, dtype=np.int32)


def _power(b: Emitter, x: Any, p: int) -> Any:
    if p == 1:
        return b.mb.abs(x=x)
    if p == 2:
        return b.mb.mul(x=x, y=x)
    return b.mb.pow(x=b.mb.abs(x=x), y=like(x, p))


def _root(b: Emitter, x: Any, p: int, name: str) -> Any:
    return b.mb.sqrt(x=x, name=name) if p == 2 else b.mb.pow(x=x, y=like(x, 1 / p), name=name)
