"""Layers with windows: convolutions and pools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from coregraft.lowering.lift.nn.registry import layers
from coregraft.lowering.lift.operands import same_pads
from coregraft.rewriter.types import Const

if TYPE_CHECKING:
    from coregraft.lowering.lift.nn.network import Blob, Layer, Network

_POOLS = {"MAX": "max_pool", "AVERAGE": "avg_pool", "L2": "l2_pool"}
_WHOLE = {"MAX": "reduce_max", "AVERAGE": "reduce_mean", "L2": "reduce_l2_norm"}
_SPACE = ("Depth", "Height", "Width")


@layers("convolution")
def convolution(n: Network, layer: Layer) -> None:
    p = layer.params
    kernel, strides, dilations = (_pair(getattr(p, key), default) for key, default in
                                  (("kernelSize", 3), ("stride", 1), ("dilationFactor", 1)))  # fmt: skip
    groups, out = int(p.nGroups) or 1, int(p.outputChannels)
    weight: Any
    if len(layer.inputs) > 1:
        weight = n.x(layer, 1)
    else:
        shape = (int(p.kernelChannels), out // groups) if p.isDeconvolution else (out, int(p.kernelChannels))
        weight = n.weights(layer, p.weights, (*shape, *kernel))
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    x, lead = as_images(n, layer, n.x(layer))
    same = p.WhichOneof("ConvolutionPaddingType") == "same"
    if same and not p.isDeconvolution:
        pad = _same(n, layer, x, extents, strides, lower=bool(p.same.asymmetryMode))
    else:
        pad = [] if same else borders(p.valid.paddingAmounts)
    common = {"strides": strides, "dilations": dilations, "groups": groups}
    bias = n.weights(layer, p.bias, (out,)) if p.hasBias else None
    if p.isDeconvolution and max(dilations) > 1:
        n.undefined(layer, "dilation of a deconvolution is documented as ignored, and written all the same; it counts")
    _convolve(n, layer, x, lead, weight, bias, common, extents, pad, [int(d) for d in p.outputShape])


@layers("convolution3d")
def convolution3d(n: Network, layer: Layer) -> None:
    p = layer.params
    kernel, strides, dilations = ([int(getattr(p, f"{key}{axis}")) or 1 for axis in _SPACE] for key in
                                  ("kernel", "stride", "dilation"))  # fmt: skip
    groups, out, deep = int(p.nGroups) or 1, int(p.outputChannels), int(p.inputChannels)
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    x = n.x(layer)
    pad = _pads3d(n, layer, x, extents, strides, transposed=bool(p.isDeconvolution))
    common = {"strides": strides, "dilations": dilations, "groups": groups}
    bias = n.weights(layer, p.bias, (out,)) if p.hasBias else None
    shape = (deep, out // groups) if p.isDeconvolution else (out, deep // groups)
    weight = n.weights(layer, p.weights, (*shape, *kernel))
    _convolve(n, layer, x, None, weight, bias, common, extents, pad, [int(d) for d in p.outputShape])


def _convolve(
    n: Network, layer: Layer, x: Blob, lead: tuple[int, ...] | None, weight: Any, bias: Const | None,
    common: dict[str, Any], extents: list[int], pad: list[int], wanted: list[int],
) -> None:  # fmt: skip
    """Emit the op; ``pad`` is empty for the "same" of a deconvolution, ``wanted`` its output size if one is given."""
    if not layer.params.isDeconvolution:
        found = n.op(layer, "conv", x=x, weight=weight, bias=bias, pad_type="custom", pad=pad, **common)
        restored(n, layer, found, lead)
        return
    spatial = n.sizes(layer, x)[2:]
    full = [(size - 1) * s + e for size, s, e in zip(spatial, common["strides"], extents, strict=True)]
    if not pad and not wanted:
        wanted = [size * s for size, s in zip(spatial, common["strides"], strict=True)]
    totals = [b + e for b, e in zip(pad[::2], pad[1::2], strict=True)]
    if wanted and totals != [f - w for f, w in zip(full, wanted, strict=True)]:
        excess = [f - w for f, w in zip(full, wanted, strict=True)]
        if any(x % 2 or x < 0 for x in excess):
            n.undefined(layer, "which side of a deconvolution's result is cut more is not documented; the end is")
        pad = [v for x in excess for v in (max(x, 0) // 2, x - max(x, 0) // 2)]
    shape = None
    if min(pad) < 0:
        shape = [n.sizes(layer, x)[0], int(layer.params.outputChannels), *wanted]
        pad = [max(v, 0) for v in pad]
    found = n.op(layer, "conv_transpose", x=x, weight=weight, bias=bias, pad_type="custom", pad=pad,
                 output_shape=shape, **common)  # fmt: skip
    restored(n, layer, found, lead)


@layers("pooling")
def pooling(n: Network, layer: Layer) -> None:
    p = layer.params
    kind = p.PoolingType.Name(p.type)
    if p.globalPooling:
        n.give(layer, _WHOLE[kind], x=n.x(layer), axes=[-2, -1], keep_dims=True)
        return
    kernel, strides = _pair(p.kernelSize, 3), _pair(p.stride, 1)
    x, lead = as_images(n, layer, n.x(layer))
    padding = p.WhichOneof("PoolingPaddingType")
    options: dict[str, Any] = {"kernel_sizes": kernel, "strides": strides, "pad_type": "custom"}
    if padding == "same":
        options["pad"] = _same(n, layer, x, kernel, strides, lower=bool(p.same.asymmetryMode))
    elif padding == "includeLastPixel":
        amounts = _pair(p.includeLastPixel.paddingAmounts, 0)
        options |= {"pad": [v for v in amounts for _ in range(2)], "ceil_mode": True}
    else:
        options["pad"] = borders(p.valid.paddingAmounts)
    if kind == "AVERAGE":
        options["exclude_padding_from_average"] = bool(p.avgPoolExcludePadding)
    restored(n, layer, n.op(layer, _POOLS[kind], x=x, **options), lead)


@layers("pooling3d")
def pooling3d(n: Network, layer: Layer) -> None:
    p = layer.params
    kind = p.PoolingType3D.Name(p.type)
    kernel, strides = ([int(getattr(p, f"{key}{axis}")) or 1 for axis in _SPACE] for key in ("kernel", "stride"))
    x = n.x(layer)
    options: dict[str, Any] = {"kernel_sizes": kernel, "strides": strides, "pad_type": "custom"}
    options["pad"] = _pads3d(n, layer, x, kernel, strides, transposed=False)
    if kind == "AVERAGE":
        options["exclude_padding_from_average"] = bool(p.countExcludePadding)
    n.give(layer, _POOLS[kind], x=x, **options)


@layers("globalPooling3d")
def global_pooling3d(n: Network, layer: Layer) -> None:
    kind = layer.params.GlobalPoolingType3D.Name(layer.params.type)
    n.give(layer, _WHOLE[kind], x=n.x(layer), axes=[-3, -2, -1], keep_dims=True)


def as_images(n: Network, layer: Layer, x: Blob) -> tuple[Blob, tuple[int, ...] | None]:
    """A blob as rank 4, all dims before the last three as one; and those dims, or None when it has rank 4 as it is."""
    if n.rank(layer, x) == 4:
        return x, None
    sizes = n.sizes(layer, x)
    return n.op(layer, "reshape", x=x, shape=[-1, *sizes[-3:]]), sizes[:-3]


def restored(n: Network, layer: Layer, found: Blob, lead: tuple[int, ...] | None) -> None:
    """Give a blob of rank 4 as the layer's result, with the leading dims that :func:`as_images` took."""
    if lead is None:
        n.give(layer, "identity", x=found)
    else:
        n.give(layer, "reshape", x=found, shape=[*lead, *n.sizes(layer, found)[1:]])


def borders(amounts: Any) -> list[int]:
    """Top, bottom, left and right of a ``BorderAmounts`` message."""
    edges = amounts.borderAmounts
    return [int(v) for e in edges for v in (e.startEdgeSize, e.endEdgeSize)] if edges else [0, 0, 0, 0]


def _pair(values: Sequence[int], default: int) -> list[int]:
    return [int(v) for v in values] or [default, default]


def _same(
    n: Network, layer: Layer, x: Blob, extents: list[int], strides: list[int], *, lower: bool
) -> list[int]:
    spatial = n.sizes(layer, x)[2:]
    pairs = [same_pads(s, e, t, lower=lower) for s, e, t in zip(spatial, extents, strides, strict=True)]
    return [v for pair in pairs for v in pair]


def _pads3d(
    n: Network, layer: Layer, x: Blob, extents: list[int], strides: list[int], *, transposed: bool
) -> list[int]:
    p = layer.params
    field = p.DESCRIPTOR.fields_by_name["paddingType"]
    kind = field.enum_type.values_by_number[p.paddingType].name
    if kind == "SAME":
        return [] if transposed else _same(n, layer, x, extents, strides, lower=False)
    if kind == "VALID":
        return [0] * 6
    sides = ("Front", "Back", "Top", "Bottom", "Left", "Right")
    return [int(getattr(p, f"customPadding{side}")) for side in sides]
