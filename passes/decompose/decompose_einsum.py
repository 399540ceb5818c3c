"""Einsum as transposes, reshapes and matrix products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.passes.decompose import _einsum
from coregraft.passes.decompose._base import Decomposition
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView
from coregraft.rewriter.types import DType

#: Element types of Einsum that MatMul and ReduceSum do not have.
_NARROW = frozenset({DType.INT8, DType.INT16, DType.UINT8, DType.UINT16})


@dataclass(frozen=True)
class DecomposeEinsum(Decomposition):
    """Write an Einsum as Transpose, Reshape, MatMul, Mul and ReduceSum.

    What it does
    ------------
    Plans the contraction and builds it from plain ops. A repeated index within an operand becomes a strided slice (the
    diagonal), an axis that only one operand has and nobody needs is summed first, and each pair of operands becomes one
    MatMul, or one Mul where nothing is summed. Of all ways to lay out the pair the one that moves least data is taken;
    with three operands and more, numpy's optimal order. Ellipses, implicit results, broadcast axes of size 1 and any
    number of operands are handled. No intermediate has more than five axes unless an operand or the result has.
    At most one index may be of unknown size, and it must not repeat within an operand. Fires for every target.

    Why it matters
    --------------
    Core ML has an einsum for two equations only, without repeated indices; the converter's general route refuses the
    rest.

    Example
    -------
    ``y = Einsum <equation = "bhct,bhcs->bhts"> (q, k)`` becomes
    ``y = MatMul(Transpose <perm = [0, 1, 3, 2]> (q), k)``.

    Equivalence
    -----------
    Reassociating: the same products, summed in the order of the matrix product.

    Sources
    -------
    H4.18; ONNX Einsum-12.
    """

    code: ClassVar[str] = "CG418"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ("Einsum",)

    def build(self, op: OpBuilder, node: OpView) -> Any:
        values = [v for v in node.inputs if v is not None]
        shapes = [v.shape for v in values]
        known = [s for s in shapes if s is not None]
        if len(known) != len(shapes):
            return NoMatch("the rank of an operand is not known")
        equation = _einsum.parse(node.attr("equation"), known)
        if isinstance(equation, str):
            return NoMatch("{}", equation)
        unknown = [label for label, size in equation.sizes.items() if not isinstance(size, int)]
        if len(unknown) > 1:
            return NoMatch("the sizes of {} are not known", ", ".join(unknown))
        if any(labels.count(label) > 1 for labels in equation.operands for label in unknown):
            return NoMatch("index {} repeats and its size is not known", unknown[0])
        constant = [v.is_const for v in values]
        if values[0].dtype not in _NARROW:
            return _einsum.build(op, equation, values, known, constant)
        wide = [op.Cast(v, to=int(DType.INT32)) for v in values]
        return op.Cast(_einsum.build(op, equation, wide, known, constant), to=int(values[0].dtype))
