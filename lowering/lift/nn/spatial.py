"""Layers that know channels, height and width: normalisations, padding, resizing and cropping."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from coregraft.lowering.lift.nn.registry import layers
from coregraft.lowering.lift.nn.windows import as_images, borders, restored

if TYPE_CHECKING:
    from coregraft.lowering.lift.nn.network import Layer, Network

_SAMPLING = {
    "STRICT_ALIGN_ENDPOINTS_MODE": "STRICT_ALIGN_CORNERS", "ALIGN_ENDPOINTS_MODE": "ALIGN_CORNERS",
    "UPSAMPLE_MODE": "DEFAULT", "ROI_ALIGN_MODE": "OFFSET_CORNERS",
}  # fmt: skip


@layers("batchnorm")
def batchnorm(n: Network, layer: Layer) -> None:
    """With given statistics, or those of each image."""
    p = layer.params
    if p.computeMeanVar and not p.instanceNormalization:
        n.refuse(layer, "it computes its statistics over the batch")
    x, lead = as_images(n, layer, n.x(layer))
    shape = (int(p.channels),)
    options: dict[str, Any] = {key: n.weights(layer, getattr(p, key), shape) for key in ("gamma", "beta")
                               if _is_there(getattr(p, key))}  # fmt: skip
    options["epsilon"] = np.float32(p.epsilon or 1e-5)
    if p.computeMeanVar:
        restored(n, layer, n.op(layer, "instance_norm", x=x, **options), lead)
        return
    options |= {key: n.weights(layer, getattr(p, key), shape) for key in ("mean", "variance")}
    restored(n, layer, n.op(layer, "batch_norm", x=x, **options), lead)


@layers("mvn")
def mvn(n: Network, layer: Layer) -> None:
    p, x = layer.params, n.x(layer)
    axes = [-3, -2, -1] if p.acrossChannels else [-2, -1]
    if not p.normalizeVariance:
        n.give(layer, "sub", x=x, y=n.op(layer, "reduce_mean", x=x, axes=axes, keep_dims=True))
        return
    n.undefined(layer, "where epsilon stands is not documented; it is added to the variance")
    n.give(layer, "layer_norm", x=x, axes=axes, epsilon=np.float32(p.epsilon or 1e-6))


@layers("layerNormalization")
def layer_normalization(n: Network, layer: Layer) -> None:
    p, x = layer.params, n.x(layer)
    shape = [int(d) for d in p.normalizedShape]
    rank = n.rank(layer, x)
    options = {key: n.weights(layer, getattr(p, key), shape) for key in ("gamma", "beta")}
    n.give(layer, "layer_norm", x=x, axes=list(range(rank - len(shape), rank)), epsilon=np.float32(p.eps), **options)


@layers("l2normalize")
def l2normalize(n: Network, layer: Layer) -> None:
    n.give(layer, "l2_norm", x=n.x(layer), epsilon=np.float32(layer.params.epsilon or 1e-6))


@layers("lrn")
def lrn(n: Network, layer: Layer) -> None:
    p = layer.params
    x, lead = as_images(n, layer, n.x(layer))
    options = {"alpha": np.float32(p.alpha), "beta": np.float32(p.beta), "k": np.float32(p.k or 1)}
    found = n.op(layer, "local_response_norm", x=x, size=int(p.localSize), **options)
    restored(n, layer, found, lead)


@layers("scale", "bias")
def scale(n: Network, layer: Layer) -> None:
    """A factor and an offset, each one for all, one per channel, or one per element."""
    p, found = layer.params, n.x(layer)
    if layer.kind == "scale":
        found = n.op(layer, "mul", x=found, y=_spread(n, layer, p.scale, p.shapeScale))
    if layer.kind == "bias" or p.hasBias:
        shape = p.shape if layer.kind == "bias" else p.shapeBias
        found = n.op(layer, "add", x=found, y=_spread(n, layer, p.bias, shape))
    n.give(layer, "identity", x=found)


@layers("padding")
def padding(n: Network, layer: Layer) -> None:
    p = layer.params
    kind = p.WhichOneof("PaddingType") or "constant"
    modes = {"constant": "constant", "reflection": "reflect", "replication": "replicate"}
    fill = np.float32(p.constant.value)
    n.give(layer, "pad", x=n.x(layer), pad=borders(p.paddingAmounts), mode=modes[kind], constant_val=fill)


@layers("constantPad")
def constant_pad(n: Network, layer: Layer) -> None:
    p = layer.params
    if p.padToGivenOutputSizeMode:
        n.refuse(layer, "it pads to a given size, and how is not documented")
    pad = n.integers(layer, n.x(layer, 1)) if len(layer.inputs) > 1 else [int(v) for v in p.padAmounts]
    n.give(layer, "pad", x=n.x(layer), pad=pad, mode="constant", constant_val=np.float32(p.value))


@layers("crop")
def crop(n: Network, layer: Layer) -> None:
    """By amounts, or to the size of a second input at an offset."""
    p, x = layer.params, n.x(layer)
    if len(layer.inputs) == 1:
        top, bottom, left, right = borders(p.cropAmounts)
    else:
        have, want = n.sizes(layer, x)[-2:], n.sizes(layer, n.x(layer, 1))[-2:]
        top, left = (int(v) for v in p.offset) if p.offset else (0, 0)
        bottom, right = have[0] - want[0] - top, have[1] - want[1] - left
    n.give(layer, "crop", x=x, crop_height=[top, bottom], crop_width=[left, right])


@layers("upsample")
def upsample(n: Network, layer: Layer) -> None:
    p, x = layer.params, n.x(layer)
    factors = list(p.fractionalScalingFactor) or [int(v) for v in p.scalingFactor] or [1, 1]
    options = {f"scale_factor_{axis}": np.float32(f) for axis, f in zip(("height", "width"), factors, strict=True)}
    mode = p.LinearUpsampleMode.Name(p.linearUpsampleMode)
    if p.InterpolationMode.Name(p.mode) == "NN":
        n.give(layer, "upsample_nearest_neighbor", x=x, **options)
    elif mode != "DEFAULT":
        n.give(layer, "upsample_bilinear", x=x, align_corners=mode == "ALIGN_CORNERS_TRUE", **options)
    else:
        height, width = n.sizes(layer, x)[-2:]
        n.give(layer, "resize_bilinear", x=x, target_size_height=int(height * factors[0]),
               target_size_width=int(width * factors[1]), sampling_mode="DEFAULT")  # fmt: skip


@layers("resizeBilinear")
def resize_bilinear(n: Network, layer: Layer) -> None:
    p = layer.params
    height, width = [int(v) for v in p.targetSize] or [1, 1]
    mode = _SAMPLING[p.mode.Method.Name(p.mode.samplingMethod)]
    n.give(layer, "resize_bilinear", x=n.x(layer), target_size_height=height, target_size_width=width,
           sampling_mode=mode)  # fmt: skip


@layers("cropResize")
def crop_resize(n: Network, layer: Layer) -> None:
    """Of [1, batch, C, H, W]."""
    p = layer.params
    height, width = [int(v) for v in p.targetSize] or [1, 1]
    images = n.op(layer, "squeeze", x=n.x(layer), axes=[0])
    n.give(
        layer, "crop_resize", x=images, roi=n.x(layer, 1), target_height=height, target_width=width,
        normalized_coordinates=bool(p.normalizedCoordinates), spatial_scale=np.float32(p.spatialScale or 1),
        box_coordinate_mode=p.boxIndicesMode.Coordinates.Name(p.boxIndicesMode.boxMode),
        sampling_mode=_SAMPLING[p.mode.Method.Name(p.mode.samplingMethod)],
    )  # fmt: skip


@layers("reorganizeData")
def reorganize_data(n: Network, layer: Layer) -> None:
    p = layer.params
    kind = p.ReorganizationType.Name(p.mode)
    x, lead = as_images(n, layer, n.x(layer))
    size = {"upscale_factor" if kind == "PIXEL_SHUFFLE" else "block_size": int(p.blockSize)}
    restored(n, layer, n.op(layer, kind.lower(), x=x, **size), lead)


def _is_there(message: Any) -> bool:
    return bool(message.floatValue or message.float16Value or message.rawValue)


def _spread(n: Network, layer: Layer, message: Any, shape: Any) -> Any:
    """Parameters of the shape [1], [C], [1, H, W] or [C, H, W] so that they broadcast."""
    sizes = [int(d) for d in shape]
    return n.weights(layer, message, sizes if len(sizes) != 1 else [sizes[0], 1, 1])
