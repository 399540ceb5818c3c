"""Compute both branches of a small If, and choose."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from coregraft.passes.cleanup.cones import NEVER
from coregraft.passes.cleanup.inline import Inliner, substitute
from coregraft.passes.cleanup.scopes import Scope, visit_scopes
from coregraft.rewriter.contract import Context, Pass
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.match import NoMatch
from coregraft.rewriter.rewriter import Rewriter
from coregraft.rewriter.schema import attr
from coregraft.rewriter.types import DType, TensorType

#: Ops that fail, or have no fixed result shape, for some content of their operands (their indices, most of all).
_DATA_DEPENDENT = NEVER | {
    "Compress", "Gather", "GatherElements", "GatherND", "NonZero", "OneHot", "ScatterElements", "ScatterND", "Unique",
}  # fmt: skip
_SCALAR = TensorType(DType.BOOL, ())


@dataclass(frozen=True)
class SelectIf(Pass):
    """Replace an If with small branches by both branches and a Where.

    What it does
    ------------
    An ``If`` whose condition is known at run time only is replaced by the ops of both branches, and a ``Where`` for
    each result, when the branches are small, give the same shapes, and have no op that could fail for some data.

    Why it matters
    --------------
    Core ML's ``cond`` takes its surroundings off the Neural Engine. Computing a few ops too many costs less.

    Example
    -------
    ``If(c) {Neg(x)} else {Relu(x)}`` becomes ``Where(c, Neg(x), Relu(x))``.

    Equivalence
    -----------
    Bit-exact: ``Where`` passes no infinity or NaN of the other branch.

    Options
    -------
    ``max-ops``: an If whose branches have more ops than this together stays.

    Sources
    -------
    Hazard H5.09.
    """

    max_ops: int = 64

    def run(self, g: Graph, ctx: Context) -> None:
        visit_scopes(ctx.rewriter(g), lambda rw, scope: self._select(rw, scope, ctx))

    def _select(self, rw: Rewriter, scope: Scope, ctx: Context) -> None:
        g = rw.graph
        waiting = deque(sorted((i for i, op in g.ops() if op.key == ("", "If")), key=g.order_key))
        inliner = Inliner(rw, scope) if waiting else None
        while waiting and inliner is not None:
            op_id = waiting.popleft()
            op = g.op(op_id)
            obstacle = self._obstacle(op, scope)
            if obstacle is not None:
                ctx.note(f"{op.label} stays: {obstacle}")
                continue
            rw.at([op_id], "SelectIf")
            _replace(inliner, op_id)
            ctx.count("selected")

    def _obstacle(self, op: Op, scope: Scope) -> NoMatch | None:
        then, other = op.attrs["then_branch"], op.attrs["else_branch"]
        ops = [*_ops(then), *_ops(other)]
        if len(ops) > self.max_ops:
            return NoMatch("its branches have {} ops, more than max-ops={}", len(ops), self.max_ops)
        for g, inner in ops:
            risky = inner.type in _DATA_DEPENDENT and not fetches_in_range(Scope(g, scope), inner)
            if inner.domain or risky or divides_integers(g, inner):
                return NoMatch("{} may fail where its branch is not taken", inner.label)
            if any((kind := g.tensor_type(o)) is None or kind.shape is None for o in inner.outputs if o):
                return NoMatch("the shape of {} is not known", inner.label)
        for a, b in zip(then.outputs.values(), other.outputs.values(), strict=True):
            left, right = then.tensor_type(a), other.tensor_type(b)
            if left is None or left != right or left.shape is None or None in left.shape:
                return NoMatch("its branches give {} and {}", left, right)
        return None


def _ops(g: Graph) -> Iterator[tuple[Graph, Op]]:
    for op_id in g.topological():
        yield g, g.op(op_id)


def fetches_in_range(scope: Scope, op: Op) -> bool:
    """Whether an op is a Gather of elements that are certainly there."""
    kind = scope.type(op.inputs[0])
    indices = scope.const(op.inputs[1]) if op.type == "Gather" else None
    if indices is None or kind is None or not kind.shape or not isinstance(size := kind.shape[attr(op, "axis")], int):
        return False
    return bool(((indices.numpy() >= -size) & (indices.numpy() < size)).all())


def divides_integers(g: Graph, op: Op) -> bool:
    """Whether an op divides whole numbers, which not every number can."""
    kind = g.tensor_type(op.outputs[0]) if op.type in ("Div", "Mod") else None
    return kind is not None and not kind.dtype.is_float


def _replace(inliner: Inliner, op_id: int) -> None:
    rw = inliner.rw
    op = rw.graph.op(op_id)

    def build() -> list[str]:
        then = inliner.inline(op.attrs["then_branch"], {})
        other = inliner.inline(op.attrs["else_branch"], {})
        condition = op.inputs[0]
        kind = rw.type_of(condition)
        if kind is None or kind.rank != 0:  # one element, of any rank: it must not add dims to the result
            condition = rw.insert("Squeeze", [condition])
            rw.set_type(condition, _SCALAR)
        return [rw.insert("Where", [condition, a, b]) for a, b in zip(then, other, strict=True)]

    substitute(rw, op_id, build)
