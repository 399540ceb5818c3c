"""Copying a body's ops into the graph around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from coregraft.passes.cleanup.scopes import Scope, all_graphs, is_free
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.rewriter import Rewriter, rename_free
from coregraft.rewriter.shapes import completed
from coregraft.rewriter.types import TensorType, ValueType


class Inliner:
    """Inserts the ops of bodies into one graph, with names that are not taken.

    Args:
        scope: of the graph that ``rw`` changes.
    """

    def __init__(self, rw: Rewriter, scope: Scope) -> None:
        self.rw, self.scope = rw, scope
        self._op_names = {op.name for _, op in rw.graph.ops()}

    def inline(self, body: Graph, bind: Mapping[str, str], *, trip: int | None = None) -> list[str]:
        """Insert the ops of a body for the op that ``rw.at`` points at.

        Args:
            bind: body input -> the value it stands for.
            trip: number of the iteration of a loop. Shapes that inference found in the body may hold for one
                iteration only, so they are left out then, and ops are named after the iteration.

        Returns:
            What the body's outputs are called in the graph, in order.
        """
        hidden = frozenset(v for inner in all_graphs(body) if inner is not body for v in inner.values())
        suffix = "" if trip is None else f"/{trip}"
        names: dict[str, str] = dict(bind)

        def fresh(value: str) -> str:
            name, n = self.scope.fresh_name(value + suffix), 0
            while name in hidden:  # a body in the body has a value of that name
                n += 1
                name = self.scope.fresh_name(f"{value}{suffix}/{n}")
            return name

        for value in body.values():
            const = body.const(value)
            if value in names:
                continue
            if const is not None:
                names[value] = self.rw.const(const, hint=fresh(value))
            elif is_free(body, value):
                names[value] = value
        for op_id in body.topological():
            self._copy(body, body.op(op_id), names, fresh, suffix)
        return [names[v] for v in body.outputs.values()]

    def _copy(
        self, body: Graph, op: Op, names: dict[str, str], fresh: Callable[[str], str], suffix: str
    ) -> None:
        rw = self.rw
        outputs = [fresh(o) if o else "" for o in op.outputs]
        attrs = {k: _renamed(v, op.captures, names) if isinstance(v, Graph) else v for k, v in op.attrs.items()}
        inputs = [names[i] if i else "" for i in op.inputs]
        name = self._op_name(op.name + suffix) if op.name else ""
        rw.insert(op.type, inputs, attrs, outputs=outputs, domain=op.domain, name=name, overload=op.overload)
        for old, new in zip(op.outputs, outputs, strict=True):
            if old:
                names[old] = new
                if rw.graph.type_of(new) is None:
                    rw.set_type(new, _lasting(body.type_of(old), in_loop=bool(suffix)))

    def _op_name(self, hint: str) -> str:
        name, n = hint, 0
        while name in self._op_names:
            n += 1
            name = f"{hint}_{n}"
        self._op_names.add(name)
        return name


def _renamed(body: Graph, captures: Sequence[str], names: Mapping[str, str]) -> Graph:
    for value in captures:
        if names[value] != value:
            body = rename_free(body, value, names[value])
    return body


def _lasting(kind: ValueType | None, in_loop: bool) -> ValueType | None:
    return TensorType(kind.dtype) if in_loop and isinstance(kind, TensorType) else kind


def substitute(rw: Rewriter, op_id: int, build: Callable[[], Sequence[str]]) -> None:
    """Replace an op by the values that ``build`` makes for each of its outputs, names and public outputs kept.

    An output that would be an input, a constant, a captured value, or a copy of another output gets an Identity.
    """
    g, op = rw.graph, rw.graph.op(op_id)
    old_types: dict[str, Any] = {o: g.type_of(o) for o in op.outputs if o}

    def built() -> list[str]:
        for value in old_types:  # a type common to all ways through the op is less than what is known now
            rw.set_type(value, None)
        results: list[str] = []
        for out, value in zip_longest(op.outputs, build(), fillvalue=""):
            if not out:
                continue
            if g.public_names(out) and (g.producer(value) is None or g.public_names(value) or value in results):
                value = rw.insert("Identity", [value])
            results.append(value)
        return results

    rw.commit([op_id], list(old_types), built)
    for value, kind in old_types.items():
        if value in g:
            rw.set_type(value, completed(g.type_of(value), kind))
