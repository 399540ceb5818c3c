"""SVMRegressor as matrix products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.passes.decompose import _kernels
from coregraft.passes.decompose._base import Decomposition, scalar
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView


@dataclass(frozen=True)
class DecomposeSvmRegressor(Decomposition):
    """Write a support vector regression as its kernel and a matrix product.

    What it does
    ------------
    How alike each row is to each support vector, by a linear, polynomial, radial or sigmoid kernel, times the
    coefficients, beside the offset. Without support vectors the coefficients are those of the features. ``one_class``
    gives 1 where that is positive and -1 elsewhere. A ``post_transform``, which onnxruntime ignores, is refused; other
    inputs are cast to fp32 first. Fires where the target has no lowering for the op.

    Why it matters
    --------------
    Core ML runs support vector machines in a model type of their own, which no ML Program can hold.

    Example
    -------
    ``y = ai.onnx.ml.SVMRegressor <kernel_type = "RBF", …> (x)`` becomes ``Exp(-gamma * ReduceSumSquare(x - vectors)) @
    coefficients + rho``.

    Equivalence
    -----------
    Reassociating: the same products, summed in the order of the matrix product.

    Sources
    -------
    H4.26; ONNX ai.onnx.ml SVMRegressor-1.
    """

    code: ClassVar[str] = "CG426"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ("ai.onnx.ml::SVMRegressor",)
    when_unsupported: ClassVar[bool] = True

    def build(self, op: OpBuilder, node: OpView) -> Any:
        coefficients, offsets = _kernels.floats(node, "coefficients"), _kernels.floats(node, "rho")
        count, vectors = node.attr("n_supports"), _kernels.floats(node, "support_vectors")
        if node.attr("post_transform") != "NONE":
            return NoMatch("post_transform {}, which onnxruntime ignores", node.attr("post_transform"))
        if not coefficients.size or not offsets.size:
            return NoMatch("it has no coefficients, or no offset")
        if count > 0 and (coefficients.size != count or not vectors.size or vectors.size % count):
            return NoMatch("its support vectors or coefficients are not {}", count)
        rows = _kernels.rows_of(op, node)
        if count > 0 and not isinstance(rows, NoMatch):
            rows = _kernels.kernel(op, node, rows, vectors.reshape(count, -1))
        if isinstance(rows, NoMatch):
            return rows
        y = _kernels.products(op, rows, coefficients.reshape(1, -1), offsets[:1])
        if not node.attr("one_class"):
            return y
        return op.Where(op.Greater(y, scalar(op, 0, y)), scalar(op, 1, y), scalar(op, -1, y))
