"""The GELUs of onnxruntime with what is fused into them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.passes.contrib._base import Contrib, ms
from coregraft.passes.decompose._base import need, operand
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView


@dataclass(frozen=True)
class UnfuseGelu(Contrib):
    """Write onnxruntime's GELUs as MatMul, Add, and Gelu or Swish of ONNX.

    What it does
    ------------
    Gelu and BiasGelu (error function) become Gelu; FastGelu and GemmFastGelu (tanh) become Gelu with
    ``approximate = "tanh"``; QuickGelu (``x * sigmoid(alpha * x)``) becomes Swish with its ``alpha``; BiasSplitGelu
    becomes the left half of the last axis times the Gelu of the right one. Biases are added first.

    Why it matters
    --------------
    Core ML has none of these ops, and one ``gelu`` or a short chain for each of them.

    Example
    -------
    ``y = com.microsoft.BiasGelu(x, b)`` becomes ``y = Gelu(x + b)``.

    Equivalence
    -----------
    Reassociating: the kernels approximate the error function and tanh in their own ways.

    Sources
    -------
    H4.26; onnxruntime operator schemas Gelu-1, BiasGelu-1, FastGelu-1, GemmFastGelu-1, QuickGelu-1, BiasSplitGelu-1.
    """

    code: ClassVar[str] = "CG426"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ms("Gelu", "BiasGelu", "FastGelu", "GemmFastGelu", "QuickGelu", "BiasSplitGelu")
    defaults: ClassVar[Mapping[str, Any]] = {"alpha": 1.702}

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x = need(node, 0)
        if node.type == "QuickGelu":
            return op.Swish(x, alpha=float(self.get(node, "alpha")))
        if node.type == "GemmFastGelu":
            x = op.MatMul(x, need(node, 1))
        bias = operand(node, 2 if node.type == "GemmFastGelu" else 1)
        x = x if bias is None else op.Add(x, bias)
        if node.type == "BiasSplitGelu":
            if x.rank == 0:
                return NoMatch("it has no axis to split")
            left, right = op.Split(x, axis=-1, num_outputs=2, _outputs=2)
            return op.Mul(left, op.Gelu(right))
        return op.Gelu(x, approximate="tanh" if "Fast" in node.type else "none")
