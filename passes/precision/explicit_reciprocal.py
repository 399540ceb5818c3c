"""Reciprocals without a hidden epsilon."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.rewriter.passes import BIT_EXACT, Equivalence, OpBuilder, Rule


@dataclass(frozen=True)
class ExplicitReciprocal(Rule):
    """Write a reciprocal as a division, which has no epsilon.

    What it does
    ------------
    ``Reciprocal(x)`` becomes ``Div(1, x)``, except right after a convolution, where coremltools' default pass list
    would fold the division the wrong way round (CG201).

    Why it matters
    --------------
    Core ML's ``inverse`` adds 1e-4 to its operand unless told otherwise: below 0.01 the result is off by one percent
    and more, and near -1e-4 its sign is wrong (H3.04). The lowering writes the epsilon out where it has to emit the op;
    this removes the question.

    Example
    -------
    ``Reciprocal(x)`` becomes ``Div(1, x)``.

    Equivalence
    -----------
    Bit-exact: that is how ONNX defines Reciprocal.

    Sources
    -------
    Hazard catalogue H3.04, H2.01.
    """

    code: ClassVar[str] = "CG304"
    trouble: ClassVar[str] = "Core ML's inverse adds 1e-4 to its operand unless told otherwise"
    equivalence: ClassVar[Equivalence] = BIT_EXACT

    def pattern(self, op: Any, x: Any) -> Any:
        return op.Reciprocal(x)

    def where(self, m: Any) -> Any:
        if m.x.dtype is None:
            return m.no("the element type is not known")
        producer = m.x.producer
        return producer is None or producer.type not in ("Conv", "ConvTranspose") or m.no("it follows a convolution")

    def replacement(self, op: OpBuilder, m: Any) -> Any:
        return op.Div(op.const(np.ones((), m.x.dtype.numpy)), m.x)
