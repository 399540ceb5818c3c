"""RNN with a known number of steps, written out step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.passes.decompose._base import Decomposition
from coregraft.passes.decompose._unroll import is_native, unroll_op
from coregraft.rewriter.passes import Equivalence, OpBuilder, OpView
from coregraft.rewriter.target import Target


@dataclass(frozen=True)
class UnrollRnn(Decomposition):
    """Unroll an RNN that the target does not have into MatMul and its activation.

    What it does
    ------------
    Writes out every step of an RNN of up to ``max-steps`` steps, whose weights may be computed at run time: one
    MatMul projects the inputs of all steps, one a step multiplies the state. Every option of the op is honoured: all
    directions, ``layout``, ``clip``, ``activations`` with their parameters, initial states, and ``sequence_lens``
    (states stop and outputs are zero where a sequence has ended). Fires for Core ML targets only, and only where
    their own op does not compute the same. Activations whose default parameters ONNX leaves open (Affine, ScaledTanh,
    ThresholdedRelu without alpha or beta) are refused.

    Why it matters
    --------------
    Core ML's simple recurrent op has one direction, three activations and no ``clip``.

    Example
    -------
    ``y, h = RNN <hidden_size = 8, clip = 1.0> (x, w, r)`` of five steps becomes one MatMul, one Split and five copies
    of the cell, then a Concat.

    Equivalence
    -----------
    Reassociating: biases that are added to the same sum are added to each other first.

    Options
    -------
    max-steps: longest sequence to unroll; an unrolled step is about 3 ops.

    Sources
    -------
    H4.17; ONNX RNN-22; coremltools 9.0 operator notes.
    """

    code: ClassVar[str] = "CG417"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ("RNN",)
    ranks: ClassVar[range] = range(3, 4)
    max_steps: int = 64

    def wanted(self, node: OpView, target: Target) -> bool:
        return target.ops is not None and not (is_native(node) and target.supports(node.op))

    def build(self, op: OpBuilder, node: OpView) -> Any:
        return unroll_op(op, node, self.max_steps)
