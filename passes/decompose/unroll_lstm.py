"""LSTM with a known number of steps, written out step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.passes.decompose._base import Decomposition
from coregraft.passes.decompose._unroll import is_native, unroll_op
from coregraft.rewriter.passes import Equivalence, OpBuilder, OpView
from coregraft.rewriter.target import Target


@dataclass(frozen=True)
class UnrollLstm(Decomposition):
    """Unroll an LSTM that the target does not have into MatMul, Sigmoid and Tanh.

    What it does
    ------------
    Writes out every step of an LSTM of up to ``max-steps`` steps, whose weights may be computed at run time: one
    MatMul projects the inputs of all steps, one a step multiplies the state. Every option of the op is honoured: all
    directions, ``layout``, ``clip``, ``activations`` with their parameters, initial states, peepholes,
    ``input_forget``, and ``sequence_lens`` (states stop and outputs are zero where a sequence has ended). Fires for
    Core ML targets only, and only where their own op does not compute the same. Activations whose default parameters
    ONNX leaves open (Affine, ScaledTanh, ThresholdedRelu without alpha or beta) are refused.

    Why it matters
    --------------
    Core ML's LSTM has no ``input_forget``, no ``layout`` and no sequence lengths, its ``clip`` bounds the cell state
    where ONNX bounds what goes into the gates, and it runs on the CPU only.

    Example
    -------
    ``y, h, c = LSTM <hidden_size = 8, clip = 3.0> (x, w, r, b)`` of five steps becomes one MatMul, one Split and five
    copies of the cell, then a Concat.

    Equivalence
    -----------
    Reassociating: biases that are added to the same sum are added to each other first.

    Options
    -------
    max-steps: longest sequence to unroll; an unrolled step is about 14 ops.

    Sources
    -------
    H4.17; ONNX LSTM-22; coremltools 9.0 operator notes.
    """

    code: ClassVar[str] = "CG417"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ("LSTM",)
    ranks: ClassVar[range] = range(3, 4)
    max_steps: int = 64

    def wanted(self, node: OpView, target: Target) -> bool:
        return target.ops is not None and not (is_native(node) and target.supports(node.op))

    def build(self, op: OpBuilder, node: OpView) -> Any:
        return unroll_op(op, node, self.max_steps)
