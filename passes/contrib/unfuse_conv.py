"""FusedConv and the convolutions with channels last as Conv, Add and an activation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.passes.contrib._activation import PARAMETERS, activated
from coregraft.passes.contrib._base import Contrib, channels_first, channels_last, ms
from coregraft.passes.decompose._base import need, operand
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView

_CONV = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")


@dataclass(frozen=True)
class UnfuseConv(Contrib):
    """Write onnxruntime's fused convolutions as Conv, Add and an activation.

    What it does
    ------------
    FusedConv becomes a Conv with the same attributes, the Add of its operand ``Z`` and its activation (Relu, Tanh,
    Sigmoid, HardSwish, LeakyRelu, Clip, HardSigmoid, with their parameters). NhwcConv and NhwcFusedConv get a
    Transpose before and after, of ``Z`` too. The weights of NhwcConv have their channels last, which is how kernels
    read them and onnxruntime's optimizer writes them, unless their shape only fits the layout of its documentation.

    Why it matters
    --------------
    Core ML knows no fused convolution of onnxruntime's; models saved by its optimizer are full of them.

    Example
    -------
    ``y = com.microsoft.FusedConv <activation = "Relu"> (x, w, b)`` becomes ``y = Relu(Conv(x, w, b))``.

    Equivalence
    -----------
    Reassociating: the fused kernel adds ``Z`` before the products are summed.

    Sources
    -------
    H4.26; onnxruntime operator schemas FusedConv-1, NhwcConv-1, NhwcFusedConv-1.
    """

    code: ClassVar[str] = "CG426"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ms("FusedConv", "NhwcConv", "NhwcFusedConv")
    defaults: ClassVar[Mapping[str, Any]] = {"activation": "", "activation_params": (), **dict.fromkeys(_CONV)}

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x, w, b, z = need(node, 0), need(node, 1), operand(node, 2), operand(node, 3)
        last = node.type.startswith("Nhwc")
        if last and ((x.rank or 0) < 3 or (w.rank or 0) < 3):
            return NoMatch("its input or weights are not known to have three axes or more")
        if node.type == "NhwcConv" and not self._is_plain(node):
            w = channels_first(op, w)
        y = op.Conv(channels_first(op, x) if last else x, w, b, **self.kept(node, *_CONV))
        if z is not None:
            y = op.Add(y, channels_first(op, z) if last else z)
        kind = self.get(node, "activation")
        if kind:
            params = self.get(node, "activation_params")
            y = activated(op, y, kind, dict(zip(PARAMETERS.get(kind, ()), params, strict=False)))
        if isinstance(y, NoMatch):
            return y
        return channels_last(op, y) if last else y

    def _is_plain(self, node: OpView) -> bool:
        """Whether the weights of NhwcConv can only be [out, in, spatial…]."""
        x, w = need(node, 0).shape, need(node, 1).shape
        if x is None or w is None or not isinstance(w[1], int) or not isinstance(w[-1], int):
            return False
        group = self.get(node, "group") or 1
        return x[-1] == w[1] * group and x[-1] != w[-1] * group
