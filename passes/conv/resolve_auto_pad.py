"""CG104: padding in plain, non-negative numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.passes.conv.emit import crop_negative_pads
from coregraft.passes.conv.geometry import text, window_axes
from coregraft.rewriter.passes import BIT_EXACT, NoMatch, OpBuilder, OpView, Rewriter, Rule

#: Where the weight is among the operands; None for the pools, which have ``kernel_shape``.
_WEIGHT = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3, "AveragePool": None, "LpPool": None, "MaxPool": None}
#: Padding of these is zeros, and a negative pad a crop; for a pool ONNX gives it no meaning.
_CROPPED = ("Conv",)


@dataclass(frozen=True)
class ResolveAutoPad(Rule):
    """Write padding as explicit numbers: ``auto_pad`` resolved, negative pads as a Slice.

    What it does
    ------------
    Replaces ``auto_pad`` of Conv, ConvInteger, QLinearConv, AveragePool, LpPool and MaxPool by the ``pads`` it stands
    for: VALID always, SAME_UPPER and SAME_LOWER where the input length is known or the stride is 1. Beside SAME a
    pool's ``ceil_mode`` has no effect, and goes with it; a pool with dilation or with a stride above its kernel is
    left alone, since ONNX and onnxruntime then disagree about SAME. Negative pads of a Conv become a Slice before it.
    ConvTranspose has a pass of its own, ``canonical-conv-transpose``.

    Why it matters
    --------------
    ``same_lower`` exists only from iOS 16 on, Core ML and ONNX disagree about where the odd element of ``same`` goes,
    and negative pads pass through the converter into a model whose result is undefined.

    Example
    -------
    Before::

        y = Conv(x, w, auto_pad="SAME_LOWER", kernel_shape=[3], strides=[2])

    After, for ``x: float[1,4,10]``::

        y = Conv(x, w, kernel_shape=[3], pads=[1, 0], strides=[2])

    Equivalence
    -----------
    Bit-exact: the same windows.

    Sources
    -------
    Hazard catalogue H1.04; ONNX Conv-22 and MaxPool-22.
    """

    code: ClassVar[str] = "CG104"
    equivalence: ClassVar = BIT_EXACT
    roots: ClassVar[tuple[str, ...]] = tuple(_WEIGHT)

    def match_and_rewrite(self, op_id: int, rw: Rewriter) -> bool | NoMatch:
        node = OpView(rw.graph, op_id)
        attrs = node.attrs
        pads = attrs.get("pads", ())
        mode = text(node.attr("auto_pad"))
        if mode == "NOTSET":
            return self._crop(op_id, node, rw) if min(pads, default=0) < 0 else NoMatch("the pads are explicit")
        x = node.inputs[0]
        kernel = _kernel(node)
        if x is None or x.shape is None or kernel is None or len(x.shape) != len(kernel) + 2:
            return NoMatch("the ranks of input and kernel are not known")
        axes = window_axes(attrs, x.shape[2:], kernel)
        if axes is None:
            return NoMatch("an input length is not known, and the padding depends on it")
        if mode != "VALID" and _WEIGHT[node.type] is None and any(a.dilation > 1 or a.kernel < a.stride for a in axes):
            return NoMatch("what {} means is disputed for a pool with dilation, or with gaps between windows", mode)
        explicit = (*(a.begin for a in axes), *(a.end for a in axes))
        ceil = attrs.get("ceil_mode") if mode == "VALID" else None
        rw.update(op_id, attrs={**attrs, "auto_pad": None, "ceil_mode": ceil, "pads": explicit})
        return True

    def _crop(self, op_id: int, node: OpView, rw: Rewriter) -> bool | NoMatch:
        if node.type not in _CROPPED:
            return NoMatch("negative pads have no meaning for {}", node.type)
        pads = node.attrs["pads"]
        half = len(pads) // 2
        x = crop_negative_pads(OpBuilder(rw), node.inputs[0], pads[:half], pads[half:])
        rw.update(op_id, inputs=[x, *node.inputs[1:]], attrs={**node.attrs, "pads": tuple(max(0, p) for p in pads)})
        return True


def _kernel(node: OpView) -> tuple[int, ...] | None:
    declared: Any = node.attr("kernel_shape")
    at = _WEIGHT[node.type]
    if declared or at is None:
        return tuple(declared) if declared else None
    weight = node.inputs[at]
    shape = None if weight is None else weight.static_shape
    return None if shape is None else shape[2:]
