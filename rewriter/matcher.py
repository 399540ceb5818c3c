"""Matching a compiled pattern at an op: backtracking only where a choice is (operand order, alternatives)."""

from __future__ import annotations

from collections.abc import Iterator
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


@dataclass(slots=True)
class _State:
    """A partial match: what is still to be matched, the bindings, and the op matched for each op pattern."""

    agenda: _Agenda
    names: dict[str, Any]
    ops: dict[int, tuple[OpPattern, int]]

    def fork(self, agenda: _Agenda) -> _State:
        return _State(agenda, dict(self.names), dict(self.ops))


class Matcher:
    """Matches one pattern in one graph. With ``trace``, ``reason`` is that of the deepest failure."""

    def __init__(self, pattern: Pattern, graph: Graph, *, trace: bool = False) -> None:
        self.pattern = pattern
        self.graph = graph
        self.trace = trace
        self.deepest = -1
        self.reason = NoMatch("the pattern does not fit")
        self._choices: list[_State] = []

    def matches(self, root_id: int) -> Iterator[Match]:
        """All matches whose root is the op: one for each order of commutative operands and each alternative."""
        start = _State(None, {}, {})
        self._choices = []
        if self._match_op(self.pattern.root, root_id, start):
            self._choices.append(start)
        while self._choices:
            state = self._choices.pop()
            if self._solve(state):
                match = self._close(root_id, state)
                if match is not None:
                    yield match

    # ---------------------------------------------------------------- solving

    def _solve(self, state: _State) -> bool:
        """Match everything on the agenda, leaving the other sides of choices for later; False at a failure."""
        while state.agenda is not None:
            node, value, state.agenda = state.agenda
            if isinstance(node, Capture):
                if not self._bind(node, value, state):
                    return False
            elif isinstance(node, Result):
                if not self._match_result(node, value, state):
                    return False
            elif isinstance(node, Scalar):
                if not self._is_scalar(value, node.value):
                    return self._fail(state, "{} is not the constant {}", value or "an omitted operand", node)
            elif isinstance(node, AnyOf):
                rest = state.agenda
                self._choices.extend(state.fork((a, value, rest)) for a in reversed(node.alternatives[1:]))
                state.agenda = (node.alternatives[0], value, rest)
            elif isinstance(node, Rest):  # its values were collected when the operands were laid out
                state.names[node.name] = value
        return True

    def _bind(self, node: Capture, value: str, state: _State) -> bool:
        if not value and not node.optional:
            return self._fail(state, "operand {} is omitted", node)
        if state.names.setdefault(node.name, value) == value:
            return True
        return self._fail(state, "{} is {} here and {} there", node, value, state.names[node.name])

    def _match_result(self, node: Result, value: str, state: _State) -> bool:
        op_id = self.graph.producer(value) if value else None
        if op_id is None:
            return self._fail(state, "{} is not computed by {}", value or "an omitted operand", node)
        outputs = self.graph.op(op_id).outputs
        if node.index >= len(outputs) or outputs[node.index] != value:
            return self._fail(state, "{} is another output of its op", value)
        known = state.ops.get(id(node.producer))
        if known is None:
            return self._match_op(node.producer, op_id, state)
        return known[1] == op_id or self._fail(state, "{} is another op", node)

    def _match_op(self, pattern: OpPattern, op_id: int, state: _State) -> bool:
        op = self.graph.op(op_id)
        if op.type not in pattern.types or op.domain != pattern.domain:
            return self._fail(state, "{} is not a {}", op, pattern)
        for name, wanted in pattern.attrs.items():
            value = attr(op, name)
            if isinstance(wanted, AttrCapture):
                state.names[wanted.name] = _Captured(value)
            elif not (wanted(value) if callable(wanted) else value == wanted):
                return self._fail(state, "{}: attribute {} = {} does not fit", op, name, value)
        operands = self._operands(pattern, op)
        if operands is None:
            return self._fail(state, "{} has {} operands", op, len(op.inputs))
        state.ops[id(pattern)] = (pattern, op_id)
        if pattern.name:
            state.names[pattern.name] = OpView(self.graph, op_id)
        rest = state.agenda
        if pattern.commutes and len(op.inputs) == 2 and op.inputs[0] != op.inputs[1]:
            (a, x), (b, y) = operands
            self._choices.append(state.fork((a, y, (b, x, rest))))
        for node, value in reversed(operands):
            rest = (node, value, rest)
        state.agenda = rest
        return True

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

    def _close(self, root_id: int, state: _State) -> Match | None:
        g, ops = self.graph, state.ops
        matched = {op_id for _, op_id in ops.values()}
        results: list[str] = []
        for output in self.pattern.outputs:
            at = ops.get(id(output.producer))
            if at is None or output.index >= len(g.op(at[1]).outputs) or not g.op(at[1]).outputs[output.index]:
                return self._refuse("output {} of the pattern is not there", show(output))
            results.append(g.op(at[1]).outputs[output.index])
        for pattern, op_id in ops.values():
            for value in g.op(op_id).outputs:
                if not value or value in results or pattern.shared:
                    continue
                if g.is_output(value) or any(user not in matched for user in g._succ[value]):
                    return self._refuse("intermediate value {} is used outside the match", value)
        bindings = dict.fromkeys(self.pattern.captures)  # None for those of an operand that is omitted
        bindings.update((name, self._view(value)) for name, value in state.names.items())
        order = (root_id, *sorted((i for i in matched if i != root_id), key=g.order_key))
        return Match(g, root_id, order, tuple(results), bindings)

    def _refuse(self, text: str, *args: Any) -> Match | None:
        """A complete match that must not be used: deeper than any partial one."""
        self.deepest = 1 << 30
        self.reason = NoMatch(text, *args)
        return None

    def _view(self, value: Any) -> Any:
        if isinstance(value, _Captured):
            return value.value
        if isinstance(value, str):
            return ValueView(self.graph, value) if value else None
        if isinstance(value, tuple):
            return [ValueView(self.graph, v) if v else None for v in value]
        return value

    def _fail(self, state: _State, text: str, *args: Any) -> bool:
        if self.trace and len(state.ops) > self.deepest:
            self.deepest = len(state.ops)
            self.reason = NoMatch(text, *map(_told, args))
        return False


def _told(arg: Any) -> Any:
    """An argument of a reason as the reader sees it; most failures are never told."""
    if isinstance(arg, Op):
        return arg.label
    return "|".join(arg.types) if isinstance(arg, OpPattern) else show(arg) if isinstance(arg, Node) else arg
