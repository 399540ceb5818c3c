"""GroupNorm and SkipGroupNorm as GroupNormalization."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.passes.contrib._base import Contrib, channels_first, channels_last, ms, wants_output
from coregraft.passes.decompose._base import ints, need, operand
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView, ValueView


@dataclass(frozen=True)
class UnfuseGroupNorm(Contrib):
    """Write onnxruntime's group normalisations as Add, GroupNormalization and Swish.

    What it does
    ------------
    Puts the channels first where they are last (``channels_last``, which is the default) and back again, adds the
    residual (of the input's rank, or one value for each batch and channel) and the bias, normalises with ``groups``
    and ``epsilon`` and applies Swish where ``activation`` is 1. The sum is returned where it is an output. Scales of
    another element type than the input are cast.

    Why it matters
    --------------
    Core ML has no such op; diffusion models optimised for onnxruntime are full of it.

    Example
    -------
    ``y = com.microsoft.GroupNorm <groups = 32, activation = 1> (x, gamma, beta)`` becomes ``y =
    Transpose(Swish(GroupNormalization <num_groups = 32> (Transpose(x), gamma, beta)))``.

    Equivalence
    -----------
    Reassociating: the moments are summed in another order.

    Sources
    -------
    H4.26; onnxruntime operator schemas GroupNorm-1, SkipGroupNorm-1.
    """

    code: ClassVar[str] = "CG426"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ms("GroupNorm", "SkipGroupNorm")
    defaults: ClassVar[Mapping[str, Any]] = {"activation": 0, "channels_last": 1, "epsilon": 1e-5, "groups": None}

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x, last = need(node, 0), bool(self.get(node, "channels_last"))
        activation = self.get(node, "activation")
        if x.rank is None:
            return NoMatch("the rank of its input is not known")
        if activation not in (0, 1) or not self.get(node, "groups"):
            return NoMatch("activation {} is not known, or it has no groups", activation)
        total = x
        if node.type == "SkipGroupNorm":
            skip = need(node, 3)
            if skip.rank not in (2, x.rank):
                return NoMatch("its residual has neither the rank of the input nor one value for each channel")
            if skip.rank == 2:
                spatial = range(1, x.rank - 1) if last else range(2, x.rank)
                skip = op.Unsqueeze(skip, ints(op, list(spatial)))
            total = op.Add(x, skip)
            bias = operand(node, 4)
            if bias is not None:
                total = op.Add(total, bias if last else op.Unsqueeze(bias, ints(op, list(range(1, x.rank - 1)))))
        y = channels_first(op, total) if last else total
        gamma, beta = (self._like(op, need(node, i), x) for i in (1, 2))
        y = op.GroupNormalization(
            y, gamma, beta, num_groups=self.get(node, "groups"), epsilon=float(self.get(node, "epsilon"))
        )
        y = op.Swish(y) if activation else y
        y = channels_last(op, y) if last else y
        return (y, total) if wants_output(node.op, 1) else y

    @staticmethod
    def _like(op: OpBuilder, value: ValueView, x: ValueView) -> ValueView:
        if value.dtype is x.dtype or x.dtype is None:
            return value
        result: ValueView = op.Cast(value, to=int(x.dtype))
        return result
