"""Ops of onnxruntime's domain that ONNX has too, by now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.contrib._base import Contrib, flat, ms
from coregraft.passes.decompose._base import constant, ints, need, operand
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView

_MODES = {"bilinear": "linear", "bicubic": "cubic", "nearest": "nearest"}


@dataclass(frozen=True)
class RenameContribOps(Contrib):
    """Use ONNX's own op where onnxruntime's only has another name or form.

    What it does
    ------------
    Trilu, Pad, GridSample, GatherND, Range, QuantizeLinear and DequantizeLinear of the domain ``com.microsoft``
    become those of ai.onnx: pads of shape [1, 2n] a vector, modes of GridSample their new names, the step of Range 1
    where it is left out, scales of one element scalars. ExpandDims with a constant axis becomes Unsqueeze, SampleOp
    Identity.

    Why it matters
    --------------
    Every later pass and emitter knows ONNX's op only.

    Example
    -------
    ``y = com.microsoft.ExpandDims(x, 1)`` becomes ``y = Unsqueeze(x, [1])``.

    Equivalence
    -----------
    Reassociating: the interpolation of GridSample may be summed in another order; the others are the same.

    Sources
    -------
    H4.26; onnxruntime operator schemas Trilu-1, Pad-1, GridSample-1, GatherND-1, Range-1, ExpandDims-1, SampleOp-1,
    QuantizeLinear-1, DequantizeLinear-1.
    """

    code: ClassVar[str] = "CG426"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ms(
        *("Trilu", "Pad", "GridSample", "GatherND", "Range", "QuantizeLinear", "DequantizeLinear"),
        *("ExpandDims", "SampleOp"),
    )
    defaults: ClassVar[Mapping[str, Any]] = {
        "upper": 1,
        "mode": None,
        "align_corners": 0,
        "padding_mode": "zeros",
        "axis": None,
    }

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x = need(node, 0)
        if node.type == "SampleOp":
            return op.Identity(x)
        if node.type == "Trilu":
            return op.Trilu(x, operand(node, 1), upper=self.get(node, "upper"))
        if node.type == "GatherND":
            return op.GatherND(x, op.Cast(need(node, 1), to=7))
        if node.type == "GridSample":
            kept = {"align_corners": self.get(node, "align_corners"), "padding_mode": self.get(node, "padding_mode")}
            mode = _MODES.get(self.get(node, "mode") or "bilinear")
            return op.GridSample(x, need(node, 1), mode=mode, **kept) if mode else NoMatch("its mode is not known")
        if node.type == "Range":
            step = operand(node, 2)
            step = op.const(np.array(1, x.dtype.numpy)) if step is None and x.dtype else step
            return op.Range(*(flat(op, v) for v in (x, need(node, 1), step) if v is not None))
        if node.type == "ExpandDims":
            axis = constant(node, 1)
            return NoMatch("its axis is computed at run time") if axis is None else op.Unsqueeze(x, ints(op, axis))
        if node.type == "Pad":
            value = operand(node, 2)
            pads = op.Reshape(need(node, 1), ints(op, [-1]))
            fill = None if value is None else flat(op, value)
            return op.Pad(x, pads, fill, mode=self.get(node, "mode") or "constant")
        zero, axis = operand(node, 2), self.get(node, "axis")
        given = {} if axis is None else {"axis": axis}
        scales = [flat(op, need(node, 1)), None if zero is None else flat(op, zero)]
        return getattr(op, node.type)(x, *scales, **given)
