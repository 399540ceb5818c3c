"""A shared constant subtracted from a convolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.rewriter.passes import BIT_EXACT, Equivalence, OpBuilder, Rule


@dataclass(frozen=True)
class PrivateConvBias(Rule):
    """Write ``conv(x) - k`` as an addition of a constant of its own when others read ``k`` too.

    What it does
    ------------
    ``Sub(conv, k)``, where the constant ``k`` has other users, becomes ``Add(conv, -k)`` with a private ``-k``.

    Why it matters
    --------------
    The default pass list of coremltools 9.0 negates ``k`` in place when it folds the subtraction into the bias, so the
    other users see ``-k``, and of two convolutions minus the same ``k`` the second adds it (H2.03).

    Example
    -------
    ``Sub(Conv(x, w), k)`` becomes ``Add(Conv(x, w), -k)``.

    Equivalence
    -----------
    Bit-exact: negation is exact, and a sum with the negative is the difference.

    Sources
    -------
    Hazard catalogue H2.03.
    """

    code: ClassVar[str] = "CG203"
    trouble: ClassVar[str] = "coremltools' default passes negate the shared constant in place"
    equivalence: ClassVar[Equivalence] = BIT_EXACT

    def pattern(self, op: Any, k: Any, x: Any, w: Any, b: Any = None) -> Any:
        return op.Sub(op.any_of(("Conv", "ConvTranspose"), x, w, b, _name="conv", _shared=True), k)

    def where(self, m: Any) -> Any:
        if not m.k.is_const:
            return m.no("the summand is computed at run time")
        return len(m.k.users) > 1 or m.k.is_output or m.no("no other op reads {}", m.k.name)

    def replacement(self, op: OpBuilder, m: Any) -> Any:
        return op.Add(m.root.inputs[0], op.const(np.negative(m.k.array())))
