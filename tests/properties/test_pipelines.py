"""The default pipelines, whole, on drawn graphs."""

from __future__ import annotations

import functools
import random
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coregraft.lowering import targets
from coregraft.lowering.program import lower_graph
from coregraft.passes.pipelines import convert_pipeline, rewrite_pipeline
from coregraft.rewriter.errors import CoregraftError, PassError
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.manager import PassManager
from coregraft.rewriter.onnx_io.text import diff, to_text
from coregraft.rewriter.passes import Context, Pass
from tests.properties.strategies import INPUTS, assert_close, exploring, graphs, outputs_of

#: Rounding of a handful of small ops in another order, in a float32 of eps 1.2e-7; a wrong rewrite is far beyond it.
TOLERANCE = 2e-4
STATIC = [shape for shape in INPUTS if "N" not in shape]
IOS17 = targets.get("iOS17", "mlprogram")


@exploring(60)
@given(graphs())
def test_rewrite_pipeline(g: Graph) -> None:
    """Each pass keeps its contract; the whole keeps the results; a second run finds nothing to do."""
    before = to_text(g)
    once = PassManager(rewrite_pipeline(), checked=True).run(g).graph
    assert to_text(g) == before, "run() changed the graph that it was given"
    assert_close(outputs_of(g), outputs_of(once), TOLERANCE)
    again = PassManager(rewrite_pipeline()).run(once)
    assert not again.changed, diff(once, again.graph)


@exploring(50)
@given(graphs(inputs=STATIC))
def test_convert_pipeline_and_lowering(g: Graph) -> None:
    """Each pass keeps its contract; then every op is emitted, or the error is one that users can read."""
    rewritten = PassManager(convert_pipeline(IOS17, "fp32"), IOS17, checked=True).run(g).graph
    assert_close(outputs_of(g), outputs_of(rewritten), TOLERANCE)
    try:
        lowered = lower_graph(rewritten, IOS17)
    except CoregraftError as error:
        assert error.exit_code == 4 and not isinstance(error, PassError)
        return
    assert [f.name for f in lowered.outputs] == list(g.outputs)


@exploring(30)
@given(graphs(), st.integers(0, 2**16))
def test_order_of_insertion_does_not_matter(g: Graph, seed: int) -> None:
    """Neither networkx's order of nodes and edges nor a copy changes what comes out."""
    shuffled, copied = _shuffled(g, seed), g.copy()
    want = to_text(PassManager(rewrite_pipeline()).run(g).graph)
    assert to_text(PassManager(rewrite_pipeline()).run(copied).graph) == want
    assert to_text(PassManager(rewrite_pipeline()).run(shuffled).graph) == want


class _CrashError(Exception):
    pass


class CrashMidway(Pass):
    """Runs the rewrite pipeline as one pass, and fails before one of its changes to an op."""

    name: ClassVar[str] = "crash-midway"
    after: ClassVar[int] = 0

    def run(self, g: Graph, ctx: Context) -> None:
        left = type(self).after
        rewriter = ctx.rewriter(g)

        def fragile(primitive: object, *args: object) -> object:
            nonlocal left
            if not left:
                raise _CrashError
            left -= 1
            return primitive(*args)  # type: ignore[operator]

        for primitive in ("_add_op", "_set_op", "_remove_op"):
            setattr(rewriter, primitive, functools.partial(fragile, getattr(rewriter, primitive)))
        for pass_ in PassManager(rewrite_pipeline()).passes:
            ctx.run(pass_, g)


@exploring(40)
@given(graphs(), st.integers(0, 12))
def test_a_pass_that_raises_leaves_no_trace(g: Graph, after: int) -> None:
    typed = PassManager("upgrade-opset,infer-shapes").run(g).graph
    before = to_text(typed)
    CrashMidway.after = after
    try:
        PassManager([CrashMidway()]).run_in_place(typed)
    except PassError as error:
        assert isinstance(error.__cause__, _CrashError)
        assert to_text(typed) == before


def test_a_crash_is_rolled_back() -> None:
    """The property above is not empty: in most drawn graphs there is something to undo."""
    crashed = 0

    @exploring(20)
    @given(graphs())
    def count(g: Graph) -> None:
        nonlocal crashed
        CrashMidway.after = 1
        typed = PassManager("upgrade-opset,infer-shapes").run(g).graph
        try:
            PassManager([CrashMidway()]).run(typed)
        except PassError:
            crashed += 1

    count()
    assert crashed > 5


def _shuffled(g: Graph, seed: int) -> Graph:
    """The same graph, its ops and edges added in another order. Values keep theirs: files list them in it."""
    rng = random.Random(seed)
    ops, edges = [i for i, _ in g.ops()], list(g.edges)
    rng.shuffle(ops)
    rng.shuffle(edges)
    h = Graph(**g.graph)
    for node in [*ops, *g.values()]:
        h.add_node(node, **g.nodes[node])
    h.add_edges_from(edges)
    return h


@pytest.mark.parametrize("seed", [0, 1])
@exploring(10)
@given(g=graphs())
def test_shuffling_is_a_permutation(g: Graph, seed: int) -> None:
    h = _shuffled(g, seed)
    assert set(h.nodes) == set(g.nodes)
    assert h.topological() == g.topological()
