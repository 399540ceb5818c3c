"""Convolutions: ``conv``, ``conv_quantized`` and ``conv_transpose``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from coregraft.lowering.lift.operands import ints, known_sizes, same_pads, scalar, sizes, split_pairs
from coregraft.lowering.lift.registry import lifts

if TYPE_CHECKING:
    from coregraft.lowering.lift.lifter import Lifter
    from coregraft.lowering.lift.spec import MilOp


@lifts("conv")
def conv(l: Lifter, op: MilOp) -> None:
    """``Conv``; both have weights [C_out, C_in/groups, *kernel]."""
    _convolve(l, op, l.operand(op, "weight"), l.value(op, "bias"))


@lifts("conv_quantized")
def conv_quantized(l: Lifter, op: MilOp) -> None:
    """``Conv`` of ``weight * quant_scale + quant_bias``."""
    kind = scalar(l, op, "quantization_type")
    if kind != "linear":
        l.refuse(op, f"its quantization_type is {kind!r}, and no parameter of it holds a table")
    if scalar(l, op, "nbits", 8) != 8:
        l.refuse(op, "how its weights of less than 8 bits are packed is not documented")
    stored = np.asarray(l.need(op, "weight"))
    wide = stored.astype(np.float32)
    for name, combine in (("quant_scale", np.multiply), ("quant_bias", np.add)):
        factor = np.asarray(l.need(op, name)).astype(np.float32)
        wide = combine(wide, _per_filter(l, op, factor, name, wide.ndim))
    bias = None
    if "bias" in op.inputs:
        l.undefined(op, "whether its bias of uint8 is quantised like the weights is not documented; it is not")
        bias = l.literal(np.asarray(l.need(op, "bias")).astype(np.float32))
    _convolve(l, op, l.literal(wide), bias)


@lifts("conv_transpose")
def conv_transpose(l: Lifter, op: MilOp) -> None:
    """``ConvTranspose``; both have weights [C_in, C_out/groups, *kernel]."""
    kernel = _kernel(l, op)
    n = len(kernel)
    strides, dilations = ints(l, op, "strides", [1] * n), ints(l, op, "dilations", [1] * n)
    begin, end = _transposed_pads(l, op, kernel, strides, dilations)
    attrs = {
        "strides": tuple(strides),
        "dilations": tuple(dilations),
        "group": scalar(l, op, "groups", 1),
        "pads": (*begin, *(max(e, 0) for e in end)),
    }
    missing = [max(-e, 0) for e in end]
    if any(m >= max(s, d) for m, s, d in zip(missing, strides, dilations, strict=True)):
        l.refuse(op, f"its output_shape asks for {missing} more than it computes")
    if any(missing):
        attrs["output_padding"] = tuple(missing)
    inputs = [l.operand(op, "x"), l.operand(op, "weight"), l.value(op, "bias")]
    l.emit("ConvTranspose", inputs, attrs, [l.out(op)])


def _convolve(l: Lifter, op: MilOp, weight: str, bias: str | None) -> None:
    kernel = _kernel(l, op)
    n = len(kernel)
    strides, dilations = ints(l, op, "strides", [1] * n), ints(l, op, "dilations", [1] * n)
    attrs: dict[str, Any] = {
        "strides": tuple(strides),
        "dilations": tuple(dilations),
        "group": scalar(l, op, "groups", 1),
    }
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    attrs |= _pads(l, op, extents, strides)
    l.emit("Conv", [l.operand(op, "x"), weight, bias], attrs, [l.out(op)])


def _per_filter(l: Lifter, op: MilOp, values: Any, name: str, rank: int) -> Any:
    """Factors of the weights, one in all or one per output channel, so that they broadcast."""
    if values.size == 1:
        return values.reshape(())
    if values.ndim == 1:
        return values.reshape(-1, *[1] * (rank - 1))
    if values.ndim != rank:
        l.refuse(op, f"its {name} has the shape {list(values.shape)}")
    return values


def _kernel(l: Lifter, op: MilOp) -> list[int]:
    kernel = known_sizes(sizes(l, op, "weight")[2:])
    if kernel is None:
        l.refuse(op, "the size of its kernel is not fixed")
    return kernel


def _pads(l: Lifter, op: MilOp, extents: list[int], strides: list[int]) -> dict[str, Any]:
    """The attributes that say how the input is padded; kernels of ``extents``, dilation included."""
    kind = scalar(l, op, "pad_type", "valid")
    pad = ints(l, op, "pad", [0] * 2 * len(extents))
    if kind in ("valid", "custom"):
        if kind == "valid" and any(pad):
            l.undefined(op, f"pad_type is valid, but pad is {pad}; pad is ignored")
            pad = [0] * len(pad)
        if min(pad, default=0) < 0:
            l.refuse(op, f"its pad is negative: {pad}")
        begin, end = split_pairs(pad)
        return {"pads": (*begin, *end)}
    if kind not in ("same", "same_lower"):
        l.refuse(op, f"its pad_type is {kind!r}")
    # The documentation pads by extent - 1 whatever the stride, the smaller half last where that is odd.
    documented = [(e // 2, e // 2) if e % 2 else (e // 2, e // 2 - 1) for e in extents]
    spatial = known_sizes(sizes(l, op, "x")[2:])
    if spatial is not None:
        lower = kind == "same_lower"
        pairs = [same_pads(s, e, t, lower=lower) for s, e, t in zip(spatial, extents, strides, strict=True)]
        agrees = pairs == documented
        attrs: dict[str, Any] = {"pads": (*(b for b, _ in pairs), *(e for _, e in pairs))}
    else:
        agrees = all(e % 2 for e in extents) and set(strides) == {1}
        attrs = {"auto_pad": "SAME_LOWER" if kind == "same_lower" else "SAME_UPPER"}
    if not agrees:
        l.undefined(
            op,
            f"pad_type {kind}: the documented amounts {documented} are not those of the type inference; "
            "as little as is needed for ceil(size / stride) is padded, half on each side",
        )
    return attrs


def _transposed_pads(
    l: Lifter, op: MilOp, kernel: list[int], strides: list[int], dilations: list[int]
) -> tuple[list[int], list[int]]:
    """What is cut off the full result before and after; negative where the result is longer than computed."""
    n = len(kernel)
    kind = scalar(l, op, "pad_type", "valid")
    pad = ints(l, op, "pad", [0] * 2 * n)
    begin, end = split_pairs(pad) if kind == "custom" else ([0] * n, [0] * n)
    if kind == "valid" and any(pad):
        l.undefined(op, f"pad_type is valid, but pad is {pad}; pad is ignored")
    if min(begin + end, default=0) < 0:
        l.refuse(op, f"its pad is negative: {pad}")
    if kind not in ("valid", "custom", "same"):
        l.refuse(op, f"its pad_type is {kind!r}")
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    if "output_shape" in op.inputs:
        return _pads_for_shape(l, op, extents, strides, begin, end)
    if kind == "same":
        totals = [e - s for e, s in zip(extents, strides, strict=True)]
        if any(t % 2 or t < 0 for t in totals):
            l.undefined(op, "pad_type same: which side is cut more is not documented; the end is")
        begin = [max(t, 0) // 2 for t in totals]
        end = [t - b for t, b in zip(totals, begin, strict=True)]
    return begin, end


def _pads_for_shape(
    l: Lifter, op: MilOp, extents: list[int], strides: list[int], begin: list[int], end: list[int]
) -> tuple[list[int], list[int]]:
    """Pads that give the wanted ``output_shape``."""
    wanted = ints(l, op, "output_shape")[2:]
    spatial = known_sizes(sizes(l, op, "x")[2:])
    if spatial is None:
        l.refuse(op, "it has an output_shape, and the size of its input is not fixed")
    full = [(s - 1) * t + e for s, t, e in zip(spatial, strides, extents, strict=True)]
    excess = [f - w for f, w in zip(full, wanted, strict=True)]
    if scalar(l, op, "pad_type", "valid") == "same":
        if any(x % 2 or x < 0 for x in excess):
            l.undefined(op, "pad_type same: which side is cut more is not documented; the end is")
        begin = [max(x, 0) // 2 for x in excess]
    elif excess != [b + e for b, e in zip(begin, end, strict=True)]:
        l.undefined(op, f"output_shape {wanted} is not what its pads give; the end is cut or extended")
    return begin, [x - b for x, b in zip(excess, begin, strict=True)]
