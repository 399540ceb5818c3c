"""The pattern language: a pattern is a traced function that reads like ONNX.

``def pattern(self, op, x, w, b=None): return op.Relu(op.Conv(x, w, b, group=1))`` is called once with symbolic
values; what it returns is compiled to the small tree of this module, which prints, compares and matches.
A parameter is a capture, the same parameter twice is the same value, a default of None makes it an optional
operand, a keyword is an attribute equality or predicate, a number is a scalar constant.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from coregraft.rewriter.schema import COMMUTATIVE


class Node:
    """A pattern of one value. Arithmetic on patterns makes the ONNX op of the same name."""

    def __add__(self, other: Node | float) -> Node:
        return _binary("Add", self, other)

    def __radd__(self, other: float) -> Node:
        return _binary("Add", other, self)

    def __sub__(self, other: Node | float) -> Node:
        return _binary("Sub", self, other)

    def __rsub__(self, other: float) -> Node:
        return _binary("Sub", other, self)

    def __mul__(self, other: Node | float) -> Node:
        return _binary("Mul", self, other)

    def __rmul__(self, other: float) -> Node:
        return _binary("Mul", other, self)

    def __truediv__(self, other: Node | float) -> Node:
        return _binary("Div", self, other)

    def __rtruediv__(self, other: float) -> Node:
        return _binary("Div", other, self)


@dataclass(frozen=True, eq=False)
class Capture(Node):
    """Any value, bound to ``name``; ``optional`` also matches an omitted operand."""

    name: str
    optional: bool = False


@dataclass(frozen=True, eq=False)
class Scalar(Node):
    """A constant with one element equal to ``value``, within one unit in the last place of its dtype."""

    value: float


@dataclass(frozen=True, eq=False)
class Rest(Node):
    """All remaining operands, bound to ``name`` as a list."""

    name: str


@dataclass(frozen=True)
class AttrCapture:
    """In the place of an attribute: binds its value (schema default included) to ``name``."""

    name: str


@dataclass(frozen=True, eq=False)
class OpPattern:
    """An op of one of ``types``; ``attrs`` maps names to a value, a predicate or an :class:`AttrCapture`."""

    types: tuple[str, ...]
    operands: tuple[Node, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    domain: str = ""
    n_outputs: int = 1
    name: str = ""
    shared: bool = False

    @functools.cached_property
    def commutes(self) -> bool:
        return len(self.operands) == 2 and all((self.domain, t) in COMMUTATIVE for t in self.types)

    @property
    def keys(self) -> tuple[tuple[str, str], ...]:
        """The (domain, type) keys of the ops that can match."""
        return tuple((self.domain, t) for t in self.types)


@dataclass(frozen=True, eq=False)
class Result(Node):
    """Output ``index`` of an op pattern."""

    producer: OpPattern
    index: int = 0


@dataclass(frozen=True, eq=False)
class AnyOf(Node):
    """The first alternative that leads to a match."""

    alternatives: tuple[Node, ...]


@dataclass(frozen=True)
class Pattern:
    """A compiled pattern: its outputs in order; the op of the first output is the root."""

    outputs: tuple[Result, ...]
    captures: tuple[str, ...]

    @property
    def root(self) -> OpPattern:
        return self.outputs[0].producer

    @functools.cached_property
    def roots(self) -> tuple[tuple[str, str], ...]:
        return self.root.keys


class PatternOps:
    """The ``op`` parameter of a pattern function: ``op.<Type>(operands, attribute=…)`` and the combinators."""

    def __init__(self, domain: str = "") -> None:
        self._domain = domain

    def __getattr__(self, op_type: str) -> Callable[..., Any]:
        if op_type.startswith("_"):
            raise AttributeError(op_type)

        def make(*operands: Any, **keywords: Any) -> Any:
            return _op(op_type, *operands, _domain=self._domain, **keywords)

        return make

    def domain(self, domain: str) -> PatternOps:
        """The ops of another domain."""
        return PatternOps(domain)

    def any_of(self, first: Any, *rest: Any, **keywords: Any) -> Any:
        """Alternatives: of whole patterns, or, with a tuple of op types first, of types with the same operands."""
        if isinstance(first, tuple):
            return _op(first, *rest, _domain=self._domain, **keywords)
        return AnyOf((_node(first), *(_node(r) for r in rest)))

    def optional(self, op_type: str, operand: Any, **keywords: Any) -> Node:
        """``operand``, or an op of the type applied to it (the op is preferred)."""
        return AnyOf((_op(op_type, operand, _domain=self._domain, **keywords), _node(operand)))

    def attr(self, name: str) -> AttrCapture:
        """In an attribute's place: capture its value as ``m.<name>``."""
        return AttrCapture(name)

    def rest(self, name: str) -> Rest:
        """As the last operand: all that remain, captured as the list ``m.<name>``."""
        return Rest(name)


def trace(function: Callable[..., Any], rule: Any = None) -> tuple[Pattern, ...]:
    """Compile a pattern function ``(self, op, *captures)`` by calling it once with symbolic values.

    A function that returns ``op.any_of`` of ops gives one pattern for each, in order; others give one.

    Args:
        rule: what ``self`` is, so that a pattern may depend on the rule's options.

    Raises:
        TypeError: the function does not return ops, or names something twice with different meanings.
    """
    parameters = list(inspect.signature(function).parameters.values())
    captures = {p.name: Capture(p.name, optional=p.default is None) for p in parameters[2:]}
    result = function(rule, PatternOps(), *captures.values())
    alternatives = _flatten(result) if isinstance(result, AnyOf) else [result]
    patterns = []
    for alternative in alternatives:
        outputs = tuple(alternative) if isinstance(alternative, tuple) else (alternative,)
        if not outputs or not all(isinstance(o, Result) for o in outputs):
            raise TypeError(f"{function.__qualname__}: a pattern must return the outputs of ops, not {result!r}")
        patterns.append(Pattern(outputs, tuple(dict.fromkeys([*captures, *_extra_names(outputs)]))))
    return tuple(patterns)


def _flatten(node: Node) -> list[Node]:
    return [n for a in node.alternatives for n in _flatten(a)] if isinstance(node, AnyOf) else [node]


def _extra_names(outputs: Sequence[Node]) -> list[str]:
    found: list[str] = []
    todo: list[Node] = list(outputs)
    seen: set[int] = set()
    while todo:
        node = todo.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, Rest):
            found.append(node.name)
        elif isinstance(node, AnyOf):
            todo.extend(node.alternatives)
        elif isinstance(node, Result):
            todo.extend(node.producer.operands)
            found.extend(a.name for a in node.producer.attrs.values() if isinstance(a, AttrCapture))
            if node.producer.name:
                found.append(node.producer.name)
    return sorted(found)


def _node(value: Any) -> Node:
    if isinstance(value, Node):
        return value
    if isinstance(value, (int, float)):
        return Scalar(float(value))
    raise TypeError(f"not a pattern: {value!r}")


def _binary(op_type: str, a: Any, b: Any) -> Node:
    result: Node = _op(op_type, a, b)
    return result


def _op(
    types: str | tuple[str, ...],
    *operands: Any,
    _domain: str = "",
    _outputs: int = 1,
    _name: str = "",
    _shared: bool = False,
    **attrs: Any,
) -> Any:
    names = (types,) if isinstance(types, str) else types
    pattern = OpPattern(
        tuple(sys.intern(n) for n in names),
        tuple(_node(o) for o in operands),
        {k: tuple(v) if isinstance(v, list) else v for k, v in attrs.items()},
        _domain,
        _outputs,
        _name,
        _shared,
    )
    results = tuple(Result(pattern, i) for i in range(_outputs))
    return results[0] if _outputs == 1 else results


def show(node: Node) -> str:
    """A pattern as text, for messages: ``Relu(Conv(x, w, b))``."""
    if isinstance(node, Capture):
        return node.name + ("?" if node.optional else "")
    if isinstance(node, Scalar):
        return f"{node.value:g}"
    if isinstance(node, Rest):
        return f"*{node.name}"
    if isinstance(node, AnyOf):
        return " | ".join(show(a) for a in node.alternatives)
    assert isinstance(node, Result)
    op = node.producer
    attrs = [f"{k}={'…' if callable(v) else v}" for k, v in op.attrs.items()]
    inside = ", ".join([*(show(o) for o in op.operands), *attrs])
    suffix = f".{node.index}" if op.n_outputs > 1 else ""
    return f"{'|'.join(op.types)}({inside}){suffix}"
