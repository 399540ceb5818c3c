"""What the data selects, computed where it lies: a mask tells what is selected, and all shapes stay fixed."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from coregraft.passes.shapes import _masked_compute  # noqa: F401  # registers rules
from coregraft.passes.shapes._masked import Masked, Selections
from coregraft.passes.shapes._masked_rules import RULES, SOURCES
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.passes import (
    REASSOCIATING,
    Context,
    Equivalence,
    OpBuilder,
    OpView,
    Pass,
    Rewriter,
    ValueView,
)
from coregraft.rewriter.types import TensorType


@dataclass(frozen=True)
class MaskSelections(Pass):
    """Compute with all rows that the data may select, and a mask of those that it does.

    What it does
    ------------
    ``NonZero`` and ``NonMaxSuppression`` give as many rows as the data has them give. What is gathered by them is
    replaced by all rows there could be, of fixed number, beside a mask that tells which are there. Ops that treat each
    row by itself do so for all of them; sums, extremes, TopK, NonMaxSuppression and Softmax leave out what is not
    there; the first n rows are taken by counting; rows that are put back where they came from become a ``Where``. They
    are gathered only at the outputs, and for an op that needs them alone. Fires for Core ML targets only.

    Why it matters
    --------------
    Shapes are fixed when Core ML compiles a model: what has none runs on the CPU at best, and how Core ML treats a
    tensor without a row is not documented. Detection models select boxes three times over before they are done.

    Example
    -------
    ``k = NonZero(s > 0.5)``, ``y = ReduceSum(Gather(x, k))`` becomes ``y = ReduceSum(Where(s > 0.5, x, 0))``.

    Equivalence
    -----------
    Sums run over zeros in between; all else is bit-exact.

    Options
    -------
    ``max-rows``: a selection out of more rows is left as it is.

    Sources
    -------
    H4.04, H4.21, H5.08.
    """

    equivalence: ClassVar[Equivalence] = REASSOCIATING
    max_rows: int = 1 << 24

    def run(self, g: Graph, ctx: Context) -> None:
        if ctx.target.ops is not None and any(op.type in _SELECTING for _, op in g.ops()):
            _Carrier(ctx.rewriter(g), ctx, self.max_rows).run()


#: Ops whose result has as many rows as the data selects.
_SELECTING = ("NonZero", "NonMaxSuppression")


class _Carrier:
    """One run over one graph."""

    def __init__(self, rw: Rewriter, ctx: Context, max_rows: int) -> None:
        self.rw, self.ctx, self.g = rw, ctx, rw.graph
        self.found = Selections(OpBuilder(rw), _without_names(rw.graph), max_rows)
        self.carried: list[int] = []
        self.replaced = 0

    def run(self) -> None:
        start, first_new = self.rw.mark(), self.g.graph.get("next_id", 0)
        known = self.found.known
        for op_id in list(self.g.topological()):
            self.found.learn(op_id)
            op = self.g.op(op_id)
            reads = any(value in known for value in op.operands)
            if (reads or op.type in SOURCES) and self._carry(op_id, op):
                self.carried.append(op_id)
            elif reads:
                self.ctx.note(f"{op.label} is given the rows that are selected, as many as there are")
        self._pack()
        if not self.replaced:
            self.rw.rollback(start)
            return
        self.ctx.count("carried", len(self.carried))
        made = [op_id for op_id in self.g.topological() if op_id >= first_new]
        for op_id in (*reversed(made), *reversed(self.carried)):
            self._drop_unread(op_id)

    def _drop_unread(self, op_id: int) -> None:
        outputs = [value for value in self.g.op(op_id).outputs if value] if op_id in self.g else []
        if outputs and not any(self.g.users(value) or self.g.public_names(value) for value in outputs):
            self.rw.erase(op_id)

    def _carry(self, op_id: int, op: Op) -> bool:
        """Let masked values stand for the results of an op; False, with nothing changed, where they cannot."""
        rule = RULES.get(op.type) if not op.domain else None
        if rule is None:
            return False
        mark, saved = self.rw.mark(), self.found.saved()
        # Boxes are compared in full precision, whoever takes NonMaxSuppression apart.
        self.rw.at([op_id], "DecomposeNonMaxSuppression" if op.type == "NonMaxSuppression" else "MaskSelections")
        results = rule(self.found, OpView(self.g, op_id))
        if results is not None and self._settle(op_id, op, results):
            return True
        self.rw.rollback(mark)
        self.found.restore(saved)
        return False

    def _settle(self, op_id: int, op: Op, results: Sequence[Masked | ValueView]) -> bool:
        outputs = [value for value in op.outputs if value]
        if len(outputs) != len(results):
            return False
        plain = {v: r for v, r in zip(outputs, results, strict=True) if isinstance(r, ValueView)}
        if plain:
            op_of = self.found.op.Identity  # a new result takes the name of the old one, by which it is known
            self.rw.commit((op_id,), list(plain), lambda: [op_of(result) for result in plain.values()])
            self.replaced += 1
        return all(
            self.found.settle(value, result)
            for value, result in zip(outputs, results, strict=True) if isinstance(result, Masked)
        )  # fmt: skip

    def _pack(self) -> None:
        """Gather the rows that are there for whoever needs them alone."""
        for value, rows in self.found.known.items():
            if rows.is_kept or not self._is_read(value):
                continue
            producer = self.g.producer(value)
            assert producer is not None
            self.rw.at([producer], "MaskSelections")
            self.rw.commit((producer,), [value], functools.partial(self.found.packed, rows))
            self.replaced += 1

    def _is_read(self, value: str) -> bool:
        """Whether an output, or an op that was not carried, reads a value."""
        if value not in self.g:  # an optional result of an op: gone with what replaced the op, as nobody read it
            return False
        return bool(self.g.public_names(value)) or not set(self.g.users(value)) <= set(self.carried)


def _without_names(g: Graph) -> Graph:
    """A copy in which only sizes that are numbers are known of what ops compute."""
    copy: Graph = g.copy()
    for value in copy.values():
        kind = copy.tensor_type(value)
        if kind is not None and kind.shape is not None and copy.producer(value) is not None:
            shape = tuple(d if isinstance(d, int) else None for d in kind.shape)
            copy.nodes[value]["type"] = TensorType(kind.dtype, shape)
    return copy
