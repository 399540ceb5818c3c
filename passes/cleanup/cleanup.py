"""The whole clean-up, as one pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from coregraft.passes.cleanup.eliminate_common_subexpressions import EliminateCommonSubexpressions
from coregraft.passes.cleanup.eliminate_dead_code import EliminateDeadCode
from coregraft.passes.cleanup.eliminate_identities import EliminateIdentities
from coregraft.passes.cleanup.erase_sequences import EraseSequences
from coregraft.passes.cleanup.fold_constants import FoldConstants
from coregraft.passes.cleanup.fold_if import FoldIf
from coregraft.passes.cleanup.fold_shape_arithmetic import FoldShapeArithmetic
from coregraft.passes.cleanup.fuse_reshapes import FuseReshapes
from coregraft.passes.cleanup.fuse_transposes import FuseTransposes
from coregraft.passes.cleanup.unroll_loops import UnrollLoops
from coregraft.rewriter.contract import Context, Equivalence, Pass
from coregraft.rewriter.graph import Graph


@dataclass(frozen=True)
class Cleanup(Pass):
    """Run all clean-up passes until none changes anything.

    What it does
    ------------
    Runs, in this order and again while something changes: fold-constants, fold-shape-arithmetic, fold-if,
    unroll-loops, erase-sequences, eliminate-identities, fuse-reshapes, fuse-transposes,
    eliminate-common-subexpressions, eliminate-dead-code. Each of them brings the graph to its own fixed point.

    Why it matters
    --------------
    Each of these makes work for the others: a folded shape decides an If, whose branch holds constants, which make
    a loop's trip count known.

    Example
    -------
    ``Reshape(x, Concat(Shape(x)[0], [-1]))`` becomes ``Reshape(x, [0, -1])``, without leftovers.

    Equivalence
    -----------
    Reassociating, because of reductions that fuse-transposes computes in another layout; otherwise bit-exact.

    Options
    -------
    ``max-rounds``: how often at most. ``max-bytes`` and ``keep-quantised``: see fold-constants. ``max-trips`` and
    ``max-ops``: see unroll-loops. ``unroll``: whether to unroll loops at all.

    Sources
    -------
    Hazards H2.15, H4.32, H4.34, H5.06, H5.07, H5.09-H5.11 and H7.05.
    """

    equivalence: ClassVar = Equivalence.REASSOCIATING
    max_rounds: int = 8
    max_bytes: int = FoldConstants.max_bytes
    keep_quantised: bool = FoldConstants.keep_quantised
    max_trips: int = UnrollLoops.max_trips
    max_ops: int = UnrollLoops.max_ops
    unroll: bool = True

    def run(self, g: Graph, ctx: Context) -> None:
        passes = self.passes()
        of_loops: list[str] = []
        quiet = 0  # passes in a row that changed nothing: a full round of them is the end
        for _ in range(self.max_rounds):
            for step in passes:
                if isinstance(step, UnrollLoops):  # why a loop stays holds only until it is looked at again
                    ctx.notes[:] = [note for note in ctx.notes if note not in of_loops]
                before = len(ctx.notes)
                quiet = 0 if ctx.run(step, g) else quiet + 1
                if isinstance(step, UnrollLoops):
                    of_loops = ctx.notes[before:]
                if quiet == len(passes):
                    return
        ctx.note(f"cleanup stopped after {self.max_rounds} rounds, with changes in the last one")

    def passes(self) -> list[Pass]:
        """The passes of one round, in order."""
        return [
            FoldConstants(max_bytes=self.max_bytes, keep_quantised=self.keep_quantised),
            FoldShapeArithmetic(),
            FoldIf(),
            *([UnrollLoops(max_trips=self.max_trips, max_ops=self.max_ops)] if self.unroll else []),
            EraseSequences(),
            EliminateIdentities(),
            FuseReshapes(),
            FuseTransposes(),
            EliminateCommonSubexpressions(),
            EliminateDeadCode(),
        ]
