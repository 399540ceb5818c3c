"""The cut: what it costs against brute force, and what it may not do."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coregraft.custom_layers.chunks import divided
from coregraft.custom_layers.cut import Cut, Size, find_cut
from coregraft.rewriter.errors import UnsupportedError, UsageError
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.types import Const, DType, TensorType


def size(g: Graph) -> Size:
    def bytes_(value: str) -> int | None:
        kind = g.tensor_type(value)
        assert kind is not None
        return kind.nbytes

    return bytes_


def graph(ops: Iterable[tuple[str, str, int]], outputs: str, consts: dict[str, int] | None = None) -> Graph:
    """A graph of (result, operands, elements of the result) on input ``x``, one letter a value."""
    g = Graph()
    g.add_input("x", TensorType(DType.FLOAT, (64,)))
    for name, elements in (consts or {}).items():
        g.add_value(name, const=Const.of([0.0] * elements, DType.FLOAT))
    for result, operands, elements in ops:
        g.add_value(result, TensorType(DType.FLOAT, (elements,)))
        g.add_op(Op("Island" if result.isupper() else "Op", tuple(operands), (result,)))
    g.set_outputs(list(outputs))
    return g


def islands(g: Graph) -> list[int]:
    return [i for i, op in g.ops() if op.type == "Island"]


def cut_of(g: Graph, at: Iterable[str] = ()) -> Cut:
    return find_cut(g, islands(g), size(g), at)


def shape(g: Graph, cut: Cut) -> list[str]:
    """The steps as texts of the results they make; islands in brackets."""
    texts = ["".join(g.op(i).outputs[0] for i in step.ops) for step in cut.steps]
    return [f"[{text}]" if step.custom else text for step, text in zip(cut.steps, texts, strict=True)]


def bytes_of(g: Graph, where: dict[int, int]) -> int:
    """Bytes handed over by a placement, from the definition."""
    total = 0
    for i, op in g.ops():
        for value in op.outputs:
            if any(where[user] != where[i] for user in g.users(value)):
                total += size(g)(value) or 0
    return total


def brute_force(g: Graph) -> int:
    """Least bytes over all legal placements in two parts around islands that do not follow each other."""
    special = set(islands(g))
    free = [i for i, _ in g.ops() if i not in special]
    best = None
    for choice in itertools.product((0, 2), repeat=len(free)):
        where = dict(zip(free, choice, strict=True))
        legal = all(
            (i in special and u in special)
            or (i in special and where[u] == 2)
            or (u in special and where[i] == 0)
            or (i not in special and u not in special and where[i] <= where[u])
            for i, op in g.ops()
            for value in op.outputs
            for u in g.users(value)
        )
        if legal:  # each island is a step of its own: number 10 and above
            cost = bytes_of(g, {**where, **{i: 10 + n for n, i in enumerate(sorted(special))}})
            best = cost if best is None else min(best, cost)
    assert best is not None
    return best


@st.composite
def dags(draw: st.DrawFn, most_islands: int) -> Graph:
    """Up to nine ops, each reading one or two values before it; some are islands."""
    count = draw(st.integers(2, 9))
    special = draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=most_islands))
    names = "x"
    ops = []
    for n in range(count):
        result = chr(ord("A" if n in special else "a") + n)
        operands = "".join(draw(st.lists(st.sampled_from(names), min_size=1, max_size=2)))
        ops.append((result, operands, draw(st.integers(1, 9))))
        names += result
    return graph(ops, draw(st.sampled_from(names[1:])))


@settings(max_examples=150, deadline=None)
@given(dags(1))
def test_one_island_is_cut_at_least_cost(g: Graph) -> None:
    cut = cut_of(g)
    assert len(cut.parts) <= 2
    assert cut.bytes == brute_force(g)


def own_boundary(g: Graph) -> list[int]:
    """Bytes of the cuts at the islands' own boundary: everything as early, and as late, as it can be."""
    special, order = set(islands(g)), g.topological()
    early: dict[int, int] = {}
    for i in order:
        before = [(p, p in special and i not in special) for v in g.op(i).operands if (p := g.producer(v)) is not None]
        early[i] = max((early[p] + later for p, later in before), default=0)
    last = max(early.values())
    late: dict[int, int] = {}
    for i in reversed(order):
        after = [(u, i in special and u not in special) for v in g.op(i).outputs for u in g.users(v)]
        late[i] = min((late[u] - later for u, later in after), default=last)
    placements = [{i: 100 + i if i in special else stage for i, stage in found.items()} for found in (early, late)]
    return [bytes_of(g, placement) for placement in placements]


@settings(max_examples=150, deadline=None)
@given(dags(4))
def test_several_islands_never_cost_more_than_their_own_boundary_and_make_no_cycle(g: Graph) -> None:
    cut = cut_of(g)
    assert cut.bytes <= min(own_boundary(g))
    where = {i: n for n, step in enumerate(cut.steps) for i in step.ops}
    assert sorted(where) == sorted(i for i, _ in g.ops())
    assert all(where[i] <= where[u] for i, op in g.ops() for v in op.outputs for u in g.users(v))
    assert all(len(step.ops) == 1 for step in cut.islands)
    assert sorted(step.ops[0] for step in cut.islands) == sorted(islands(g))
    between = nx.DiGraph((where[i], where[u]) for i, op in g.ops() for v in op.outputs for u in g.users(v))
    between.remove_edges_from(list(nx.selfloop_edges(between)))
    assert nx.is_directed_acyclic_graph(between)
    assert cut.bytes == bytes_of(g, where)
    # No more parts than the longest chain of islands with something between them asks for.
    assert len(cut.parts) <= 1 + max(step.stage for step in cut.steps)


def test_a_free_branch_goes_where_it_is_narrow() -> None:
    # p, q, r is a branch beside the island that narrows to one element at q.
    ops = [("a", "x", 8), ("b", "a", 2), ("p", "a", 64), ("q", "p", 1), ("r", "q", 64), ("I", "b", 8), ("y", "Ir", 64)]
    g = graph(ops, "y")
    cut = cut_of(g)
    assert shape(g, cut) == ["abpq", "[I]", "ry"]
    assert dict(cut.crossing) == {"b": 8, "q": 4, "I": 32}


def test_a_value_counts_once_for_all_its_readers() -> None:
    # b has two readers behind the island, c and d: carrying b (8) is better than carrying c and d (5 + 5).
    g = graph([("b", "x", 8), ("I", "x", 1), ("c", "b", 5), ("d", "b", 5), ("e", "cI", 1), ("y", "de", 1)], "y")
    assert dict(cut_of(g).crossing) == {"I": 4}  # better still: x is everyone's, so b is made behind the island
    g = graph([("b", "x", 8), ("I", "b", 1), ("c", "b", 5), ("d", "b", 5), ("e", "cI", 1), ("y", "de", 1)], "y")
    assert dict(cut_of(g).crossing) == {"b": 32, "I": 4}


def test_what_the_caller_feeds_costs_nothing() -> None:
    g = graph([("a", "x", 64), ("I", "x", 1), ("y", "aI", 1)], "y")
    assert shape(g, cut_of(g)) == ["[I]", "ay"]


def test_islands_that_touch_or_stand_beside_share_a_gap() -> None:
    g = graph([("a", "x", 4), ("I", "a", 4), ("J", "I", 4), ("K", "a", 4), ("y", "JK", 4)], "y")
    assert shape(g, cut_of(g)) == ["a", "[I]", "[J]", "[K]", "y"]
    assert cut_of(g).bytes == 4 * 4 * 4


def test_islands_with_something_between_them_take_three_parts() -> None:
    g = graph([("a", "x", 4), ("I", "a", 4), ("b", "I", 4), ("J", "b", 4), ("y", "J", 4)], "y")
    assert shape(g, cut_of(g)) == ["a", "[I]", "b", "[J]", "y"]


def test_an_island_first_last_and_alone() -> None:
    for ops, steps in (
        ([("I", "x", 4), ("y", "I", 4)], ["[I]", "y"]),
        ([("a", "x", 4), ("I", "a", 4)], ["a", "[I]"]),
        ([("I", "x", 4)], ["[I]"]),
    ):
        g = graph(ops, ops[-1][0])
        assert shape(g, cut_of(g)) == steps


def test_a_large_constant_is_not_torn_apart_without_need() -> None:
    # b and c are free and cost the same on either side; they share the constant w with y, which comes late.
    ops = [("a", "x", 4), ("b", "aw", 4), ("I", "a", 4), ("y", "Ibw", 4)]
    g = graph(ops, "y", {"w": 1000})
    cut = cut_of(g)
    assert shape(g, cut) == ["a", "[I]", "by"] and not cut.repeated
    g = graph([("a", "xw", 4), ("I", "a", 4), ("y", "Iw", 4)], "y", {"w": 1000})
    assert dict(cut_of(g).repeated) == {"w": 4000}


def test_cut_at_values() -> None:
    g = graph([("a", "x", 4), ("b", "a", 2), ("c", "b", 4), ("d", "ac", 4), ("y", "d", 4)], "y")
    assert shape(g, cut_of(g, ["b"])) == ["ab", "cdy"]
    assert shape(g, cut_of(g, ["d", "b"])) == ["ab", "cd", "y"]
    for wrong in ("x", "y", "nowhere"):
        with pytest.raises(UsageError) as error:
            cut_of(g, [wrong])
        assert error.value.code == "cut-value"


def test_a_value_that_cannot_be_handed_over() -> None:
    g = graph([("a", "x", 4), ("I", "x", 4), ("b", "a", 3), ("y", "Ib", 4)], "y")
    whole = size(g)
    cut = find_cut(g, islands(g), lambda v: None if v == "b" else whole(v))
    assert "b" not in cut.crossing
    g = graph([("a", "x", 4), ("I", "a", 4), ("y", "I", 4)], "y")
    with pytest.raises(UnsupportedError) as error:
        find_cut(g, islands(g), lambda v: None if v == "I" else whole(v))
    assert error.value.code == "cut-impossible" and error.value.node == "I"


def test_chunks_are_few_and_narrow() -> None:
    ops = [("a", "xp", 9), ("b", "aq", 1), ("c", "br", 9), ("d", "cs", 9), ("y", "dp", 1)]
    g = graph(ops, "y", dict.fromkeys("pqrs", 10))
    whole = find_cut(g, [], size(g))
    assert len(whole.parts) == 1 and whole.bytes == 0
    halves = divided(g, whole, 3 * 40, size(g))
    assert shape(g, halves) == ["ab", "cdy"]
    assert dict(halves.crossing) == {"b": 4} and dict(halves.repeated) == {"p": 40}
    assert len(divided(g, whole, 4 * 40, size(g)).parts) == 1
    with pytest.raises(UnsupportedError) as error:
        divided(g, whole, 39, size(g))
    assert error.value.code == "cut-too-large"


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 4)), min_size=1, max_size=8), st.integers(4, 12))
def test_chunks_against_brute_force(layers: list[tuple[int, int]], limit: int) -> None:
    g = Graph()
    g.add_input("v0", TensorType(DType.FLOAT, (1,)))
    for n, (elements, weights) in enumerate(layers):
        g.add_value(f"w{n}", const=Const.of([0.0] * weights, DType.FLOAT))
        g.add_value(f"v{n + 1}", TensorType(DType.FLOAT, (elements,)))
        g.add_op(Op("Op", (f"v{n}", f"w{n}"), (f"v{n + 1}",)))
    g.set_outputs([f"v{len(layers)}"])
    found = divided(g, find_cut(g, [], size(g)), limit * 4, size(g))
    options = []
    for count in range(len(layers)):
        for places in itertools.combinations(range(1, len(layers)), count):
            bounds = [0, *places, len(layers)]
            if all(sum(w for _, w in layers[a:b]) <= limit for a, b in itertools.pairwise(bounds)):
                options.append((count + 1, sum(4 * layers[p - 1][0] for p in places)))
    assert (len(found.parts), found.bytes) == min(options)
