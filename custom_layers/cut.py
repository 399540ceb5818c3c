"""Where to cut a graph: into parts that Core ML runs, and islands (ops without a lowering) that the app runs.

The order of the work is part 0, the islands that follow it, part 1, the islands that follow that, and so on. An op's
*stage* says in which part it is, or after which part it runs as an island. An op that reads an island's result is at
least one stage later than the island; every other op is no earlier than what it reads. Hence no part both feeds an
island and depends on it, and islands that touch, or that do not depend on each other, share a stage.

Two things are minimised, in this order: the number of stages (each is a round trip between Core ML and the app), and
the bytes of the values handed over. A value that is handed over counts once, whoever reads it; what the caller feeds
is there for everyone and costs nothing. What an island reads and makes is always handed over, so the freedom is in the
ops that neither feed nor follow all of it. Between two stages the best split is a minimum cut. Between three or more
it is the linear-k-cut problem, which is NP-hard; there each pair of neighbours is cut in turn until nothing improves,
from the earliest and from the latest possible placement, so that the result is never worse than either: those are the
cuts at the islands' own boundary.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import networkx as nx

from coregraft.rewriter.errors import UnsupportedError, UsageError
from coregraft.rewriter.graph import Graph

#: Bytes of a value on its way between two steps; None when it cannot be handed over.
Size = Callable[[str], int | None]
#: Counted for a value that cannot be handed over: more than all that can.
NEVER = 1 << 62
_SOURCE, _SINK = "source", "sink"


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the work: ops that run together.

    Attributes:
        ops: ids, in dependency order; one for an island's op.
        stage: of the ops.
        custom: whether the app runs it, and not Core ML.
    """

    ops: tuple[int, ...]
    stage: int
    custom: bool


@dataclass(frozen=True, slots=True)
class Cut:
    """A graph as steps.

    Attributes:
        steps: in the order in which they run.
        crossing: the values made in one step and read in another, and their bytes, in order of production.
        repeated: constants that are in several parts, and the bytes of the additional copies.
    """

    steps: tuple[Step, ...]
    crossing: Mapping[str, int]
    repeated: Mapping[str, int]

    @property
    def bytes(self) -> int:
        """Bytes handed over per run."""
        return sum(self.crossing.values())

    @property
    def parts(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if not step.custom)

    @property
    def islands(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if step.custom)


def find_cut(g: Graph, islands: Iterable[int], size: Size, at: Iterable[str] = ()) -> Cut:
    """Cut a graph around islands, at values, or both.

    Args:
        islands: ids of the ops that Core ML cannot run.
        size: bytes of a value when it is handed over.
        at: values that must be handed over: whoever reads one is at least a stage later than whoever makes it.

    Raises:
        UsageError: ``cut-value`` for a value of ``at`` that no op makes, or that none reads.
        UnsupportedError: ``cut-impossible`` when a value has to be handed over that cannot be.
    """
    problem = _Problem(g, frozenset(islands), size, frozenset(_checked(g, at)))
    found = [problem.improved(stages) for stages in (problem.earliest(), problem.latest())]
    stages = min(found, key=problem.cost)  # the first of equals
    cut = problem.cut(stages)
    for value in cut.crossing:
        if size(value) is None:
            raise UnsupportedError(
                "cut-impossible", f'"{value}" ({g.type_of(value) or "of unknown type"}) would have to be handed over',
                node=value, hint="only float and integer tensors of known shape and up to 5 dims cross between parts",
            )  # fmt: skip
    return cut


def eager_steps(g: Graph, islands: Iterable[int]) -> tuple[Step, ...]:
    """The steps of a graph with every op as early as it can be: what running it needs, and no thought of bytes."""
    problem = _Problem(g, frozenset(islands), lambda _: 0, frozenset())
    return steps_of(g, problem.earliest(), problem.islands)


def steps_of(g: Graph, stages: Mapping[int, int], islands: frozenset[int]) -> tuple[Step, ...]:
    """The steps of a placement: of each stage its part, if it has one, then its islands one by one."""
    parts: dict[int, list[int]] = {}
    customs: dict[int, list[int]] = {}
    for op_id in g.topological():
        (customs if op_id in islands else parts).setdefault(stages[op_id], []).append(op_id)
    steps: list[Step] = []
    for stage in sorted({*parts, *customs}):
        if stage in parts:
            steps.append(Step(tuple(parts[stage]), stage, custom=False))
        steps.extend(Step((op_id,), stage, custom=True) for op_id in customs.get(stage, ()))
    return tuple(steps)


def measured(g: Graph, steps: tuple[Step, ...], size: Size) -> Cut:
    """Steps with what they hand over and repeat."""
    where = {op_id: n for n, step in enumerate(steps) for op_id in step.ops}
    crossing: dict[str, int] = {}
    repeated: dict[str, int] = {}
    for op_id in (op_id for step in steps for op_id in step.ops):
        for value in g.op(op_id).outputs:
            if value and any(where[user] != where[op_id] for user in g.users(value)):
                bytes_ = size(value)
                crossing[value] = NEVER if bytes_ is None else bytes_
    for value in g.values():
        const = g.const(value)
        if const is None:
            continue
        readers = {where[user] for user in g.users(value) if not steps[where[user]].custom}
        if len(readers) > 1:
            repeated[value] = const.nbytes * (len(readers) - 1)
    return Cut(steps, crossing, repeated)


def _checked(g: Graph, at: Iterable[str]) -> list[str]:
    values = list(at)
    for value in values:
        if value not in g or g.producer(value) is None or not g.users(value):
            made = [v for v in g.values() if g.producer(v) is not None and g.users(v)]
            near = difflib.get_close_matches(value, made, 3)
            raise UsageError(
                "cut-value", f'the graph cannot be cut at "{value}": it is not both made and read by ops',
                hint=f"did you mean {', '.join(near)}?" if near else "name a value inside the graph",
            )  # fmt: skip
    return values


class _Problem:
    """One graph to cut. A placement is a mapping from op id to stage."""

    def __init__(self, g: Graph, islands: frozenset[int], size: Size, at: frozenset[str]) -> None:
        self.g, self.islands = g, islands
        self.order = g.topological()
        # (reader, 0 or 1 stages between) of each op, and the same backwards.
        self.after: dict[int, list[tuple[int, int]]] = {op_id: [] for op_id in self.order}
        self.before: dict[int, list[tuple[int, int]]] = {op_id: [] for op_id in self.order}
        #: Values that are handed over in some placements and not in others: producer, readers, bytes.
        self.loose: list[tuple[int, list[int], int]] = []
        #: Constants that several ops of parts read: the ops, bytes.
        self.shared: list[tuple[list[int], int]] = []
        self._size = size
        self._link(at)

    def _link(self, at: frozenset[str]) -> None:
        for op_id in self.order:
            for value in filter(None, self.g.op(op_id).outputs):
                users = self.g.users(value)
                for user in users:
                    apart = int(user not in self.islands and (op_id in self.islands or value in at))
                    self.after[op_id].append((user, apart))
                    self.before[user].append((op_id, apart))
                crosses = op_id in self.islands or value in at or not self.islands.isdisjoint(users)
                if users and not crosses:
                    bytes_ = self._size(value)
                    self.loose.append((op_id, users, NEVER if bytes_ is None else bytes_))
        for value in self.g.values():
            const = self.g.const(value)
            if const is not None:
                users = [user for user in self.g.users(value) if user not in self.islands]
                if len(users) > 1:
                    self.shared.append((users, const.nbytes))

    def earliest(self) -> dict[int, int]:
        """Each op as early as it can be."""
        stages: dict[int, int] = {}
        for op_id in self.order:
            stages[op_id] = max((stages[other] + apart for other, apart in self.before[op_id]), default=0)
        return stages

    def latest(self) -> dict[int, int]:
        """Each op as late as it can be, with no more stages than there must be."""
        last = max(self.earliest().values(), default=0)
        stages: dict[int, int] = {}
        for op_id in reversed(self.order):
            stages[op_id] = min((stages[other] - apart for other, apart in self.after[op_id]), default=last)
        return stages

    def cost(self, stages: Mapping[int, int]) -> tuple[int, int]:
        """Bytes handed over that need not be, then bytes of repeated constants."""
        crossing = sum(b for op, users, b in self.loose if any(stages[user] != stages[op] for user in users))
        return crossing, sum(b * (len({stages[user] for user in users}) - 1) for users, b in self.shared)

    def improved(self, stages: dict[int, int]) -> dict[int, int]:
        """A placement at which no split of two neighbouring stages can be bettered."""
        last = max(stages.values(), default=0)
        best = self.cost(stages)
        better = True
        while better:
            better = False
            for first in range(last):
                moved = self._split(stages, first)
                cost = self.cost(moved)
                if cost < best:
                    stages, best, better = moved, cost, last > 1
        return stages

    def cut(self, stages: Mapping[int, int]) -> Cut:
        return measured(self.g, steps_of(self.g, stages, self.islands), self._size)

    def _split(self, stages: dict[int, int], first: int) -> dict[int, int]:
        """The placement with the ops of stages ``first`` and ``first + 1`` divided anew, at least cost."""
        moving = [i for i in self.order if i not in self.islands and first <= stages[i] <= first + 1]
        sides = self._forced(stages, first, moving)
        free = [i for i in moving if sides[i] == i]
        if not free:
            return stages
        network = self._network(sides)
        _, (early, _) = nx.minimum_cut(network, _SOURCE, _SINK)
        return {**stages, **{i: first if i in early else first + 1 for i in free}}

    def _forced(self, stages: Mapping[int, int], first: int, moving: list[int]) -> dict[int, int | str]:
        """Op -> the terminal it is bound to, or itself when it is free."""
        within = frozenset(moving)
        sides: dict[int, int | str] = {i: i for i in moving}
        for i in moving:  # what follows an op that is bound to the later side is bound to it, too
            for other, apart in self.before[i]:
                if (apart or sides[other] == _SINK) if other in within else stages[other] + apart > first:
                    sides[i] = _SINK
        for i in reversed(moving):
            for other, apart in self.after[i]:
                if (apart or sides[other] == _SOURCE) if other in within else stages[other] - apart <= first:
                    sides[i] = _SOURCE
        return sides

    def _network(self, sides: Mapping[int, int | str]) -> nx.DiGraph:
        """The flow network: cutting an edge costs its capacity; an edge without one cannot be cut.

        The source's side is the earlier stage. A value is one node, so that it counts once for all its readers.
        """
        network = nx.DiGraph()
        network.add_nodes_from((_SOURCE, _SINK, *sides.values()))
        scale = 1 + sum(bytes_ for _, bytes_ in self.shared)  # handing over counts first, repeated constants second
        for i, end in sides.items():
            for other, _ in self.after[i]:
                if other in sides and sides[other] != end:
                    network.add_edge(sides[other], end)  # a reader in the earlier part pulls its producer there
        for n, (op_id, users, bytes_) in enumerate(self.loose):
            ends = {sides[i] for i in (op_id, *users) if i in sides}
            if all(i in sides for i in (op_id, *users)) and len(ends) > 1 and bytes_:
                network.add_edge(sides[op_id], f"value {n}", capacity=bytes_ * scale)
                network.add_edges_from((f"value {n}", sides[user]) for user in users)
        for n, (users, bytes_) in enumerate(self.shared):
            readers = {sides[user] for user in users if user in sides}
            if len(readers) > 1:
                network.add_edge(f"const {n} early", f"const {n} late", capacity=bytes_)
                for end in sorted(readers, key=str):
                    network.add_edge(end, f"const {n} early")
                    network.add_edge(f"const {n} late", end)
        network.remove_edges_from(list(itertools.chain(network.in_edges(_SOURCE), network.out_edges(_SINK))))
        return network
