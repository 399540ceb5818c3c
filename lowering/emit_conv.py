"""Conv and ConvTranspose, one to three spatial axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from coregraft.lowering import windows
from coregraft.lowering.registry import lower
from coregraft.lowering.vars import channel_var, is_const, like, named
from coregraft.rewriter.graph import Op

if TYPE_CHECKING:
    from coregraft.lowering.emitter import Emitter

_ATTRS = "auto_pad dilations group kernel_shape pads strides"


@lower("Conv", attrs=_ATTRS)
def conv(b: Emitter, op: Op) -> Any:
    """``conv`` with explicit pads; a negative pad becomes a slice before it (H1.04).

    A neuralnetwork has no convolution over one axis. coremltools would make it one over two, but fails to inside of
    an If or a Loop, so it is done here.
    """
    x, w = b.var(op.inputs[0]), b.var(op.inputs[1])
    _check(b, op, x, w)
    group = b.attr(op, "group")
    window = windows.resolve(b, op, w.shape[2:])
    if not is_const(w) and (group != 1 or max(window.dilations) > 1):
        b.refuse(
            op,
            "its weights are computed at run time, and MIL takes those only without groups and dilations",
            "make the weights constant, or rewrite the op as MatMul",
        )
    if not is_const(w) and x.rank == 5 and b.target.format == "neuralnetwork":
        b.refuse(op, "its weights are computed at run time, and a neuralnetwork takes those over two axes at most",
                 "--format mlprogram")  # fmt: skip
    bias = b.var(op.inputs[2]) if len(op.inputs) > 2 and op.inputs[2] else None
    folded = bias is not None and is_const(bias)
    x = windows.crop_negative(b, x, window)
    lifted = x.rank == 3 and b.target.format == "neuralnetwork"
    if lifted:
        x, w, window = b.mb.expand_dims(x=x, axes=[-2]), _with_unit_height(b, w), window.with_unit_axis()
    last = bias is None or folded
    y = b.mb.conv(
        x=x,
        weight=w,
        strides=np.array(window.strides, np.int32),
        pad_type="custom",
        pad=window.mil_pad,
        dilations=np.array(window.dilations, np.int32),
        groups=group,
        **({"bias": bias} if folded else {}),
        **named(b.name(op) if last and not lifted else None),
    )
    if lifted:
        y = b.mb.squeeze(x=y, axes=[-2], **named(b.name(op) if last else None))
    return y if last else b.mb.add(x=y, y=channel_var(b, bias, y.rank), name=b.name(op))


@lower("ConvTranspose", attrs=f"{_ATTRS} output_padding output_shape")
def conv_transpose(b: Emitter, op: Op) -> Any:
    """``conv_transpose`` where its symmetric pads say it all; else the full result, padded or cropped (H1.07).

    The bias is added after the padding, since ONNX adds it to every output element.
    """
    x, w = b.var(op.inputs[0]), b.var(op.inputs[1])
    _check(b, op, x, w)
    if not is_const(w) and not b.since("iOS17"):
        b.refuse(op, "its weights are computed at run time", "target iOS17 or newer, or make the weights constant")
    window, begins, ends = _transposed_window(b, op, w.shape[2:])
    bias = b.var(op.inputs[2]) if len(op.inputs) > 2 and op.inputs[2] else None
    direct = begins == ends and min(begins) >= 0
    fold_bias = bias is not None and direct and is_const(bias)
    add_bias = bias is not None and not fold_bias
    last = direct and not add_bias
    crops = [p for pair in zip(begins, ends, strict=True) for p in pair] if direct else [0] * (2 * len(begins))
    y = b.mb.conv_transpose(
        x=x,
        weight=w,
        strides=np.array(window.strides, np.int32),
        pad_type="custom",
        pad=np.array(crops, np.int32),
        dilations=np.array(window.dilations, np.int32),
        groups=b.attr(op, "group"),
        **({"bias": bias} if fold_bias else {}),
        **named(b.name(op) if last else None),
    )
    if not direct:
        y = _fit(b, y, begins, ends, None if add_bias else b.name(op))
    return b.mb.add(x=y, y=channel_var(b, bias, x.rank), name=b.name(op)) if add_bias else y


def _with_unit_height(b: Emitter, w: Any) -> Any:
    """A weight [out, in, taps] as [out, in, 1, taps]."""
    return b.mb.expand_dims(x=w, axes=[-2]) if w.val is None else w.val[:, :, None]


def _check(b: Emitter, op: Op, x: Any, w: Any) -> None:
    if not 3 <= x.rank <= 5:
        b.refuse(op, f"its input has {x.rank} dims; Core ML convolves over one to three spatial axes")
    declared = b.attr(op, "kernel_shape")
    if declared and tuple(declared) != tuple(w.shape[2:]):
        b.refuse(op, f"kernel_shape {tuple(declared)} is not that of its weights, {tuple(w.shape[2:])}")


def _transposed_window(b: Emitter, op: Op, kernel: Any) -> tuple[windows.Window, tuple[int, ...], tuple[int, ...]]:
    """The window without pads, and what to take off the full result at either end (negative: zeros to add)."""
    n = len(kernel)
    none = (0,) * n
    strides = tuple(b.attr(op, "strides") or (1,) * n)
    dilations = tuple(b.attr(op, "dilations") or (1,) * n)
    window = windows.Window(tuple(int(k) for k in kernel), strides, dilations, none, none)
    growth = tuple(b.attr(op, "output_padding") or none)
    mode = windows.text(b.attr(op, "auto_pad") or "NOTSET")
    shape = b.attr(op, "output_shape")
    if not shape and mode in ("NOTSET", "VALID"):
        begins, ends = windows.split_pads(b.attr(op, "pads") or none * 2) if mode == "NOTSET" else (none, none)
        return window, begins, tuple(pe - g for pe, g in zip(ends, growth, strict=True))
    sizes = windows.spatial_sizes(b, op)
    full = [s * (i - 1) + e for s, i, e in zip(strides, sizes, window.extents, strict=True)]
    # Some exporters write the whole output shape, batch and channels included; ONNX means the spatial axes.
    out = tuple(shape[-n:]) if shape else tuple(i * s for i, s in zip(sizes, strides, strict=True))
    total = [max(0, f + g - o) for f, g, o in zip(full, growth, out, strict=True)]
    begins, _ = windows.same_pads(total, upper=mode == "SAME_UPPER")
    return window, begins, tuple(f - p - o for f, p, o in zip(full, begins, out, strict=True))


def _fit(b: Emitter, y: Any, begins: tuple[int, ...], ends: tuple[int, ...], name: str | None) -> Any:
    """``y`` with zeros added and elements cut off at the ends of its spatial axes."""
    zeros = [max(0, -p) for pair in zip(begins, ends, strict=True) for p in pair]
    cuts = [max(0, p) for p in begins], [max(0, p) for p in ends]
    cropped = any(cuts[0]) or any(cuts[1])
    if any(zeros):
        pad = np.array([0, 0, 0, 0, *zeros], np.int32)
        y = b.mb.pad(x=y, pad=pad, mode="constant", constant_val=like(y, 0), **named(None if cropped else name))
    return windows.crop(b, y, *cuts, name=name) if cropped else y
