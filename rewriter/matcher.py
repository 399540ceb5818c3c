"""Matching a compiled pattern at an op: backtracking only where a choice is (operand order, alternatives)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.match import Match, NoMatch, OpView, ValueView
from coregraft.rewriter.pattern import AnyOf, AttrCapture, Capture, Node, OpPattern, Pattern, Rest, Result, Scalar, show
from coregraft.rewriter.schema import attr
from coregraft.rewriter.types import DType

# An agenda is a linked list of (pattern node, value name) pairs still to be matched, None at its end.
_Agenda = tuple[Node, Any, Any] | None


@dataclass(frozen=True, slots=True)
class _Captured:
    """The value of a captured attribute, kept apart from value names."""

    value: Any


class Matcher:
    """Matches one pattern in one graph. ``trace`` collects the deepest failure, for ``explain``."""

    def __init__(self, pattern: Pattern, graph: Graph, *, trace: bool = False) -> None:
        self.pattern = pattern
        self.graph = graph
        self.trace = trace
        self.deepest = -1
        self.reason = NoMatch("the op is not a root of the pattern")

    def match(self, root_id: int) -> Match | NoMatch:
        """The match whose root is the op, or the reason why there is none."""
        self.deepest = -1
        names: dict[str, Any] = {}
        ops: dict[int, tuple[OpPattern, int]] = {}
        found = self._match_op(self.pattern.root, root_id, None, names, ops)
        if found is None:
            return self.reason
        names, ops = found
        return self._close(root_id, names, ops)

    # ---------------------------------------------------------------- solving

    def _solve(
        self, agenda: _Agenda, names: dict[str, Any], ops: dict[int, tuple[OpPattern, int]]
    ) -> tuple[dict[str, Any], dict[int, tuple[OpPattern, int]]] | None:
        while agenda is not None:
            node, value, agenda = agenda
            kind = type(node)
            if kind is Capture:
                if not self._bind(node, value, names, len(ops)):
                    return None
            elif kind is Result:
                producer = self.graph.producer(value) if value else None
                if producer is None:
                    return self._fail(len(ops), "{} is not computed by {}", value or "an omitted operand", node)
                return self._match_result(node, producer, value, agenda, names, ops)
            elif kind is Scalar:
                if not self._is_scalar(value, node.value):
                    return self._fail(len(ops), "{} is not the constant {}", value or "an omitted operand", node)
            elif kind is AnyOf:
                for alternative in node.alternatives:
                    found = self._solve((alternative, value, agenda), dict(names), dict(ops))
                    if found is not None:
                        return found
                return None
            else:  # Rest: its values were collected when the operands were laid out
                names[node.name] = value
        return names, ops

    def _bind(self, node: Capture, value: str, names: dict[str, Any], depth: int) -> bool:
        if not value and not node.optional:
            self._fail(depth, "operand {} is omitted", node)
            return False
        if names.setdefault(node.name, value) == value:
            return True
        self._fail(depth, "{} is {} here and {} there", node, value, names[node.name])
        return False

    def _match_result(
        self,
        node: Result,
        op_id: int,
        value: str,
        agenda: _Agenda,
        names: dict[str, Any],
        ops: dict[int, tuple[OpPattern, int]],
    ) -> tuple[dict[str, Any], dict[int, tuple[OpPattern, int]]] | None:
        outputs = self.graph.op(op_id).outputs
        if node.index >= len(outputs) or outputs[node.index] != value:
            return self._fail(len(ops), "{} is another output of its op", value)
        known = ops.get(id(node.producer))
        if known is not None:
            return self._solve(agenda, names, ops) if known[1] == op_id else self._fail(len(ops), "{} differs", node)
        return self._match_op(node.producer, op_id, agenda, names, ops)

    def _match_op(
        self,
        pattern: OpPattern,
        op_id: int,
        agenda: _Agenda,
        names: dict[str, Any],
        ops: dict[int, tuple[OpPattern, int]],
    ) -> tuple[dict[str, Any], dict[int, tuple[OpPattern, int]]] | None:
        op = self.graph.op(op_id)
        if op.type not in pattern.types or op.domain != pattern.domain:
            return self._fail(len(ops), "{} is not a {}", op.label, "|".join(pattern.types))
        for name, wanted in pattern.attrs.items():
            value = attr(op, name)
            if isinstance(wanted, AttrCapture):
                names[wanted.name] = _Captured(value)
            elif not (wanted(value) if callable(wanted) else _equal(value, wanted)):
                return self._fail(len(ops), "{}: attribute {} = {} does not fit", op.label, name, value)
        operands = self._operands(pattern, op)
        if operands is None:
            return self._fail(len(ops), "{} has {} operands", op.label, len(op.inputs))
        ops[id(pattern)] = (pattern, op_id)
        if pattern.name:
            names[pattern.name] = OpView(self.graph, op_id)
        if pattern.commutes and len(op.inputs) == 2 and op.inputs[0] != op.inputs[1]:
            (a, x), (b, y) = operands
            found = self._solve((a, x, (b, y, agenda)), dict(names), dict(ops))
            return found if found is not None else self._solve((a, y, (b, x, agenda)), names, ops)
        for node, value in reversed(operands):
            agenda = (node, value, agenda)
        return self._solve(agenda, names, ops)

    def _operands(self, pattern: OpPattern, op: Op) -> list[tuple[Node, Any]] | None:
        nodes: tuple[Node, ...] = pattern.operands
        pairs: list[tuple[Node, Any]] = []
        if nodes and isinstance(nodes[-1], Rest):
            pairs.append((nodes[-1], op.inputs[len(nodes) - 1 :]))
            nodes = nodes[:-1]
        elif any(op.inputs[len(nodes) :]):
            return None
        given = (*op.inputs[: len(nodes)], *("" for _ in range(len(nodes) - len(op.inputs))))
        return [*zip(nodes, given, strict=True), *pairs]

    def _is_scalar(self, value: str, wanted: float) -> bool:
        const = self.graph.const(value)
        if const is None or const.size != 1 or const.dtype is DType.STRING:
            return False
        found = const.numpy().reshape(())
        if not const.dtype.is_float:
            return bool(found == wanted)
        exact = np.asarray(wanted, dtype=found.dtype)
        return bool(found == exact) or abs(float(found) - float(exact)) <= abs(float(np.spacing(exact)))

    # ---------------------------------------------------------------- the end of a match

    def _close(self, root_id: int, names: dict[str, Any], ops: dict[int, tuple[OpPattern, int]]) -> Match | NoMatch:
        g = self.graph
        matched = {op_id for _, op_id in ops.values()}
        if len(matched) != len(ops):
            return NoMatch("one op would stand for two of the pattern")
        results: list[str] = []
        for output in self.pattern.outputs:
            at = ops.get(id(output.producer))
            if at is None or output.index >= len(g.op(at[1]).outputs) or not g.op(at[1]).outputs[output.index]:
                return NoMatch("output {} of the pattern is not there", show(output))
            results.append(g.op(at[1]).outputs[output.index])
        kept: set[int] = set()
        for pattern, op_id in ops.values():
            for value in g.op(op_id).outputs:
                if not value or value in results:
                    continue
                escapes = bool(g.public_names(value)) or any(user not in matched for user in g._succ[value])
                if escapes and not pattern.shared:
                    return NoMatch("intermediate value {} is used outside the match", value)
                if escapes:
                    kept.add(op_id)
        bindings = {name: self._view(names.get(name)) for name in (*self.pattern.captures, *names)}
        order = (root_id, *sorted((i for i in matched if i != root_id and i not in kept), key=g.order_key))
        return Match(g, root_id, order, tuple(results), bindings)

    def _view(self, value: Any) -> Any:
        if isinstance(value, _Captured):
            return value.value
        if isinstance(value, str):
            return ValueView(self.graph, value) if value else None
        if isinstance(value, tuple):
            return [ValueView(self.graph, v) if v else None for v in value]
        return value

    def _fail(self, depth: int, text: str, *args: Any) -> None:
        if self.trace and depth > self.deepest:
            self.deepest = depth
            self.reason = NoMatch(text, *(show(a) if isinstance(a, Node) else a for a in args))


def _equal(value: Any, wanted: Any) -> bool:
    if isinstance(value, tuple) or isinstance(wanted, tuple):
        return isinstance(value, tuple) and isinstance(wanted, tuple) and tuple(value) == tuple(wanted)
    return bool(value == wanted)
