"""BiasAdd and BiasSoftmax as Add and Softmax."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.passes.contrib._base import Contrib, ms
from coregraft.passes.decompose._base import need
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView


@dataclass(frozen=True)
class UnfuseBias(Contrib):
    """Write BiasAdd as two Adds and BiasSoftmax as Add and Softmax.

    What it does
    ------------
    ``BiasAdd(x, bias, skip)`` is ``x + bias + skip``. ``BiasSoftmax(x, bias)`` adds the bias as numpy broadcasts it
    (which is how onnxruntime's optimizer found it, whatever ``is_inner_broadcast`` says of the kernel) and takes the
    softmax over all axes from ``axis`` on as one.

    Why it matters
    --------------
    Core ML has no such ops.

    Example
    -------
    ``y = com.microsoft.BiasSoftmax <axis = 3, is_inner_broadcast = 0> (x, b)`` becomes ``y = Softmax <axis = 3> (x +
    b)``.

    Equivalence
    -----------
    Reassociating: sums are taken in another order.

    Sources
    -------
    H4.26; onnxruntime operator schemas BiasAdd-1, BiasSoftmax-1.
    """

    code: ClassVar[str] = "CG426"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ms("BiasAdd", "BiasSoftmax")
    defaults: ClassVar[Mapping[str, Any]] = {"axis": 1, "is_inner_broadcast": 0}

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x = op.Add(need(node, 0), need(node, 1))
        if node.type == "BiasAdd":
            return op.Add(x, need(node, 2))
        if not x.rank:
            return NoMatch("the rank of its input is not known, or it has no axes")
        axis = self.get(node, "axis") % x.rank
        return softmax_from(op, x, axis)


def softmax_from(op: OpBuilder, x: Any, axis: int) -> Any:
    """Softmax over all axes from ``axis`` on as one, which is what ONNX meant before opset 13."""
    if axis == x.rank - 1:
        return op.Softmax(x, axis=axis)
    return op.Reshape(op.Softmax(op.Flatten(x, axis=axis), axis=-1), op.Shape(x))
