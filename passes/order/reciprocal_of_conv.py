"""A constant divided by a convolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.rewriter.passes import REASSOCIATING, Equivalence, OpBuilder, Rule


@dataclass(frozen=True)
class ReciprocalOfConv(Rule):
    """Write ``c / conv(x)`` as the reciprocal of the convolution times ``c``.

    What it does
    ------------
    ``Div(c, conv)`` with a constant ``c`` and a Conv or ConvTranspose becomes ``Mul(Reciprocal(conv), c)``; a ``c`` of
    ones needs no product.

    Why it matters
    --------------
    The default pass list of coremltools 9.0 turns ``c / conv(x)`` into ``conv(x) / c`` without a word, and
    ``1 / conv(x)`` into ``conv(x)`` (H2.01). The reciprocal form is not folded. Our own short pass list leaves the
    miscompiling pass out as well; this keeps the graph right under any list.

    Example
    -------
    ``Div(2, Conv(x, w))`` becomes ``Mul(Reciprocal(Conv(x, w)), 2)``.

    Equivalence
    -----------
    Reassociating: one rounding more.

    Sources
    -------
    Hazard catalogue H2.01; coremltools pull request 2776.
    """

    code: ClassVar[str] = "CG201"
    trouble: ClassVar[str] = "coremltools' default passes turn c / conv(x) into conv(x) / c"
    equivalence: ClassVar[Equivalence] = REASSOCIATING

    def pattern(self, op: Any, c: Any, x: Any, w: Any, b: Any = None) -> Any:
        return op.Div(c, op.any_of(("Conv", "ConvTranspose"), x, w, b, _name="conv", _shared=True))

    def where(self, m: Any) -> Any:
        return m.c.is_const or m.no("the dividend is computed at run time")

    def replacement(self, op: OpBuilder, m: Any) -> Any:
        conv = m.conv.outputs[0]
        is_one = m.c.is_scalar and m.c.scalar() == 1 and m.output.rank == conv.rank
        return op.Reciprocal(conv) if is_one else op.Mul(op.Reciprocal(conv), m.c)
