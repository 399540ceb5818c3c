"""The normalisations over the last axes with what onnxruntime fuses into them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.passes.contrib._base import Contrib, ms, wants_output
from coregraft.passes.decompose._base import need, operand
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView, ValueView


@dataclass(frozen=True)
class UnfuseLayerNorm(Contrib):
    """Write onnxruntime's layer and RMS normalisations as Add and ONNX's own.

    What it does
    ------------
    SkipLayerNormalization becomes ``LayerNormalization(input + skip + bias)``, SkipSimplifiedLayerNormalization and
    SimplifiedLayerNormalization (which onnxruntime puts into ai.onnx) become RMSNormalization, a LayerNormalization
    of onnxruntime's domain ONNX's own; the sum is returned where it is an output too, and so are mean and inverse
    deviation of a layer normalisation. Those of an RMS normalisation are refused: ONNX's op has none.

    Why it matters
    --------------
    Core ML has no such ops, and one ``layer_norm``. An RMS normalisation written out overflows in half precision.

    Example
    -------
    ``y, _, _, s = com.microsoft.SkipLayerNormalization(x, r, gamma, beta)`` becomes ``s = x + r; y =
    LayerNormalization(s, gamma, beta)``.

    Equivalence
    -----------
    Reassociating: the moments are summed in another order.

    Sources
    -------
    H3.05, H3.06; onnxruntime operator schemas SkipLayerNormalization-1, SkipSimplifiedLayerNormalization-1,
    SimplifiedLayerNormalization-1.
    """

    code: ClassVar[str] = "CG306"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = (
        *ms("SkipLayerNormalization", "SkipSimplifiedLayerNormalization", "SimplifiedLayerNormalization"),
        *ms("LayerNormalization"),
        "SimplifiedLayerNormalization",
    )
    defaults: ClassVar[Mapping[str, Any]] = {"epsilon": None, "axis": -1, "stash_type": 1}

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x, simplified, skips = need(node, 0), "Simplified" in node.type, node.type.startswith("Skip")
        epsilon = self.get(node, "epsilon")
        if epsilon is None:
            epsilon = 1e-12 if skips else 1e-5
        settings = {"axis": self.get(node, "axis"), "epsilon": epsilon, "stash_type": self.get(node, "stash_type")}
        if simplified and any(wants_output(node.op, i) for i in ((1, 2) if skips else (1,))):
            return NoMatch("its inverse deviation is an output, which RMSNormalization has not")
        if node.type == "LayerNormalization":
            outputs = len(node.op.outputs)
            y = op.LayerNormalization(x, need(node, 1), operand(node, 2), _outputs=outputs, **settings)
            return y if outputs == 1 else tuple(v for v, name in zip(y, node.op.outputs, strict=True) if name)
        if not skips:
            return op.RMSNormalization(x, need(node, 1), **settings)
        total = op.Add(x, need(node, 1))
        gamma, beta, bias = need(node, 2), *((None, operand(node, 3)) if simplified else _rest(node))
        if bias is not None:
            total = op.Add(total, bias)
        if simplified:
            results: tuple[Any, ...] = (op.RMSNormalization(total, gamma, **settings), None, None, total)
        elif any(wants_output(node.op, i) for i in (1, 2)):
            results = (*op.LayerNormalization(total, gamma, beta, _outputs=3, **settings), total)
        else:
            results = (op.LayerNormalization(total, gamma, beta, **settings), None, None, total)
        return tuple(value for value, name in zip(results, node.op.outputs, strict=False) if name)


def _rest(node: OpView) -> tuple[ValueView | None, ValueView | None]:
    return operand(node, 3), operand(node, 4)
