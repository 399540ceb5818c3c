"""Attributes that became operands, and other changes of form that leave what is computed as it was."""

from __future__ import annotations

import numpy as np

from coregraft.passes.opset.edit import Edit, adapts
from coregraft.rewriter.types import DType

REDUCTIONS = ("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin",
              "ReduceProd", "ReduceSumSquare")  # fmt: skip


@adapts(13, "ReduceSum", "Squeeze", "Unsqueeze")
@adapts(18, *REDUCTIONS)
def axes(e: Edit) -> str | None:
    if e.op.attrs.get("axes") in (None, ()):  # an empty list says the same as none: all axes
        e.change(axes=None)
        return None
    e.change(inputs=[e.input(0), e.operand("axes")], axes=None)
    return "axes is an operand"


@adapts(13, "Split")
def split_sizes(e: Edit) -> str | None:
    if "split" not in e.op.attrs:
        return None
    e.change(inputs=[e.input(0), e.operand("split")], split=None)
    return "split is an operand"


@adapts(18, "Split")
def split_count(e: Edit) -> str | None:
    if e.input(1):
        return None
    e.change(num_outputs=len(e.op.outputs))
    return "num_outputs is written out"


@adapts(10, "Slice")
def slice_bounds(e: Edit) -> str:
    bounds = [e.operand(name) for name in ("starts", "ends", "axes")]
    e.change(inputs=[e.input(0), *bounds], starts=None, ends=None, axes=None)
    return "starts, ends and axes are operands"


@adapts(11, "Pad")
def pads(e: Edit) -> str:
    fill = e.like(e.operand("value"), 0)
    e.change(inputs=[e.input(0), e.operand("pads"), fill], pads=None, value=None)
    return "pads and value are operands"


@adapts(11, "Clip")
def clip_bounds(e: Edit) -> str:
    """An absent bound stays absent: its default was, and still is, the limit of the element type."""
    bounds = [e.like(e.operand(name), 0) for name in ("min", "max")]
    e.change(inputs=[e.input(0), *bounds], min=None, max=None)
    return "min and max are operands"


@adapts(10, "TopK")
def top_k(e: Edit) -> str:
    e.change(inputs=[e.input(0), e.ints([e.attr("k")])], k=None)
    return "k is an operand"


@adapts(12, "Dropout")
def dropout(e: Edit) -> str:
    """Dropout always was a copy outside of training. Its mask is an optional bool."""
    _drop_unread_mask(e)
    e.change(inputs=[e.input(0), e.like(e.operand("ratio"), 0)], ratio=None)
    return "ratio is an operand"


@adapts(10, "Dropout")
def dropout_mask(e: Edit) -> str | None:
    """Until opset 10 the mask had the element type of the data."""
    _drop_unread_mask(e)
    if len(e.op.outputs) < 2 or not e.op.outputs[1]:
        return None
    data, (output, mask) = e.input(0), e.op.outputs
    inner = e.rw.graph.fresh_name(f"{mask}/bool")
    e.rw.update(e.op_id, outputs=[output, inner])
    e.rw.set_type(inner, None)
    e.rw.insert("CastLike", [inner, data], outputs=[mask])
    return "the mask is a bool"


def _drop_unread_mask(e: Edit) -> None:
    """Models from before opset 12 list a mask that nobody reads, and runtimes differ in what they put there."""
    g, outputs = e.rw.graph, e.op.outputs
    if len(outputs) > 1 and outputs[1] and not g.users(outputs[1]) and not g.public_names(outputs[1]):
        e.rw.update(e.op_id, outputs=outputs[:1])


@adapts(20, "DFT")
def dft_axis(e: Edit) -> str:
    axis = e.attr("axis", 1)
    e.change(inputs=[e.input(0), e.input(1), e.ints(axis)], axis=None)
    return "axis is an operand"


@adapts(11, "Scatter")
def scatter(e: Edit) -> str:
    e.change(type="ScatterElements")
    return "became ScatterElements"


@adapts(13, "Erf")
def erf(e: Edit) -> None:
    kind = e.type(0)
    if kind is not None and kind.dtype is not DType.UNDEFINED and not kind.dtype.is_float:
        e.refuse(f"Erf of {kind.dtype.name.lower()} was dropped from ONNX", "Cast the operand to float.")


@adapts(20, "GridSample")
def grid_sample(e: Edit) -> str | None:
    """Only the names of the modes changed; so did the default's."""
    mode = {"bilinear": "linear", "bicubic": "cubic"}.get(e.attr("mode", "bilinear"))
    if mode is None:
        return None
    e.change(mode=mode)
    return f"mode is called {mode}"


@adapts(16, "RoiAlign")
def roi_align(e: Edit) -> str | None:
    """The default of the new attribute is not what the op did before."""
    if e.attr("coordinate_transformation_mode") is not None:
        return None
    e.change(coordinate_transformation_mode="output_half_pixel")
    return "coordinate_transformation_mode=output_half_pixel is written out"


@adapts(9, "Upsample")
def upsample_scales(e: Edit) -> str:
    scales = e.rw.const(np.array(e.attr("scales"), np.float32))
    e.change(inputs=[e.input(0), scales], scales=None)
    return "scales is an operand"
