"""CG106: grouped dilated convolutions, group by group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.conv.emit import ints
from coregraft.rewriter.passes import BIT_EXACT, NoMatch, OpBuilder, Rule


@dataclass(frozen=True)
class SplitGroupedDilated(Rule):
    """Write a Conv with groups and dilation as one Conv a group, side by side.

    What it does
    ------------
    Splits the input channels, applies a Conv of group 1 with its part of weights and bias to each, and concatenates.
    Weights and bias must be constant. Not part of the default pipeline: ``replace-dilated-conv`` removes the dilation
    instead.

    Why it matters
    --------------
    Convolutions with groups, dilation and stride together have crashed the converted model.

    Example
    -------
    Before::

        y = Conv(x, w, dilations=[2], group=2, kernel_shape=[3])

    After::

        a, b = Split(x, [4, 4], axis=1)
        c = Conv(a, w[:3], dilations=[2], kernel_shape=[3])
        d = Conv(b, w[3:], dilations=[2], kernel_shape=[3])
        y = Concat(c, d, axis=1)

    Equivalence
    -----------
    Bit-exact: each output channel is the same sum.

    Options
    -------
    * ``max-groups``: the most groups it splits; each becomes an op of its own.

    Sources
    -------
    Hazard catalogue H1.06 (i).
    """

    code: ClassVar[str] = "CG106"
    equivalence: ClassVar = BIT_EXACT
    max_groups: int = 16

    def pattern(self, op: Any, x: Any, w: Any, b: Any = None) -> Any:
        return op.Conv(x, w, b, group=lambda g: g > 1, dilations=lambda d: d is not None and max(d) > 1, _name="conv")

    def where(self, m: Any) -> Any:
        if not m.w.is_const or (m.b is not None and not m.b.is_const):
            return NoMatch("the weights or the bias are computed at run time")
        group = m.conv.attr("group")
        return group <= self.max_groups or NoMatch("{} groups are more than {}", group, self.max_groups)

    def replacement(self, op: OpBuilder, m: Any) -> Any:
        group = m.conv.attr("group")
        w, attrs = m.w.array(), {**m.conv.attrs, "group": 1}
        biases = [None] * group if m.b is None else [op.const(part) for part in np.split(m.b.array(), group)]
        inputs = op.Split(m.x, ints(op, [w.shape[1]] * group), axis=1, _outputs=group)
        parts = zip(inputs, np.split(w, group), biases, strict=True)
        return op.Concat(*(op.Conv(x, op.const(part), bias, **attrs) for x, part, bias in parts), axis=1)
