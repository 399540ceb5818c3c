"""scan-to-loop: every mix of axes and directions against the scan itself, and what it says of scans that stay."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coregraft.rewriter.execute import run
from coregraft.rewriter.manager import PassManager
from coregraft.rewriter.onnx_io.text import parse

SCAN = """
input x: float{x}
input w: float{w}
input z: float[2,3]
s, y, b = Scan(z, x, w, body={{
  input s0: float[2,3]
  input e: float[2,3]
  input f: float[3]
  t = Mul(s0, f)
  u = Add(t, e)
  v = Neg(u)
  r = ReduceMax(u, axes, keepdims=0)
  output u
  output v
  output r
}}, num_scan_inputs=2, scan_input_axes={ins}, scan_input_directions={backs}, scan_output_axes={outs},
   scan_output_directions={reversals})
const axes: int64[1] = [0]
output s
output y
output b
"""


def text(ins: tuple[int, int], backs: list[int], outs: list[int], reversals: list[int], length: int = 5) -> str:
    x, w = [2, 3], [3]
    x.insert(ins[0] % 3, length)
    w.insert(ins[1] % 2, length)
    shapes = {"x": str(x).replace(" ", ""), "w": str(w).replace(" ", "")}
    return SCAN.format(**shapes, ins=list(ins), backs=backs, outs=outs, reversals=reversals)


FLAGS = st.lists(st.integers(0, 1), min_size=2, max_size=2)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    ins=st.tuples(st.integers(-3, 2), st.integers(-2, 1)), backs=FLAGS, reversals=FLAGS,
    outs=st.tuples(st.integers(-3, 2), st.integers(-2, 1)),
)  # fmt: skip
def test_axes_and_directions(
    ins: tuple[int, int], backs: list[int], outs: tuple[int, int], reversals: list[int]
) -> None:
    g = parse(text(ins, backs, list(outs), reversals))
    rng = np.random.default_rng(0)
    feeds = {}
    for name in g.inputs:
        kind = g.tensor_type(name)
        assert kind is not None and kind.static_shape is not None
        feeds[name] = rng.normal(size=kind.static_shape).astype(np.float32)
    found = PassManager("scan-to-loop").run(g).graph
    assert sorted({op.type for _, op in found.ops()} & {"Scan", "Loop"}) == ["Loop"]
    want, got = run(g, feeds), run(found, feeds)
    for name in g.outputs:
        np.testing.assert_array_equal(got[name], want[name])


@pytest.mark.parametrize(("length", "reason"), [("n", "the dim it scans is not known"), ("0", "an empty tensor")])
def test_what_stays(length: str, reason: str) -> None:
    source = text((0, 0), [0, 0], [0, 0], [0, 0], length=7).replace("[7,", f"[{length},")
    result = PassManager("scan-to-loop").run(parse(source))
    assert not result.reports[-1].changed
    assert [note for note in result.reports[-1].notes if reason in note]


def test_names_of_the_surroundings_are_not_taken() -> None:
    """A body may use names that stand for something else around it, as far as it does not read that."""
    g = parse("""
input x: float[3,2]
input turn: float[2]
z = Neg(turn)
s = Scan(z, x, body={
  input holds: float[2]
  input e: float[2]
  t = Add(holds, e)
  u = Mul(t, turn)
  output u
}, num_scan_inputs=1)
output s
""")
    feeds = {"x": np.arange(6, dtype=np.float32).reshape(3, 2), "turn": np.array([2.0, 3.0], np.float32)}
    found = PassManager("scan-to-loop").run(g).graph
    np.testing.assert_array_equal(run(found, feeds)["s"], run(g, feeds)["s"])
