"""Running one piece of work on a graph and on every body inside it, with the outer constants in sight."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.rewriter import Rewriter
from coregraft.rewriter.types import Const, TensorType

#: The ops whose attributes hold graphs. (A scan of all attributes would be most of what an idle pass costs.)
_HOLDERS = frozenset({("", "If"), ("", "Loop"), ("", "Scan"), ("", "SequenceMap")})


@dataclass(frozen=True)
class Scope:
    """A graph and, for a body, the scope around it: names that the graph does not define are looked up there."""

    graph: Graph
    outer: Scope | None = None

    def const(self, value: str) -> Const | None:
        """The constant that a name stands for here, captured ones included; None for ``""`` and for run-time values."""
        scope = self._home(value)
        return scope.graph.const(value) if scope else None

    def type(self, value: str) -> TensorType | None:
        """The tensor type of a name, from the scope that defines it."""
        scope = self._home(value)
        return scope.graph.tensor_type(value) if scope else None

    def is_captured(self, value: str) -> bool:
        """Whether a name in this graph belongs to a scope around it."""
        return self.outer is not None and is_free(self.graph, value)

    def fresh_name(self, hint: str) -> str:
        """A value name that neither this graph nor one around it has, made from ``hint``."""
        name, n = self.graph.fresh_name(hint), 0
        while self.outer is not None and self.outer.is_visible(name):
            n += 1
            name = self.graph.fresh_name(f"{hint}/{n}")
        return name

    def is_visible(self, value: str) -> bool:
        """Whether a name stands for something here, or in a graph around this one."""
        return value in self.graph or (self.outer is not None and self.outer.is_visible(value))

    def _home(self, value: str) -> Scope | None:
        scope: Scope | None = self
        while value and scope is not None:
            if value in scope.graph and not scope.is_captured(value):
                return scope
            scope = scope.outer
        return None


def is_free(g: Graph, value: str) -> bool:
    """Whether a graph only reads a value: it has no producer, no content, and is no input."""
    return g.producer(value) is None and g.const(value) is None and value not in g.graph.get("inputs", ())


def keeps_going(scope: Scope) -> bool:
    """Whether the body of a Loop never ends it: it hands on the condition, which was true, or gives a constant."""
    body = scope.graph
    value = body.source(next(iter(body.outputs.values())))
    const = scope.const(value)
    return value == body.inputs[1] or (const is not None and bool(const.numpy().all()))


def with_bodies(g: Graph) -> list[tuple[int, Op]]:
    """The ops that have bodies, in program order."""
    found = [(op_id, op) for op_id, op in g.ops() if op.attrs and op.key in _HOLDERS]
    return sorted(found, key=lambda item: g.order_key(item[0]))


def all_graphs(g: Graph) -> Iterator[Graph]:
    """A graph and all bodies in it, outer before inner."""
    yield g
    for _, op in with_bodies(g):
        for _, body in op.bodies():
            yield from all_graphs(body)


def visit_scopes(rw: Rewriter, work: Callable[[Rewriter, Scope], None], outer: Scope | None = None) -> None:
    """Do ``work`` on the rewriter's graph, then on the bodies left in it.

    A body is copied, and put in the place of the old one only when something in it changed.
    """
    scope = Scope(rw.graph, outer)
    work(rw, scope)
    for op_id, op in with_bodies(rw.graph):
        changed: dict[str, Graph] = {}
        for name, body in op.bodies():
            inner = Rewriter(body.copy(), rw.pass_name)
            inner.rule_name = rw.rule_name
            visit_scopes(inner, work, scope)
            if inner.changed:
                changed[name] = inner.graph
        if changed:
            rw.update(op_id, attrs={**op.attrs, **changed})
