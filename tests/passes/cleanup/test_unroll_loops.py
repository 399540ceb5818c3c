"""Remarks on loops that stay, and names of what is written out."""

from __future__ import annotations

import pytest

from coregraft.passes.cleanup.unroll_loops import UnrollLoops
from coregraft.rewriter.contract import Context
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.onnx_io.text import parse
from coregraft.rewriter.shapes import infer_shapes
from coregraft.rewriter.verify import verify

LOOP = """
input x: float[2]
input n: int64[]
const yes: bool[] = true
const start: int64[] = {start}
const by: int64[] = 2
last, y = Loop({trips}, yes, start, x, body={{
  input i: int64[]
  input c: bool[]
  input j: int64[]
  input s: float[2]
  j2 = {step} @count
  t = Mul(s, s) @square
  go = Less(j2, 10) @compare
  output go
  output j2
  output t
}})
output y
"""


def unrolled(start: int = 0, trips: str = "_", step: str = "Add(j, by)") -> tuple[Graph, Context]:
    g = parse(LOOP.format(start=start, trips=trips, step=step))
    infer_shapes(g)
    ctx = Context()
    UnrollLoops().run(g, ctx)
    verify(g)
    return g, ctx


@pytest.mark.parametrize(("start", "trips", "count"), [(0, "_", 5), (9, "_", 1), (0, "3", 3), (0, "100", 5)])
def test_the_number_of_iterations(start: int, trips: str, count: int) -> None:
    g, _ = unrolled(start, trips)
    assert sum(op.type == "Mul" for _, op in g.ops()) == count
    names = [op.name for _, op in g.ops() if op.name]
    assert len(names) == len(set(names))


def test_a_condition_that_holds_for_too_long_is_kept() -> None:
    g, ctx = unrolled(step="Sub(j, by)")
    (loop,) = [op for _, op in g.ops() if op.type == "Loop"]
    assert loop.inputs[0] == "" and loop.inputs[1] == "yes"
    assert not ctx.counts["counted"]


@pytest.mark.parametrize(
    ("trips", "step", "remark"),
    [
        ("n", "Add(j, by)", "its trip count is not constant"),
        ("_", "Sub(j, by)", "more than max-trips=64"),
        ("_", "Add(j, n)", "a run-time value"),
        ("_", "Div(j, j)", "a division that may fail"),
    ],
)
def test_why_a_loop_stays(trips: str, step: str, remark: str) -> None:
    g, ctx = unrolled(1, trips, step)
    assert [op.type for _, op in g.ops()] == ["Loop"]
    assert remark in ctx.notes[0]
