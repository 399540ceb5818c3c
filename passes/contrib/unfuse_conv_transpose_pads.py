"""ConvTransposeWithDynamicPads as ConvTranspose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.passes.contrib._base import Contrib, has, ms
from coregraft.passes.decompose._base import constant, need, operand
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView

_CONV = ("auto_pad", "dilations", "group", "kernel_shape", "output_padding", "strides")


@dataclass(frozen=True)
class UnfuseConvTransposePads(Contrib):
    """Write a ConvTranspose whose pads are an operand with them as an attribute.

    What it does
    ------------
    Constant pads become the attribute ``pads`` of ONNX's op; pads computed at run time are refused.

    Why it matters
    --------------
    Core ML's op has its pads when the model is compiled, and no other form.

    Example
    -------
    ``y = com.microsoft.ConvTransposeWithDynamicPads(x, w, [1, 1, 1, 1])`` becomes ``y = ConvTranspose <pads = [1, 1,
    1, 1]> (x, w)``.

    Equivalence
    -----------
    Bit-exact: the same op.

    Sources
    -------
    H4.26; onnxruntime operator schema ConvTransposeWithDynamicPads-1.
    """

    code: ClassVar[str] = "CG426"
    equivalence: ClassVar[Equivalence] = Equivalence.BIT_EXACT
    roots: ClassVar[tuple[str, ...]] = ms("ConvTransposeWithDynamicPads")
    defaults: ClassVar[Mapping[str, Any]] = dict.fromkeys(_CONV)

    def build(self, op: OpBuilder, node: OpView) -> Any:
        pads = constant(node, 2)
        if has(node, 2) and pads is None:
            return NoMatch("its pads are computed at run time")
        given = {} if pads is None else {"pads": tuple(int(p) for p in pads.reshape(-1))}
        return op.ConvTranspose(need(node, 0), need(node, 1), operand(node, 3), **given, **self.kept(node, *_CONV))
