"""A rule: one rewrite, stated once, used by the driver, by ``check``, by ``explain`` and by the documentation."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.rewriter.contract import Context, Finding, Pass
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.match import Match, NoMatch, ValueView, declined
from coregraft.rewriter.matcher import Matcher
from coregraft.rewriter.pattern import Pattern, trace
from coregraft.rewriter.rewriter import Rewriter
from coregraft.rewriter.types import Array, Const, ValueType


@dataclass(frozen=True)
class Rule(Pass):
    """A rewrite with a root. Either ``pattern`` and ``replacement`` (and ``where``), or ``roots`` and
    ``match_and_rewrite``. A rule is a pass too: it runs the greedy driver with itself alone.

    Class attributes besides those of :class:`Pass`:
        benefit: rules of greater benefit are tried first at an op; equal ones in order of name.
        trouble: what is wrong where it matches, for ``check``; the summary says what the rule does about it.
        roots: op types (``"Conv"``, ``"com.microsoft::Gelu"``) at which ``match_and_rewrite`` is tried.
    """

    benefit: ClassVar[int] = 1
    roots: ClassVar[tuple[str, ...]] = ()
    trouble: ClassVar[str] = ""

    # ---------------------------------------------------------------- what a rule says

    #: ``pattern(self, op, *captures)``: a traced function, see :mod:`coregraft.rewriter.pattern`.
    pattern: ClassVar[Any] = None

    def where(self, m: Any) -> Any:
        """Whether to rewrite here: True, or ``m.no(reason)``. Must not change anything."""
        return True

    def replacement(self, op: OpBuilder, m: Any) -> Any:
        """Build the values that replace the pattern's outputs; ``m.no(reason)`` or None declines."""
        raise NotImplementedError(f"{type(self).__name__} needs replacement or match_and_rewrite")

    def match_and_rewrite(self, op_id: int, rw: Rewriter) -> Any:
        """The escape hatch: look at the op, rewrite through ``rw``, return True; or say why not (falsy)."""
        found = self.match(rw.graph, op_id)
        if not isinstance(found, Match):
            return found
        rw.at(found.op_ids, type(self).__name__)
        result = rw.commit(found.op_ids, found.outputs, lambda: self.replacement(OpBuilder(rw, found), found))
        return result if declined(result) else True

    def finding(self, m: Any) -> str:
        """What ``check`` says of a match, in one line: ``trouble``, or else what the rule does."""
        return self.trouble or self.summary()

    # ---------------------------------------------------------------- what the engine asks of it

    @property
    def is_public(self) -> bool:
        """Whether it is a pass with a page of its own, not merely a part of one."""
        return not type(self).__name__.startswith("_")

    def match(self, g: Graph, op_id: int, *, trace: bool = False) -> Match | NoMatch:
        """The match at an op (``where`` included), or the reason for none. Never changes the graph."""
        key = g.op(op_id).key
        reason: NoMatch | None = None
        partial, deepest = NoMatch("the pattern does not fit"), -1
        for compiled in self.compiled():
            if key not in compiled.roots:
                continue
            matcher = Matcher(compiled, g, trace=trace)
            for found in matcher.matches(op_id):
                verdict = self.where(found)
                if verdict:
                    return found
                if reason is None:
                    reason = verdict if isinstance(verdict, NoMatch) else NoMatch("{} declined", self.name)
            if reason is None and matcher.deepest > deepest:
                deepest, partial = matcher.deepest, matcher.reason
        return partial if reason is None else reason

    def compiled(self) -> tuple[Pattern, ...]:
        """The compiled patterns; empty for a rule with ``match_and_rewrite`` only."""
        return _compile(self) if type(self).pattern is not None else ()

    def root_keys(self) -> tuple[tuple[str, str], ...]:
        """(domain, type) of the ops this rule is tried at."""
        if type(self).pattern is not None:
            return tuple(dict.fromkeys(key for compiled in self.compiled() for key in compiled.roots))
        return tuple((d, t) for d, _, t in (r.rpartition("::") for r in type(self).roots))

    def run(self, g: Graph, ctx: Context) -> None:
        ctx.rewrite(g, [self])

    def check(self, g: Graph, ctx: Context) -> list[Finding]:
        from coregraft.rewriter.driver import find

        return [
            Finding(self.code, self.name, g.op(m.root_id).label, self.finding(m)) for m in find(self, g, ctx=ctx)
        ]


@functools.lru_cache(maxsize=1024)
def _compile(rule: Rule) -> tuple[Pattern, ...]:
    # The underlying function: tracing must skip exactly one parameter, self, which pattern functions ignore.
    return trace(type(rule).pattern, rule)


@dataclass(frozen=True)
class RuleGroup(Pass):
    """A pass of several rules, run to a fixed point together."""

    def rules(self) -> list[Rule]:
        """The rules, in no particular order: benefit and name decide."""
        raise NotImplementedError

    def run(self, g: Graph, ctx: Context) -> None:
        ctx.rewrite(g, self.rules())

    def check(self, g: Graph, ctx: Context) -> list[Finding]:
        found = [f for rule in self.rules() if rule.code for f in rule.check(g, ctx)]
        public = {rule.name for rule in self.rules() if rule.is_public}
        return [f if f.pass_name in public else dataclasses.replace(f, pass_name=self.name) for f in found]


class OpBuilder:
    """The ``op`` of a replacement: ``op.<Type>(operands, attribute=…)`` inserts an op and returns its value(s).

    An operand is a view of the match, a value made before, None (omitted), a numpy array, or a Python number,
    which becomes a constant of the dtype of the first tensor operand.
    """

    def __init__(self, rewriter: Rewriter, match: Match | None = None, domain: str = "") -> None:
        self._rewriter = rewriter
        self._match = match
        self._domain = domain

    def __getattr__(self, op_type: str) -> Callable[..., Any]:
        if op_type.startswith("_"):
            raise AttributeError(op_type)

        def make(*operands: Any, _outputs: int = 1, _name: str | None = None, **attrs: Any) -> Any:
            inputs = [self._operand(o, operands) for o in operands]
            made = self._rewriter.insert(
                op_type, inputs, attrs, n_outputs=_outputs, domain=self._domain, name=_name
            )
            if isinstance(made, list):
                return tuple(ValueView(self._rewriter.graph, v) for v in made)
            return ValueView(self._rewriter.graph, made)

        return make

    def domain(self, domain: str) -> OpBuilder:
        """Ops of another domain."""
        return OpBuilder(self._rewriter, self._match, domain)

    @property
    def graph(self) -> Graph:
        """The graph that the ops go to."""
        return self._rewriter.graph

    def body(self, stem: str, captures: Iterable[ValueView]) -> OpBuilder:
        """A builder of a body, for a graph-valued attribute, in which the values are called ``stem/…``.

        Args:
            captures: the values of this graph that the body may read.
        """
        while any(name.startswith(f"{stem}/") for name in self.graph.values()):
            stem += "_"
        outer, g = self._rewriter, Graph()
        for value in captures:
            g.add_value(value.name, self.graph.type_of(value.name))
        inner = Rewriter(g, outer.pass_name, outer.target, stem)
        inner.rule_name = outer.rule_name
        return OpBuilder(inner)

    def input(self, hint: str, type: ValueType) -> ValueView:
        """Another input of the graph: one of a body."""
        name = self.graph.fresh_name(f"{self._rewriter.stem}/{hint}")
        return ValueView(self.graph, self.graph.add_input(name, type))

    def const(self, value: Array | Const, hint: str = "") -> ValueView:
        """A constant of exactly this array."""
        return ValueView(self._rewriter.graph, self._rewriter.const(value, hint))

    def _operand(self, value: Any, operands: tuple[Any, ...]) -> Any:
        if not isinstance(value, (int, float)):
            return value
        for other in operands:
            if isinstance(other, ValueView) and other.dtype is not None:
                return Const.of(value, other.dtype)
        raise TypeError(f"give op.const(np.array({value})): no tensor operand tells the dtype")
