"""Ops whose meaning changed: softmax over flattened axes, normalizations, resampling, batched scans."""

from __future__ import annotations

import numpy as np

from coregraft.passes.opset.edit import Edit, adapts
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.opset import INTERNAL_OPSET
from coregraft.rewriter.types import TensorType


@adapts(13, "Softmax", "LogSoftmax", "Hardmax")
def softmax(e: Edit) -> str:
    """Before opset 13 the operand was flattened to two dims at ``axis``, and all of the second was normalized over."""
    axis: int = e.attr("axis", 1)
    single = _single_axis(e.type(0), axis)
    if single is not None:
        e.change(axis=single)
        return f"axis={single} is written out"
    kind, data = e.op.type, e.input(0)

    def build() -> str:
        flat = e.insert("Flatten", [data], axis=axis)
        result = e.insert(kind, [flat], axis=-1)
        return e.insert("Reshape", [result, e.insert("Shape", [data])])

    e.replace(build)
    return f"flattened at axis {axis} explicitly"


def _single_axis(kind: TensorType | None, axis: int) -> int | None:
    """The one axis that normalizing over ``shape[axis:]`` comes to, when all others there are 1 long."""
    if axis == -1:
        return -1
    if kind is None or kind.shape is None:
        return None
    first = axis % len(kind.shape) if kind.shape else 0
    if axis >= len(kind.shape):
        return None
    wide = [i for i in range(first, len(kind.shape)) if kind.shape[i] != 1]
    return (wide or [first])[0] if len(wide) <= 1 else None


@adapts(9, "BatchNormalization")
def batch_norm_spatial(e: Edit) -> str | None:
    """``spatial=0`` normalized every activation by itself, with statistics of the shape of a sample."""
    spatial = e.attr("spatial")
    if spatial == 0 and not _is_vector(e.type(1)):
        return _by_activation(e)
    e.change(spatial=None)
    return None if spatial is None else "spatial is dropped"


def _by_activation(e: Edit) -> str:
    """``x * factor + offset`` of what the statistics, in the shape of a sample, say."""
    if e.type(1) is None or any(e.op.outputs[1:]):
        e.refuse("spatial=0 keeps statistics per activation, of unknown shape or of its batch (training mode)")
    x, scale, bias, mean, var = e.op.inputs
    epsilon = e.like(e.rw.const(np.array(e.attr("epsilon", 1e-5), np.float32)), 4)

    def build() -> str:
        deviation = e.insert("Sqrt", [e.insert("Add", [var, epsilon])])
        factor = e.insert("Mul", [scale, e.insert("Reciprocal", [deviation])])
        offset = e.insert("Sub", [bias, e.insert("Mul", [mean, factor])])
        return e.insert("Add", [e.insert("Mul", [x, factor]), offset])

    e.replace(build)
    return "spatial=0, statistics per activation, is written out"


def _is_vector(kind: TensorType | None) -> bool:
    return kind is not None and kind.rank == 1


@adapts(14, "BatchNormalization")
def batch_norm_mode(e: Edit) -> str | None:
    """More than one result used to say that the model trains."""
    outputs = e.op.outputs
    used = [o for o in outputs[1:] if o and (e.rw.graph.users(o) or e.rw.graph.public_names(o))]
    if used:
        e.refuse("it was exported in training mode", "Export the model in evaluation mode.")
    if len(outputs) == 1:
        return None
    e.rw.update(e.op_id, outputs=outputs[:1])
    return "unused training results are dropped"


@adapts(21, "GroupNormalization")
def group_norm(e: Edit) -> str:
    """Scale and bias used to be per group."""
    groups: int = e.attr("num_groups")
    kind = e.type(0)
    channels = kind.shape[1] if kind is not None and kind.shape is not None and len(kind.shape) > 1 else None
    arrays = e.array(1), e.array(2)
    if isinstance(channels, int) and arrays[0] is not None and arrays[1] is not None:
        wide = [e.rw.const(np.repeat(a, channels // groups)) for a in arrays if a is not None]
    else:
        count = e.insert("Div", [e.insert("Shape", [e.input(0)], start=1, end=2), e.ints([groups])])
        shape = e.insert("Concat", [e.ints([groups]), count], axis=0)
        columns = [e.insert("Unsqueeze", [e.input(i), e.ints([1])]) for i in (1, 2)]
        wide = [e.insert("Reshape", [e.insert("Expand", [c, shape]), e.ints([-1])]) for c in columns]
    e.change(inputs=[e.input(0), *wide])
    return "scale and bias are per channel"


# ---------------------------------------------------------------- resampling


@adapts(10, "Upsample")
def upsample(e: Edit) -> str:
    """Upsample has asymmetric coordinates, and only ever enlarges."""
    _write_out(e, e.input(0), e.input(1), "floor")
    return "became Resize"


@adapts(11, "Resize")
def resize_coordinates(e: Edit) -> str | None:
    """Before opset 11 the coordinates were ``asymmetric``. Nearest picked the element before when enlarging, and the
    one after when shrinking: that is what onnxruntime computes, the text of ONNX leaves it open."""
    if e.attr("coordinate_transformation_mode") is not None:
        return None  # an Upsample until now
    data, scales, values = e.input(0), e.input(1), e.array(1)
    if e.attr("mode", "nearest") != "nearest" or (values is not None and (values >= 1).all()):
        _write_out(e, data, scales, "floor")
        return "asymmetric coordinates are written out"
    if values is not None and (values <= 1).all():
        _write_out(e, data, scales, "ceil")
        return "asymmetric coordinates and rounding up are written out"
    one = e.rw.const(np.array([1], np.float32))
    larger = e.insert("Resize", [data, "", e.insert("Max", [scales, one])], mode="nearest",
                      coordinate_transformation_mode="asymmetric", nearest_mode="floor")  # fmt: skip
    before, after = e.type(0), e.rw.graph.tensor_type(e.op.outputs[0])
    if before is not None and after is not None and before.static_shape and after.static_shape:
        sizes = tuple(map(max, before.static_shape, after.static_shape))
        e.rw.set_type(larger, TensorType(before.dtype, sizes))
    _write_out(e, larger, e.insert("Min", [scales, one]), "ceil")
    return "enlarging and shrinking are two steps"


def _write_out(e: Edit, data: str, scales: str, rounding: str) -> None:
    nearest = rounding if e.attr("mode", "nearest") == "nearest" else None
    inputs = [data, "", scales]
    e.change(type="Resize", inputs=inputs, coordinate_transformation_mode="asymmetric", nearest_mode=nearest)


@adapts(13, "Resize")
def resize_operands(e: Edit) -> str | None:
    """Operands that are not used may be omitted now. The coordinates of ``tf_half_pixel_for_nn`` are gone, and stay:
    no others round alike where an element lies on a boundary, and onnxruntime has them in every version."""
    notes = []
    inputs = [e.input(i) for i in range(4)]
    if inputs[1] and e.attr("coordinate_transformation_mode") != "tf_crop_and_resize":
        inputs[1] = ""
        notes.append("roi is not read")
    scales = e.array(2)
    if inputs[3] and inputs[2] and (scales is None or scales.size == 0):
        inputs[2] = ""
        notes.append("scales is empty")
    if notes:
        e.change(inputs=inputs)
    return ", ".join(notes) or None


# ---------------------------------------------------------------- control flow


@adapts(9, "Scan")
def scan_batches(e: Edit) -> str:
    """Scan used to run once a sample. It still does: as a Scan over the batch, around the Scan over the sequence."""
    op = e.op
    if e.input(0):
        e.refuse("sequences of several lengths (sequence_lens)")
    body: Graph = op.attrs["body"]
    scans: int = op.attrs["num_scan_inputs"]
    operands = op.inputs[1:]
    inner = Graph()
    inner.name = f"{body.name}_sample"
    inputs = [e.rw.graph.fresh_name(f"{name}/sample") for name in operands]
    for sample, name in zip(inputs, operands, strict=True):
        inner.add_input(sample, _sample(e, name))
    outputs = [f"{o}/sample" if o else inner.fresh_name("unused/sample") for o in op.outputs]
    attrs = {"body": body, "num_scan_inputs": scans, "scan_input_directions": op.attrs.get("directions")}
    captures = tuple(body.free_values())
    inner.add_op(Op("Scan", tuple(inputs), tuple(outputs), {k: v for k, v in attrs.items() if v is not None},
                    name=op.name and f"{op.name}/sample", captures=captures))  # fmt: skip
    inner.set_outputs(outputs)
    inner.set_opsets({"": INTERNAL_OPSET})  # unlike the sequence's body inside it
    e.change(inputs=operands, body=inner, num_scan_inputs=len(operands), directions=None)
    return "the batch is a Scan around the sequence's"


def _sample(e: Edit, value: str) -> TensorType:
    kind = e.type(e.op.inputs.index(value))
    if kind is None:
        e.refuse(f'the type of "{value}" is unknown')
    return TensorType(kind.dtype, None if not kind.shape else kind.shape[1:])
