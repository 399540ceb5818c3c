"""bind-trip-count: loops that a declared length makes unrollable."""

from __future__ import annotations

import numpy as np
import pytest

from coregraft.lowering.targets import get
from coregraft.rewriter.execute import run
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.manager import PassManager
from coregraft.rewriter.onnx_io.text import parse

LOOP = """
input x: float[2]
input m: int64[]
input go: bool[]
input last: int64[]
y, z: float[{length},2] = Loop({trips}, {first}, x, body={{
  input i: int64[]
  input c: bool[]
  input s: float[2]
  t = Add(s, x)
  u = Neg(t)
  g = Less(i, last)
  output {again}
  output t
  output u
}})
output y
output z
"""


def bound(length: int, trips: str, first: str, again: str) -> tuple[Graph, Graph]:
    g = parse(LOOP.format(length=length, trips=trips, first=first, again=again))
    return g, PassManager("bind-trip-count,cleanup", get("iOS17")).run(g).graph


@pytest.mark.parametrize(("trips", "first"), [("m", "_"), ("m", "go")])
def test_it_is_unrolled(trips: str, first: str) -> None:
    g, found = bound(3, trips, first, "c")
    assert "Loop" not in {op.type for _, op in found.ops()}
    feeds = {"x": np.ones(2, np.float32), "m": np.array(3), "go": np.array(True), "last": np.array(0)}
    want, got = run(g, feeds), run(found, feeds)
    for name in ("y", "z"):
        np.testing.assert_array_equal(got[found.outputs[name]], want[name])


@pytest.mark.parametrize(("trips", "first", "again"), [("m", "go", "g"), ("_", "go", "g")])
def test_a_loop_that_ends_by_itself_keeps_its_condition(trips: str, first: str, again: str) -> None:
    g, found = bound(3, trips, first, again)
    (loop,) = [op for _, op in found.ops() if op.type == "Loop"]
    count = found.const(loop.inputs[0])
    assert loop.inputs[1] == "go" and count is not None and int(count.numpy()) == 3
    feeds = {"x": np.ones(2, np.float32), "m": np.array(9), "go": np.array(True), "last": np.array(2)}
    want, got = run(g, feeds), run(found, feeds)
    for name in ("y", "z"):
        np.testing.assert_array_equal(got[found.outputs[name]], want[name])


def test_the_report_names_the_loop_whose_length_is_trusted() -> None:
    g = parse(LOOP.format(length=3, trips="m", first="_", again="c"))
    trusted = next(r for r in PassManager("bind-trip-count", get("iOS17")).run(g).reports if r.counts)
    assert trusted.notes == ('"y": its run-time trip count is taken to agree with the length that is declared',)
    g = parse(LOOP.format(length="n", trips="m", first="_", again="c"))
    assert not any(r.notes for r in PassManager("bind-trip-count", get("iOS17")).run(g).reports)
