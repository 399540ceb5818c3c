"""Ifs that only keep an empty tensor from ops that would do with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from coregraft.passes.cleanup.inline import Inliner, substitute
from coregraft.passes.cleanup.scopes import Scope, visit_scopes
from coregraft.passes.cleanup.select_if import divides_integers, fetches_in_range
from coregraft.passes.elementwise import BROADCASTING, UNARY
from coregraft.rewriter.contract import Context, Equivalence, Pass
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.match import NoMatch
from coregraft.rewriter.rewriter import Rewriter
from coregraft.rewriter.types import TensorType

#: Ops that have a result for whatever their operands hold, tensors without an element included.
_SAFE = frozenset(
    {
        *UNARY, *BROADCASTING, "Concat", "Flatten", "NonMaxSuppression", "ReduceMax", "ReduceMin", "ReduceProd",
        "ReduceSum", "Reshape", "Shape", "Slice", "Squeeze", "Transpose", "Unsqueeze",
    }
)  # fmt: skip
_ALL = np.iinfo(np.int64).max


@dataclass(frozen=True)
class DissolveEmptyGuards(Pass):
    """Run the branch that does the work, and drop its rows where the other branch gives none.

    What it does
    ------------
    An ``If`` of which one branch gives tensors without an element, and the other only has ops that have a result
    for operands without an element too, is replaced by the ops of that other branch; a ``Slice`` takes none of its
    rows where the first branch would have been taken, and all of them else.

    Why it matters
    --------------
    Exporters write such an ``If`` around NonMaxSuppression, for the case that there is no box. Core ML's ``cond`` wants
    branches of one shape; NonMaxSuppression of no boxes gives no boxes.

    Example
    -------
    ``y = If(c) {int64[0]} else {n = Nms(x); y = Gather(n, 2)}`` becomes
    ``n = Nms(x); y = Slice(Gather(n, 2), 0, Where(c, 0, all))``.

    Equivalence
    -----------
    Bit-exact.

    Sources
    -------
    H4.04, H5.09.
    """

    equivalence: ClassVar[Equivalence] = Equivalence.BIT_EXACT

    def run(self, g: Graph, ctx: Context) -> None:
        visit_scopes(ctx.rewriter(g), lambda rw, scope: _dissolve(rw, scope, ctx))


def _dissolve(rw: Rewriter, scope: Scope, ctx: Context) -> None:
    g = rw.graph
    for op_id in sorted((i for i, op in g.ops() if op.key == ("", "If")), key=g.order_key):
        op = g.op(op_id)
        found = _guard(op, scope)
        if isinstance(found, NoMatch):
            ctx.note(f"{op.label} stays: {found}")
            continue
        rw.at([op_id], "DissolveEmptyGuards")
        _replace(Inliner(rw, scope), op_id, *found)
        ctx.count("dissolved")


def _guard(op: Op, scope: Scope) -> tuple[bool, list[int]] | NoMatch:
    """Whether it is the then-branch that gives nothing, and along which axis of each result."""
    then, other = op.attrs["then_branch"], op.attrs["else_branch"]
    for given, nothing, work in ((True, then, other), (False, other, then)):
        empty = [nothing.tensor_type(v) for v in nothing.outputs.values()]
        if any(kind is None or kind.static_shape is None or 0 not in kind.static_shape for kind in empty):
            continue
        for op_id in work.topological():
            inner = work.op(op_id)
            if not _is_safe(Scope(work, scope), inner):
                return NoMatch("{} may fail where its branch is not taken", inner.label)
        axes = [_open(k, work.tensor_type(v)) for k, v in zip(empty, work.outputs.values(), strict=True)]
        known = [a for a in axes if a is not None]
        return (given, known) if len(known) == len(axes) else NoMatch("its branches do not differ in one dim alone")
    return NoMatch("neither of its branches gives tensors without an element")


def _open(nothing: TensorType | None, rows: TensorType | None) -> int | None:
    """The axis along which the one has no element, and the other as many as the data has it have."""
    if nothing is None or rows is None or rows.shape is None or nothing.static_shape is None:
        return None
    if rows.dtype != nothing.dtype or len(rows.shape) != len(nothing.static_shape):
        return None
    axes = [i for i, n in enumerate(nothing.static_shape) if n == 0]
    agree = all(a == b or not isinstance(b, int) for a, b in zip(nothing.static_shape, rows.shape, strict=True))
    return axes[0] if agree and len(axes) == 1 else None


def _is_safe(scope: Scope, op: Op) -> bool:
    if op.domain:
        return False
    if op.type == "Gather":
        return fetches_in_range(scope, op)
    if op.type == "Reshape" and scope.const(op.inputs[1]) is None:
        return False
    return op.type in _SAFE and not divides_integers(scope.graph, op)


def _replace(inliner: Inliner, op_id: int, nothing_if: bool, axes: list[int]) -> None:
    rw = inliner.rw
    op = rw.graph.op(op_id)

    def build() -> list[str]:
        values = inliner.inline(op.attrs["else_branch" if nothing_if else "then_branch"], {})
        condition = rw.insert("Reshape", [op.inputs[0], np.array([1], np.int64)])
        ends = [np.array([n], np.int64) for n in ((0, _ALL) if nothing_if else (_ALL, 0))]
        end = rw.insert("Where", [condition, *ends])
        zero = np.array([0], np.int64)
        return [
            rw.insert("Slice", [value, zero, end, np.array([axis], np.int64)])
            for value, axis in zip(values, axes, strict=True)
        ]

    substitute(rw, op_id, build)
