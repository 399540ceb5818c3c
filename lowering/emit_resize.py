"""Resize and GridSample: the rows of ONNX's option space on which MIL's resampling ops are the same function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from coregraft.lowering.registry import lower
from coregraft.lowering.shaping import to_shape
from coregraft.lowering.sizes import is_known
from coregraft.lowering.vars import cast, is_float, like, named
from coregraft.lowering.windows import text
from coregraft.passes.decompose._resample import Axis, Mode, axes_of, nearest
from coregraft.rewriter.graph import Op
from coregraft.rewriter.types import Array

if TYPE_CHECKING:
    from coregraft.lowering.emitter import Emitter

#: ``sampling_mode`` of ``resize_bilinear`` by ONNX's coordinate mode, where out = in * scale exactly (H4.12).
_SAMPLING = {
    "half_pixel": "UNALIGN_CORNERS",
    "half_pixel_symmetric": "UNALIGN_CORNERS",
    "pytorch_half_pixel": "UNALIGN_CORNERS",
    "align_corners": "STRICT_ALIGN_CORNERS",
    "asymmetric": "DEFAULT",
}
_MATRIX = "run the pass that writes it as products with constant matrices"
#: ``padding_mode`` of ``resample`` by ONNX's and ``align_corners``. ONNX mirrors at the edge of the image, which is
#: the centre of the last pixel when corners are aligned, and half a pixel beyond it when they are not.
_PADDING = {
    ("zeros", False): "constant",
    ("zeros", True): "constant",
    ("border", False): "border",
    ("border", True): "border",
    ("reflection", False): "symmetric",
    ("reflection", True): "reflection",
}


@lower(
    "Resize",
    attrs="antialias axes coordinate_transformation_mode cubic_coeff_a exclude_outside extrapolation_value "
    "keep_aspect_ratio_policy mode nearest_mode",
)
def resize(b: Emitter, op: Op) -> Any:
    """``resize_bilinear`` where MIL's grid is ONNX's; nearest as a repetition, or as a gather of constant indices."""
    x = b.var(op.inputs[0])
    axes = _axes(b, op)
    mode = text(b.attr(op, "mode"))
    coordinates = text(b.attr(op, "coordinate_transformation_mode"))
    if not axes:
        return b.mb.identity(x=x, name=b.name(op))
    if mode != "nearest" and not is_float(x):
        b.refuse(op, "how integers are rounded after interpolation is left open by ONNX", "cast to float before it")
    if coordinates == "tf_crop_and_resize":
        b.refuse(op, "it crops while it resizes (tf_crop_and_resize)", _MATRIX)
    if mode == "nearest":
        return _nearest(b, op, x, axes, coordinates)
    if mode != "linear":
        b.refuse(op, f"Core ML has no {mode} interpolation", _MATRIX)
    # exclude_outside says nothing here: a sample outside has the value of the edge, which takes over its weight.
    if b.attr(op, "antialias") and min(axis.scale for axis in axes) < 1:
        b.refuse(op, "Core ML's resize does not filter against aliasing", _MATRIX)
    return _linear(b, op, x, axes, coordinates)


@lower("GridSample", attrs="align_corners mode padding_mode", formats=("mlprogram",))
def grid_sample(b: Emitter, op: Op) -> Any:
    """``resample`` on two spatial axes, whose coordinates are ONNX's: x first, -1 to 1.

    Nearest is bilinear at coordinates that are rounded here, half to even: how MIL's own rounds is not documented.
    """
    mode = text(b.attr(op, "mode"))
    aligned = bool(b.attr(op, "align_corners"))
    padding = text(b.attr(op, "padding_mode"))
    x, grid = b.var(op.inputs[0]), b.var(op.inputs[1])
    if x.rank != 4:
        b.refuse(op, f"Core ML resamples two spatial axes, not {x.rank - 2}")
    if mode not in ("linear", "nearest"):
        b.refuse(op, f"Core ML's resample has no {mode} interpolation")
    if mode == "nearest" and padding == "reflection":
        b.refuse(op, "it rounds coordinates after reflecting them, which Core ML's resample does not")
    grid = cast(b, grid, np.float32)
    if mode == "nearest":
        grid = _rounded_pixels(b, grid, b.known_sizes(op.inputs[0], [3, 2]), aligned)
    return b.mb.resample(
        x=x,
        coordinates=grid,
        sampling_mode="bilinear",
        padding_mode=_PADDING[padding, aligned],
        padding_value=like(x, 0),
        coordinates_mode="normalized_minus_one_to_one" if mode == "linear" else "unnormalized",
        align_corners=aligned,
        name=b.name(op),
    )


def _rounded_pixels(b: Emitter, grid: Any, sizes: Sequence[int], aligned: bool) -> Any:
    """Coordinates from -1 to 1 as whole pixels; ``sizes`` are those of x and y, and the steps are onnxruntime's."""
    n = np.array(sizes, np.float32)
    shifted = b.mb.add(x=grid, y=np.float32(1))
    if aligned:
        pixels = b.mb.mul(x=b.mb.mul(x=shifted, y=np.float32(0.5)), y=n - 1)
    else:
        pixels = b.mb.mul(x=b.mb.sub(x=b.mb.mul(x=shifted, y=n), y=np.float32(1)), y=np.float32(0.5))
    return b.mb.round(x=pixels)


def _axes(b: Emitter, op: Op) -> list[Axis]:
    """The axes that the op changes, sizes and scales by ONNX's rules for ``scales``, ``sizes`` and ``axes``."""
    shape = [size if is_known(size) else None for size in b.sizes(op.inputs[0])]
    chosen = [axis % len(shape) for axis in b.attr(op, "axes") or range(len(shape))]
    scales = b.need_const(op, 2, "the scales of a Resize")
    sizes = b.need_const(op, 3, "the sizes of a Resize")
    found = axes_of(shape, chosen, scales, sizes, text(b.attr(op, "keep_aspect_ratio_policy")), None)
    if isinstance(found, str):
        b.refuse(op, found)
    return sorted((axis for axis in found if axis.size != axis.out or axis.scale != 1), key=lambda axis: axis.index)


def _linear(b: Emitter, op: Op, x: Any, axes: Sequence[Axis], coordinates: str) -> Any:
    rank = x.rank
    lead = 4 if rank == 3 else rank
    if rank < 3 or axes[0].index < (2 if rank == 3 else rank - 2):
        b.refuse(op, "Core ML interpolates over the last two axes only", _MATRIX)
    if any(abs(axis.size * axis.scale - axis.out) > 1e-6 * axis.out for axis in axes):
        b.refuse(op, "size times scale is not a whole number, and Core ML works with the ratio of the sizes", _MATRIX)
    if coordinates not in _SAMPLING:
        b.refuse(op, f"Core ML has no {coordinates} coordinates", _MATRIX)
    sampling = _SAMPLING[coordinates]
    collapsed = [axis.out == 1 for axis in axes]
    if coordinates == "pytorch_half_pixel" and any(collapsed):
        if not all(collapsed):
            b.refuse(op, "one axis shrinks to a single pixel and another does not, under pytorch_half_pixel", _MATRIX)
        sampling = "STRICT_ALIGN_CORNERS"  # reads pixel 0, as ONNX defines it for a single pixel
    shape = b.sizes(op.inputs[0])
    out = {axis.index: axis.out for axis in axes}
    wide = to_shape(b, x, [*shape[:2], 1, shape[2]]) if lead != rank else x
    height = 1 if lead != rank else out.get(rank - 2) or b.known_sizes(op.inputs[0], [rank - 2])[0]
    width = out.get(rank - 1) or b.known_sizes(op.inputs[0], [rank - 1])[0]
    name = named(b.name(op) if lead == rank else None)
    if sampling == "UNALIGN_CORNERS" and b.target.format == "neuralnetwork":
        y = b.mb.upsample_bilinear(x=wide, **_whole_factors(b, op, axes, rank), align_corners=False, **name)
    else:
        y = b.mb.resize_bilinear(
            x=wide, target_size_height=height, target_size_width=width, sampling_mode=sampling, **name
        )
    return y if lead == rank else to_shape(b, y, [*shape[:2], axes[0].out], b.name(op))


def _whole_factors(b: Emitter, op: Op, axes: Sequence[Axis], rank: int) -> dict[str, int]:
    """Scale factors for ``upsample_bilinear``: a neuralnetwork's ``resize_bilinear`` has no half-pixel grid."""
    if any(axis.out % axis.size for axis in axes):
        b.refuse(op, "a neuralnetwork has the half-pixel grid for whole factors only", "use --format mlprogram")
    factors = {axis.index: axis.out // axis.size for axis in axes}
    height = factors.get(rank - 2, 1) if rank > 3 else 1
    return {"scale_factor_height": height, "scale_factor_width": factors.get(rank - 1, 1)}


def _nearest(b: Emitter, op: Op, x: Any, axes: Sequence[Axis], coordinates: str) -> Any:
    mode = Mode("nearest", coordinates, text(b.attr(op, "nearest_mode")), 0.0, exclude_outside=False, antialias=False)
    picks = [nearest(axis, mode).astype(np.int32) for axis in axes]
    factors = {axis.index: _repetition(axis, pick) for axis, pick in zip(axes, picks, strict=True)}
    if x.rank in (4, 5) and axes[0].index >= x.rank - 2 and all(factors.values()) and is_float(x):
        return b.mb.upsample_nearest_neighbor(
            x=x,
            scale_factor_height=factors.get(x.rank - 2, 1),
            scale_factor_width=factors.get(x.rank - 1, 1),
            name=b.name(op),
        )
    for i, (axis, pick) in enumerate(zip(axes, picks, strict=True)):
        x = b.mb.gather(x=x, indices=pick, axis=axis.index, **named(b.name(op) if i == len(axes) - 1 else None))
    return x


def _repetition(axis: Axis, pick: Array) -> int:
    """How often every element is repeated, if that is all there is to it; else 0."""
    factor = axis.out // axis.size
    return factor if factor and np.array_equal(pick, np.arange(axis.size, dtype=np.int32).repeat(factor)) else 0
