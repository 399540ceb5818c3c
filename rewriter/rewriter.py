"""The only way a pass changes a graph: every mutation is an event, journalled so that it can be undone."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from coregraft.rewriter.errors import CoregraftError
from coregraft.rewriter.graph import Graph, Op, Origin
from coregraft.rewriter.match import declined
from coregraft.rewriter.shapes import completed, infer_op_types
from coregraft.rewriter.target import Target
from coregraft.rewriter.types import Array, Const, TensorType, ValueType, compatible

#: What a value may be given as: its name, a view or handle with a ``name``, or None for an omitted operand.
ValueLike = Any


class TypeChangedError(CoregraftError):
    """A replacement would change the element type or shape of a value; the rewrite is undone."""

    def __init__(self, value: str, old: ValueType, new: ValueType) -> None:
        super().__init__("replacement-changes-type", f'"{value}" would change from {old} to {new}', node=value)


class Rewriter:
    """Mutates one graph on behalf of one pass.

    Attributes:
        graph: the graph, always consistent between two calls.
        events: how often each kind of event took place: ``inserted``, ``removed``, ``updated``, ``replaced``,
            ``retyped``. No events means that nothing changed: nobody reports that by hand.
        touched: ids of ops that are new or whose surroundings changed since the driver last took them.
        target: what the graph is for, so that a rule may ask whether an op has a lowering.
        stem: what the names of new values start with where they stand for no op of the graph.
    """

    def __init__(self, graph: Graph, pass_name: str = "", target: Target | None = None, stem: str = "") -> None:
        self.graph = graph
        self.pass_name = pass_name
        self.stem = stem
        self.target = target or Target.any()
        self.rule_name = ""
        self.events: Counter[str] = Counter()
        self.touched: list[int] = []
        self._journal: list[tuple[str, Callable[[], object]]] = []
        self._changed_ops: set[int] = set()
        self._op_names: dict[str, int] | None = None  # and the number last tried after each
        self._new_consts: list[str] = []
        self._pos: int | None = None
        self._replaced: tuple[Op, ...] = ()

    # ---------------------------------------------------------------- where new ops go

    def at(self, op_ids: Sequence[int], rule_name: str | None = None) -> None:
        """New ops from here on stand for ``op_ids`` (the first is the root): place, names and origin follow them."""
        if rule_name is not None:
            self.rule_name = rule_name
        node = self.graph._node
        self._pos = node[op_ids[0]]["pos"]
        self._replaced = tuple([node[i]["op"] for i in op_ids])

    def _anchor(self) -> str:
        """What the names of new values start with: the root that they stand for."""
        return _source_name(self._replaced[0]) if self._replaced else self.stem

    # ---------------------------------------------------------------- inserting

    def const(self, value: Array | Const | Sequence[Any] | float, hint: str = "") -> str:
        """Add a constant and return its name. Give numpy arrays: a Python number would be int64 or float64."""
        const = value if isinstance(value, Const) else Const.of(value)
        name = self.graph.fresh_name(hint or f"{self._anchor()}/const")
        self._add_value(name, const.type, const)
        self._new_consts.append(name)
        return name

    def insert(
        self,
        op_type: str,
        inputs: Sequence[ValueLike],
        attrs: Mapping[str, Any] | None = None,
        *,
        n_outputs: int = 1,
        outputs: Sequence[str] | None = None,
        domain: str = "",
        name: str | None = None,
        overload: str = "",
    ) -> Any:
        """Insert an op; returns the name of its output, or the list of names when there are several.

        Args:
            inputs: names, views, None for an omitted operand, or numpy arrays, which become constants.
            outputs: names of results to define (they must have no producer); fresh names when not given.
        """
        operands = tuple([self.name_of(i) for i in inputs])
        if outputs is None:
            outputs = []
            for _ in range(n_outputs):  # a name is taken once its value is there
                outputs.append(self.graph.fresh_name(f"{self._anchor()}/{op_type}"))
                self._add_value(outputs[-1], None, None)
        name = self._unique_op_name(outputs[0] if name is None else name)
        origin = None
        if self.pass_name:
            origin = Origin(self.pass_name, self.rule_name, tuple([_source_name(old) for old in self._replaced]))
        clean = _clean(attrs or {})
        op = Op(op_type, operands, tuple(outputs), clean, domain, name, overload, _captures(clean), origin)
        op_id = self._add_op(op, self._pos)
        self._infer(op_id)
        return outputs[0] if len(outputs) == 1 else list(outputs)

    def _unique_op_name(self, hint: str) -> str:
        """An op name that no op of the graph has: onnxruntime wants that, and a value's name may have been freed."""
        if self._op_names is None:
            self._op_names = dict.fromkeys((op.name for _, op in self.graph.ops()), 0)
        taken, name = self._op_names, hint
        while name and name in taken:
            taken[hint] += 1
            name = f"{hint}_{taken[hint]}"
        taken[name] = 0
        return name

    def name_of(self, value: ValueLike) -> str:
        """The value name behind a name, a view, None, or an array (which is added as a constant)."""
        if value is None:
            return ""
        if isinstance(value, str):
            return value
        if isinstance(value, (np.ndarray, np.generic)):
            return self.const(np.asarray(value))
        if isinstance(value, Const):
            return self.const(value)
        return str(value.name)

    # ---------------------------------------------------------------- changing and removing

    def update(
        self,
        op_id: int,
        *,
        inputs: Sequence[ValueLike] | None = None,
        outputs: Sequence[str] | None = None,
        attrs: Mapping[str, Any] | None = None,
        type: str | None = None,
        domain: str | None = None,
    ) -> None:
        """Put a changed op in the place of an op. ``attrs`` replaces all attributes; None as a value drops one."""
        old = self.graph.op(op_id)
        changes: dict[str, Any] = {}
        if inputs is not None:
            changes["inputs"] = tuple(self.name_of(i) for i in inputs)
        if outputs is not None:
            changes["outputs"] = tuple(outputs)
        if attrs is not None:
            changes["attrs"] = _clean(attrs)
            changes["captures"] = _captures(changes["attrs"])
        if type is not None:
            changes["type"] = type
        if domain is not None:
            changes["domain"] = domain
        new = dataclasses.replace(old, **changes)
        if new == old:
            return
        self._set_op(op_id, new)
        for value in dict.fromkeys((*old.operands, *old.outputs)):
            self._drop_if_orphan(value)
        self._infer(op_id)

    def replace(self, op_ids: Sequence[int], new_values: Mapping[ValueLike, ValueLike]) -> None:
        """Replace ops by values already in the graph: users and outputs of each old value read the new one.

        Ops of ``op_ids`` are erased as far as nothing uses them any more.

        Raises:
            TypeChangedError: an old and its new value differ in element type or shape; nothing was changed.
        """
        for old, new in new_values.items():
            self.replace_uses(old, new)
        self._erase_dead(op_ids)

    def replace_uses(self, old: ValueLike, new: ValueLike) -> None:
        """Let every user of ``old``, and every graph output read from it, read ``new``.

        Raises:
            TypeChangedError: the two differ in element type or shape.
        """
        a, b = self.name_of(old), self.name_of(new)
        if a == b:
            return
        self._check_same_type(a, b)
        producer = self.graph.producer(b)
        if producer is not None:  # what was known of one holds for the other; inputs and constants say it themselves
            self.set_type(b, self._merged(a, b))
        for user in self.graph.users(a):
            self._set_op(user, _renamed(self.graph.op(user), a, b))
            self.touched.append(user)
        if self.graph.is_output(a):
            self.set_outputs({name: b if source == a else source for name, source in self.graph.outputs.items()})
        self._record("replaced", _nothing)
        if producer is not None:  # what reads a constant or an input does not care who else does
            self.touched += [producer, *self.graph.users(b)]

    def set_outputs(self, outputs: Mapping[str, str]) -> None:
        """Re-source the graph's outputs; the public names stay."""
        old = self.graph.outputs
        self.graph.set_outputs(outputs)
        self._record("updated", lambda: self.graph.set_outputs(old))

    def set_fact(self, key: str, value: Any) -> None:
        """Set a model-level fact, an entry of ``graph.graph``."""
        old, had = self.graph.graph.get(key), key in self.graph.graph
        self.graph.graph[key] = value
        self._record("updated", lambda: self.graph.graph.update({key: old}) if had else self.graph.graph.pop(key, None))

    def set_type(self, value: ValueLike, type: ValueType | None) -> None:
        """Set what is known of a value's type."""
        name = self.name_of(value)
        if self.graph.type_of(name) != type:
            self._set_data(name, "type", type, "retyped")

    def set_const(self, value: ValueLike, const: Const) -> None:
        """Turn a value without a producer into a constant, or give a constant another content."""
        name = self.name_of(value)
        self._set_data(name, "const", const, "updated")
        self.set_type(name, const.type)
        self.touched.extend(self.graph.users(name))

    def erase(self, op_id: int) -> None:
        """Remove an op and the values that nobody needs after it. Its results must have no users, or get another op."""
        op = self.graph.op(op_id)
        producers = [p for v in op.operands if (p := self.graph.producer(v)) is not None]
        self._remove_op(op_id)
        for value in dict.fromkeys((*op.outputs, *op.operands)):
            self._drop_if_orphan(value)
        self.touched.extend(p for p in producers if p in self.graph)

    def drop(self, value: ValueLike) -> None:
        """Remove a value that nothing defines, reads or returns, such as a constant left over; any other stays."""
        name = self.name_of(value)
        self._drop_if_orphan(name)
        if name not in self.graph:
            self._record("removed", _nothing)

    def type_of(self, value: ValueLike) -> TensorType | None:
        """The tensor type of a value."""
        return self.graph.tensor_type(self.name_of(value))

    # ---------------------------------------------------------------- committing a built replacement

    def commit(self, op_ids: Sequence[int], old: Sequence[str], build: Callable[[], Any]) -> Any:
        """Let ``build`` insert a replacement for ``op_ids``; the values it returns take the names of ``old``.

        ``build`` may decline (None, False or a NoMatch), which undoes what it inserted.

        Raises:
            TypeChangedError: a new value differs in type from the old one; everything is undone.
        """
        mark = self.mark()
        self._new_consts.clear()
        first_new: int = self.graph.graph.get("next_id", 0)
        try:
            result = build()
            if declined(result):
                self.rollback(mark)
                return result
            values = [self.name_of(v) for v in (result if isinstance(result, (tuple, list)) else (result,))]
            if len(values) != len(old):
                raise CoregraftError(
                    "rule-output-count", f"{self.rule_name} returned {len(values)} values for {len(old)}", node=old[0]
                )
            self._substitute(op_ids, old, values, first_new)
            for name in self._new_consts:
                self._drop_if_orphan(name)
        except TypeChangedError:
            self.rollback(mark)
            raise
        return result

    def _substitute(self, op_ids: Sequence[int], old: Sequence[str], new: Sequence[str], first_new: int) -> None:
        names: dict[str, str] = {}
        for a, b in zip(old, new, strict=True):
            self._check_same_type(a, b)
            producer = self.graph.producer(b)
            is_new = producer is not None and producer >= first_new and not self.graph.is_output(b)
            if a != b and is_new and b not in names:
                names[b] = a
            else:
                self.replace_uses(a, names.get(b, b))
        # A new result takes the old name, so that names stay what the source model called them.
        for b, a in names.items():
            old_producer = self.graph.producer(a)
            kind = self._merged(a, b)
            if old_producer is not None:
                self._detach_output(old_producer, a, first_new, op_ids)
            self._rename_output(b, a)
            self.set_type(a, kind)
            self.touched.extend(self.graph.users(a))
            self._record("replaced", _nothing)
        self._erase_dead(op_ids)

    def _detach_output(self, op_id: int, value: str, first_new: int, going: Sequence[int]) -> None:
        """Take a result's name from its op; new ops that read the old result follow it to another name."""
        readers = [user for user in self.graph.users(value) if user >= first_new]
        if not readers and op_id in going and not any(o and o != value for o in self.graph.op(op_id).outputs):
            self.erase(op_id)
            return
        inner = ""
        if readers:
            inner = self.graph.fresh_name(f"{value}/inner")
            self._add_value(inner, self.graph.type_of(value), None)
        for user in readers:
            self._set_op(user, _renamed(self.graph.op(user), value, inner))
        op = self.graph.op(op_id)
        self._set_op(op_id, dataclasses.replace(op, outputs=tuple(inner if o == value else o for o in op.outputs)))

    def _rename_output(self, old: str, new: str) -> None:
        for user in self.graph.users(old):
            self._set_op(user, _renamed(self.graph.op(user), old, new))
        producer = self.graph.producer(old)
        assert producer is not None
        op = self.graph.op(producer)
        self._set_op(producer, dataclasses.replace(op, outputs=tuple(new if o == old else o for o in op.outputs)))
        self._drop_if_orphan(old)

    def _erase_dead(self, op_ids: Iterable[int]) -> None:
        left = [op_id for op_id in op_ids if op_id in self.graph._node]
        for op_id in sorted(left, key=self.graph.order_key, reverse=True):
            outputs = [o for o in self.graph.op(op_id).outputs if o]
            if not any(self.graph._succ[o] or self.graph.is_output(o) for o in outputs):
                self.erase(op_id)

    # ---------------------------------------------------------------- undoing

    def mark(self) -> int:
        """A point to which :meth:`rollback` can return."""
        return len(self._journal)

    def rollback(self, mark: int = 0) -> None:
        """Undo everything since ``mark``; the graph and the events are as they were then."""
        while len(self._journal) > mark:
            event, undo = self._journal.pop()
            undo()
            if event:
                self.events[event] -= 1
        self.touched = [i for i in self.touched if i in self.graph]

    def forget(self) -> None:
        """Give up undoing what was done so far, and the memory that it takes."""
        self._journal.clear()

    @property
    def changed(self) -> bool:
        return any(self.events.values())

    def changed_ops(self) -> list[int]:
        """The ops that are new or were changed and are still there, in order of their ids."""
        return sorted(i for i in self._changed_ops if i in self.graph)

    # ---------------------------------------------------------------- journalled primitives

    def _record(self, event: str, undo: Callable[[], object]) -> None:
        """Count an event (``""``: a side effect of another one) and remember how to undo it."""
        if event:
            self.events[event] += 1
        self._journal.append((event, undo))

    def _add_value(self, name: str, type: ValueType | None, const: Const | None) -> None:
        self.graph.add_value(name, type, const)
        self._record("", lambda: self.graph.remove_node(name))

    def _add_values(self, op: Op) -> None:
        for value in (*op.inputs, *op.captures, *op.outputs):
            if value and value not in self.graph._node:
                self._add_value(value, None, None)

    def _set_data(self, name: str, key: str, new: Any, event: str) -> None:
        node = self.graph._node
        old = node[name][key]
        node[name][key] = new
        # Looked up again when undone: a value that was removed since has come back with another dict.
        self._record(event, lambda: node[name].__setitem__(key, old))

    def _add_op(self, op: Op, pos: int | None) -> int:
        self._add_values(op)
        op_id = self.graph.add_op(op, pos)
        self._record("inserted", lambda: self.graph.remove_node(op_id))
        self._changed_ops.add(op_id)
        self.touched.append(op_id)
        self.touched.extend(u for o in op.outputs if o for u in self.graph.users(o))
        return op_id

    def _remove_op(self, op_id: int) -> None:
        g, data = self.graph, self.graph._node[op_id]
        g.remove_node(op_id)

        def restore() -> None:
            g.add_node(op_id, **data)
            g._connect(op_id, data["op"])

        self._record("removed", restore)

    def _set_op(self, op_id: int, op: Op) -> None:
        old = self.graph.op(op_id)
        self._add_values(op)
        self.graph.set_op(op_id, op)
        self._record("updated", lambda: self.graph.set_op(op_id, old))
        self._changed_ops.add(op_id)
        self.touched.append(op_id)

    def _drop_if_orphan(self, value: str) -> None:
        g = self.graph
        if not value or value not in g._node or g._succ[value] or g._pred[value]:
            return
        if g.is_output(value) or value in g.graph.get("inputs", ()):
            return
        data = g._node[value]
        g.remove_node(value)
        self._record("", lambda: g.add_node(value, **data))

    # ---------------------------------------------------------------- types and surroundings

    def _infer(self, op_id: int) -> None:
        op = self.graph.op(op_id)
        if all(not value or self.graph.type_of(value) is not None for value in op.outputs):
            return
        for value, kind in zip(op.outputs, infer_op_types(self.graph, op_id), strict=False):
            if value and kind is not None and self.graph.type_of(value) is None:
                self.set_type(value, kind)

    def _merged(self, old: str, new: str) -> ValueType | None:
        """What is known of two values that are the same one."""
        return completed(self.graph.type_of(new), self.graph.type_of(old))

    def _check_same_type(self, old: str, new: str) -> None:
        a, b = self.graph.type_of(old), self.graph.type_of(new)
        if a is None or b is None or a == b:
            return
        if not isinstance(a, TensorType) or not isinstance(b, TensorType):
            raise TypeChangedError(old, a, b)
        if a.dtype != b.dtype or not compatible(a.shape, b.shape):
            raise TypeChangedError(old, a, b)


def _nothing() -> None:
    """The undoing of an event that consists of others."""


def _clean(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes as an op holds them: None is none at all, a list a tuple."""
    return {k: tuple(v) if type(v) is list else v for k, v in attrs.items() if v is not None}


def _captures(attrs: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(sorted({name for v in attrs.values() if isinstance(v, Graph) for name in v.free_values()}))


def _source_name(op: Op) -> str:
    return op.name or next((o for o in op.outputs if o), op.type)


def _renamed(op: Op, old: str, new: str) -> Op:
    """The op with a value it reads renamed, in its bodies too."""
    changes: dict[str, Any] = {"inputs": tuple(new if i == old else i for i in op.inputs)}
    if old in op.captures:
        attrs = {k: rename_free(v, old, new) if isinstance(v, Graph) else v for k, v in op.attrs.items()}
        changes["attrs"] = attrs
        changes["captures"] = _captures(attrs)
    return dataclasses.replace(op, **changes)


def rename_free(body: Graph, old: str, new: str) -> Graph:
    """A body in which the captured outer value ``old`` is called ``new``; the body itself when it does not read it."""
    if old not in body or old not in body.free_values():
        return body
    copy: Graph = body.copy()
    kind = copy.type_of(old)
    users = copy.users(old)
    copy.add_value(new, kind)
    for user in users:
        copy.set_op(user, _renamed(copy.op(user), old, new))
    copy.set_outputs({name: new if source == old else source for name, source in copy.outputs.items()})
    copy.remove_node(old)
    return copy
