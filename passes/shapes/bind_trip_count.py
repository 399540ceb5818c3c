"""Trip counts that are computed at run time, bound to what the declared shape of a scan output says they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from coregraft.passes.cleanup.scopes import Scope, keeps_going
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.passes import Context, Equivalence, NoMatch, Rewriter, Rule


@dataclass(frozen=True)
class BindTripCount(Rule):
    """Replace the trip count of a Loop that the run time computes by the declared length of its scan outputs.

    What it does
    ------------
    A Loop whose scan output is declared with a length runs that often: its trip count becomes the constant. Where the
    body never ends the loop by itself, the first condition, which must then be true, is dropped as well. Fires for
    Core ML targets only.

    Why it matters
    --------------
    With a constant trip count a loop can be unrolled, and what it collects has a shape.

    Example
    -------
    ``y: float[5,1] = Loop(n, go) {output Identity(go); output e}`` becomes ``y = Loop(5, ) {…}``.

    Equivalence
    -----------
    Bit-exact where the run-time values agree with the declared shape, as ONNX demands.

    Sources
    -------
    Hazards H5.08 and H5.10; ONNX's definition of Loop.
    """

    code: ClassVar[str] = "CG508"
    equivalence: ClassVar[Equivalence] = Equivalence.BIT_EXACT
    roots: ClassVar[tuple[str, ...]] = ("Loop",)

    def run(self, g: Graph, ctx: Context) -> None:
        loops = {op_id: op for op_id, op in g.ops() if op.key == ("", "Loop")}
        super().run(g, ctx)
        for op_id in sorted(loops):
            if op_id in g and g.op(op_id).inputs != loops[op_id].inputs:
                name = loops[op_id].name or loops[op_id].outputs[0]
                ctx.note(f'"{name}": its run-time trip count is taken to agree with the length that is declared')

    def match_and_rewrite(self, op_id: int, rw: Rewriter) -> bool | NoMatch:
        g = rw.graph
        op = g.op(op_id)
        if rw.target.ops is None:
            return NoMatch("{} is not lowered for Core ML", op.label)
        if op.inputs[0] and g.const(op.inputs[0]) is not None:
            return NoMatch("its trip count is constant")
        length = _length(g, op)
        if not length:
            return NoMatch("no scan output has a declared length")
        rw.at((op_id,), "BindTripCount")
        inputs = [rw.const(np.array(length, np.int64)), *op.inputs[1:]]
        if len(inputs) > 1 and keeps_going(Scope(op.attrs["body"], Scope(g))):
            inputs[1] = ""
        rw.update(op_id, inputs=inputs)
        return True


def _length(g: Graph, op: Op) -> int | None:
    """The declared length of a scan output."""
    for value in op.outputs[max(0, len(op.inputs) - 2) :]:
        kind = g.tensor_type(value) if value else None
        if kind is not None and kind.shape and isinstance(length := kind.shape[0], int):
            return length
    return None
