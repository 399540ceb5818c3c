"""Constants of attention masks that half precision cannot hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from coregraft.rewriter.graph import Graph
from coregraft.rewriter.passes import REASSOCIATING, Context, Equivalence, Finding, Pass
from coregraft.rewriter.types import Array, Const

#: Ops a mask passes through on its way to the softmax without being mixed with anything but scores.
_PATH = frozenset(
    {
        *("Add", "Sub", "Mul", "Where", "Max", "Min", "Cast", "Identity", "Expand", "Tile"),
        *("Reshape", "Unsqueeze", "Squeeze", "Transpose", "Slice", "Concat", "Gather"),
    }
)


@dataclass(frozen=True)
class BoundMaskConstants(Pass):
    """Replace the huge negative constants of additive masks by ones that half precision can hold.

    What it does
    ------------
    Finds constants below ``-limit`` (the lowest float, -1e9, minus infinity) all of whose ways lead into a softmax
    through additions, selections, products and data movement, and replaces them by ``-limit / n``, where ``n`` is the
    number of such masks that can add up. A softmax whose result is tested by IsNaN is left alone: there, a fully
    masked row must stay NaN. So is a LogSoftmax: what it makes of a masked score is a result.

    Why it matters
    --------------
    ``(1 - mask) * finfo.min`` becomes a product with minus infinity in half precision, so every position that is not
    masked is ``0 * -inf = NaN``; two masks of -4e4 add up to minus infinity; the Neural Engine mishandles minus
    infinity in a softmax (H3.01).

    Example
    -------
    ``Mul(Sub(1, mask), -3.4e38)`` in front of a softmax becomes ``Mul(Sub(1, mask), -40000)``.

    Equivalence
    -----------
    Reassociating at the softmax: its exponentials of masked positions are zero either way as long as scores are far
    from the limit. A fully masked row has no right result: where the old mask drowned its scores (uniform) or was
    minus infinity (NaN), now as much is left of them as the precision holds beside the limit.

    Options
    -------
    ``limit``: magnitude of the replacement, for all masks on a way together.

    Sources
    -------
    Hazard catalogue H3.01; Apple's rules for its Neural Engine as quoted there (-40000).
    """

    code: ClassVar[str] = "CG301"
    equivalence: ClassVar[Equivalence] = REASSOCIATING
    compares: ClassVar[Literal["region", "outputs"]] = "outputs"
    limit: float = 40000.0

    def run(self, g: Graph, ctx: Context) -> None:
        rw = ctx.rewriter(g)
        for op_id, index, masks in self._sites(g, ctx):
            op = g.op(op_id)
            rw.at((op_id,), "BoundMaskConstants")
            inputs: list[object] = list(op.inputs)
            const = g.const(op.inputs[index])
            assert const is not None
            inputs[index] = Const.of(self._bounded(const.numpy(), masks))
            rw.update(op_id, inputs=inputs)
            ctx.count("masks")

    def check(self, g: Graph, ctx: Context) -> list[Finding]:
        return [
            Finding(self.code, self.name, g.op(i).label, f"mask constant {g.op(i).inputs[k]} overflows half precision")
            for i, k, _ in self._sites(g, ctx)
        ]

    def _sites(self, g: Graph, ctx: Context) -> list[tuple[int, int, int]]:
        """(op, operand, masks that add up) for every constant to be replaced, in program order."""
        candidates = [
            (op_id, k)
            for op_id, op in sorted(g.ops())
            if op.type in _PATH and not op.domain
            for k, value in enumerate(op.inputs)
            if self._is_huge(g.const(value) if value else None)
        ]
        added = _added(g, frozenset(candidates)) if candidates else {}
        sites = []
        for op_id, k in candidates:
            reached = self._ways(g, op_id)
            if isinstance(reached, str):
                ctx.note(f"{g.op(op_id).label}: constant {g.op(op_id).inputs[k]} is left alone: {reached}")
                continue
            sites.append((op_id, k, max(added[value] for i in reached for value in g.op(i).outputs)))
        return sites

    def _is_huge(self, const: Const | None) -> bool:
        if const is None or not const.dtype.is_float or const.dtype.bits < 16 or not const.size:
            return False
        return bool(float(const.numpy().min()) < -self.limit)

    def _bounded(self, array: Array, masks: int) -> Array:
        floor = np.asarray(-self.limit / masks, array.dtype)
        return np.where(array < -self.limit, floor, array)

    def _ways(self, g: Graph, start: int) -> list[int] | str:
        """The ops on all ways from an op to softmaxes, or why one of them does not lead there."""
        todo, seen = [start], {start}
        while todo:
            op_id = todo.pop()
            for value in g.op(op_id).outputs:
                if g.public_names(value):
                    return "it reaches an output of the model"
                for user in g.users(value):
                    op = g.op(user)
                    if op.type == "Softmax" and not op.domain:
                        if any(g.op(u).type == "IsNaN" for u in g.users(op.outputs[0])):
                            return "fully masked rows are told by IsNaN"
                    elif op.type not in _PATH or op.domain or (op.type == "Where" and op.inputs[0] == value):
                        return f"it reaches {op.label}"
                    elif user not in seen:
                        seen.add(user)
                        todo.append(user)
        return sorted(seen)


def _added(g: Graph, masks: frozenset[tuple[int, int]]) -> dict[str, int]:
    """How many masks, given as (op, operand), may have been added up in a value; values without any are left out."""
    counts: dict[str, int] = {}
    for op_id in g.topological():
        op = g.op(op_id)
        if op.type in _PATH and not op.domain:
            parts = [1 if (op_id, k) in masks else counts.get(value, 0) for k, value in enumerate(op.inputs)]
            made = sum(parts) if op.type in ("Add", "Sub") else max(parts)
            counts.update((value, made) for value in op.outputs if made)
    return counts
