"""Running rules: a deterministic worklist over ops whose type is some rule's root, to a fixed point.

Rules are indexed by the (domain, type) of their root, so a rule costs nothing at ops that it cannot match, and
rejected early by the types of the producers that its pattern asks for. Order: ops in program order, rules by
(benefit, name). No set is ever iterated. A budget stops rules that undo each other, and names them.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from coregraft.rewriter.collector import collector_off
from coregraft.rewriter.contract import Context
from coregraft.rewriter.errors import PassError
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.match import Match, NoMatch
from coregraft.rewriter.pattern import OpPattern, Result
from coregraft.rewriter.rewriter import Rewriter, TypeChangedError
from coregraft.rewriter.rule import Rule
from coregraft.rewriter.target import Target

Key = tuple[str, str]
#: The producer of the operands there (any of them will do) is one of these.
Need = tuple[slice, frozenset[Key]]


class RuleIndex:
    """Rules by root key; what each needs of its operands' producers."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        table: defaultdict[Key, list[tuple[Rule, tuple[tuple[Need, ...], ...]]]] = defaultdict(list)
        for rule in sorted(rules, key=lambda r: (-type(r).benefit, r.name, r.spec())):
            for key in rule.root_keys():
                table[key].append((rule, tuple(_needs(p.root) for p in rule.compiled() if key in p.roots)))
        self.table = dict(table)
        self._known: dict[tuple[Key, tuple[Key | None, ...]], tuple[Rule, ...]] = {}

    def candidates(self, g: Graph, op: Op) -> tuple[Rule, ...]:
        """The rules worth trying at an op, in order.

        They depend on nothing but the types of the op and of its operands' producers, of which a graph has few
        combinations: each is decided once, however many rules there are.
        """
        key = op.key
        if key not in self.table:
            return ()
        producers = tuple([_producer_key(g, value) for value in op.inputs])
        known = (key, producers)
        if known not in self._known:
            self._known[known] = tuple(
                rule
                for rule, ways in self.table[key]
                if not ways or any(all(not keys.isdisjoint(producers[at]) for at, keys in way) for way in ways)
            )
        return self._known[known]


def _producer_key(g: Graph, value: str) -> Key | None:
    for producer in g._pred[value] if value else ():
        op: Op = g._node[producer]["op"]
        return op.domain, op.type
    return None


def _needs(root: OpPattern) -> tuple[Need, ...]:
    return tuple(
        (slice(None) if root.commutes else slice(i, i + 1), frozenset(operand.producer.keys))
        for i, operand in enumerate(root.operands)
        if isinstance(operand, Result)
    )


def find(rule: Rule, g: Graph, *, ctx: Context | None = None) -> list[Match]:
    """All places where a rule matches, in program order, bodies not included. Changes nothing.

    A rule without a pattern is tried on a scratch copy instead, and reports the ops at which it would rewrite.
    """
    index = RuleIndex([rule])
    roots = sorted((i for i, op in g.ops() if op.key in index.table), key=g.order_key)
    if not rule.compiled():
        target = None if ctx is None else ctx.target
        return [Match(g, i, (i,), g.op(i).outputs, {}) for i in roots if _dry_run(rule, g, i, target)]
    found = []
    for op_id in roots:
        for candidate in index.candidates(g, g.op(op_id)):
            match = candidate.match(g, op_id)
            if isinstance(match, Match):
                found.append(match)
    return found


def _dry_run(rule: Rule, g: Graph, op_id: int, target: Target | None = None) -> Any:
    """What a rule without a pattern says at an op; what it did there is undone."""
    rw = Rewriter(g, target=target)
    rw.at((op_id,), rule.name)
    try:
        return rule.match_and_rewrite(op_id, rw)
    except TypeChangedError as error:
        return NoMatch("{}", error.message)
    finally:
        rw.rollback()


def explain(rule: Rule, g: Graph, op_id: int) -> str:
    """Why a rule does not match at an op: the first failing test of the deepest partial match; or that it does."""
    op = g.op(op_id)
    if op.key not in rule.root_keys():
        wanted = ", ".join(f"{d}::{t}" if d else t for d, t in rule.root_keys())
        return f"{op.label} is not a root of {rule.name}, which starts at {wanted}"
    if not rule.compiled():
        done = _dry_run(rule, g, op_id)
        why = done if isinstance(done, NoMatch) else "no reason given"  # a reason is false, as nothing is
        return f"{rule.name} rewrites {op.label}" if done else f"{rule.name} declines: {why}"
    match = rule.match(g, op_id, trace=True)
    return f"{rule.name} matches {op.label}" if isinstance(match, Match) else f"{rule.name}: {match}"


def rewrite_greedily(g: Graph, rules: Sequence[Rule], ctx: Context) -> int:
    """Apply rules to a graph and its bodies until none fires; returns the number of rewrites.

    Raises:
        PassError: ``rewrite-budget``, when more than 10 rewrites an op took place; names the rules that fired most.
    """
    index, rw = RuleIndex(rules), ctx.rewriter(g)
    if ctx.present is not None and not rw.changed and ctx.present.isdisjoint(index.table):
        return 0
    with collector_off():
        return _run(g, index, ctx, rw)


def _run(g: Graph, index: RuleIndex, ctx: Context, rw: Rewriter) -> int:
    node = g._node
    queue: list[tuple[int, int]] = []
    holders: list[int] = []
    total = 0
    for op_id, op in g.ops():
        total += 1
        if index.candidates(g, op):
            queue.append((node[op_id]["pos"], op_id))
        if op.captures or op.type in ("If", "Loop", "Scan"):
            holders.append(op_id)
    heapq.heapify(queue)
    queued = {op_id for _, op_id in queue}
    fired: Counter[str] = Counter()
    budget = 10 * total + 1000
    rw.touched.clear()
    while queue:
        op_id = heapq.heappop(queue)[1]
        queued.discard(op_id)
        if op_id not in node:
            continue
        if _apply(g, op_id, index, ctx, rw, fired):
            if fired.total() > budget:
                most = ", ".join(f"{name} ({n})" for name, n in fired.most_common(3))
                raise PassError("rewrite-budget", f"no fixed point after {budget} rewrites; most fired: {most}")
            if ctx.rewrite_limit is not None and ctx.counts["rewrites"] >= ctx.rewrite_limit:
                break
        for touched in _neighbourhood(g, rw):
            if touched not in queued and index.candidates(g, g.op(touched)):
                queued.add(touched)
                heapq.heappush(queue, (node[touched]["pos"], touched))
    count = fired.total()
    for op_id in sorted(holders):
        if op_id in node:
            count += _rewrite_bodies(g, op_id, index, ctx, rw)
    return count


def _apply(g: Graph, op_id: int, index: RuleIndex, ctx: Context, rw: Rewriter, fired: Counter[str]) -> bool:
    for rule in index.candidates(g, g.op(op_id)):
        before, mark = rw.events.total(), rw.mark()
        rw.at((op_id,), rule.name)
        try:
            done = rule.match_and_rewrite(op_id, rw)
        except TypeChangedError as error:
            rw.rollback(mark)
            ctx.declined[f"{rule.name}: {error.message}"] += 1
            continue
        if not done:
            if rw.events.total() != before:
                raise PassError(
                    "rule-mutated-without-match", f"{rule.name} changed the graph, then declined", node=str(op_id)
                )
            if ctx.checked and isinstance(done, NoMatch):
                ctx.declined[f"{rule.name}: {done}"] += 1
            continue
        if rw.events.total() == before:
            raise PassError("rule-without-effect", f"{rule.name} claims a rewrite but changed nothing", node=str(op_id))
        fired[rule.name] += 1
        ctx.count(rule.name)
        ctx.count("rewrites")
        return True
    return False


def _neighbourhood(g: Graph, rw: Rewriter) -> list[int]:
    """The touched ops, their producers and users: where a match may have become possible."""
    if not rw.touched:
        return []
    near: dict[int, Any] = {}
    for op_id in dict.fromkeys(rw.touched):
        if op_id not in g._node:
            continue
        near[op_id] = None
        for value in g._pred[op_id]:
            near.update(g._pred[value])
        for value in g._succ[op_id]:
            near.update(g._succ[value])
    rw.touched.clear()
    return list(near)


def _rewrite_bodies(g: Graph, op_id: int, index: RuleIndex, ctx: Context, rw: Rewriter) -> int:
    count = 0
    for name, body in list(g.op(op_id).bodies()):
        copy: Graph = body.copy()
        inner = Rewriter(copy, rw.pass_name, rw.target)
        fired = _run(copy, index, ctx, inner)
        if fired:
            rw.update(op_id, attrs={**g.op(op_id).attrs, name: copy})
            count += fired
    return count
