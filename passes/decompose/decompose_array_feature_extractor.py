"""ArrayFeatureExtractor as Gather."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.passes.decompose._base import Decomposition, ints, need
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView


@dataclass(frozen=True)
class DecomposeArrayFeatureExtractor(Decomposition):
    """Write the choice of features as a Gather on the last axis.

    What it does
    ------------
    ``Gather`` with the indices laid out in a row; a vector counts as one row. Fires where the target has no lowering
    for the op.

    Why it matters
    --------------
    Core ML knows no op of the ``ai.onnx.ml`` domain in a network; this one is a few ops it has.

    Example
    -------
    ``y = ai.onnx.ml.ArrayFeatureExtractor(x, [0, 2])`` becomes ``y = Gather <axis = -1> (x, [0, 2])``.

    Equivalence
    -----------
    Bit-exact: elements are copied.

    Sources
    -------
    H4.26; ONNX ai.onnx.ml ArrayFeatureExtractor-1.
    """

    code: ClassVar[str] = "CG426"
    equivalence: ClassVar[Equivalence] = Equivalence.BIT_EXACT
    roots: ClassVar[tuple[str, ...]] = ("ai.onnx.ml::ArrayFeatureExtractor",)
    when_unsupported: ClassVar[bool] = True

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x: Any = need(node, 0)
        if x.rank is None:
            return NoMatch("the rank of the input is not known")
        x = op.Unsqueeze(x, ints(op, [0])) if x.rank == 1 else x
        return op.Gather(x, op.Reshape(need(node, 1), ints(op, [-1])), axis=-1)
