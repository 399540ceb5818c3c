"""onnxruntime's QLinearConv as ONNX's, with channels first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.passes.contrib._base import Contrib, channels_first, channels_last, ms
from coregraft.passes.decompose._base import need
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView

_CONV = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")


@dataclass(frozen=True)
class UnfuseQlinearConv(Contrib):
    """Write onnxruntime's QLinearConv, which may have its channels last, as ONNX's.

    What it does
    ------------
    The operands and attributes stay; with ``channels_last`` the input is transposed before and the result after it.

    Why it matters
    --------------
    Core ML has no such op; onnxruntime's optimizer makes one of every quantised convolution.

    Example
    -------
    ``y = com.microsoft.QLinearConv <channels_last = 1> (x, …)`` becomes ``y = Transpose(QLinearConv(Transpose(x),
    …))``.

    Equivalence
    -----------
    Bit-exact: the same integers in another layout.

    Sources
    -------
    H1.16; onnxruntime operator schema QLinearConv-1.
    """

    code: ClassVar[str] = "CG116"
    equivalence: ClassVar[Equivalence] = Equivalence.BIT_EXACT
    roots: ClassVar[tuple[str, ...]] = ms("QLinearConv")
    defaults: ClassVar[Mapping[str, Any]] = {**dict.fromkeys(_CONV), "channels_last": 0}

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x, last = need(node, 0), bool(self.get(node, "channels_last"))
        if last and x.rank is None:
            return NoMatch("the rank of its input is not known")
        y = op.QLinearConv(channels_first(op, x) if last else x, *node.inputs[1:], **self.kept(node, *_CONV))
        return channels_last(op, y) if last else y
