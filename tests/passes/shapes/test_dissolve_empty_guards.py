"""dissolve-empty-guards: no rows where there were none, whatever the condition is."""

from __future__ import annotations

import numpy as np
import pytest

from coregraft.rewriter.manager import PassManager
from coregraft.rewriter.onnx_io.text import parse

from .conftest import rewritten

PASS = "dissolve-empty-guards"
HEAD = """
opset com.microsoft 1
input x: float[6,4]
input c: bool[6]
input no: bool[]
k = NonZero(c)
t = Squeeze(k, [0])
r = Gather(x, t)
"""
WORK = """
  m = ReduceMax(r, keepdims=0)
  d = Add(r, m)
  b = Unsqueeze(d, [0])
  v = Gather(r, 0, axis=1)
  s = Reshape(v, [1, 1, -1])
  n = NonMaxSuppression(b, s, [9], [0.5])
  q = Gather(n, [2], axis=1)
  w = Squeeze(q, [1])
  output w
"""
NOTHING = "\n  const e: int64[0] = []\n  output e\n"


def guarded(then: str, other: str) -> str:
    return HEAD + f"y = If(no, then_branch={{{then}}}, else_branch={{{other}}})\noutput y\n"


@pytest.mark.parametrize("then_is_empty", [True, False])
def test_both_ways(then_is_empty: bool) -> None:
    text = guarded(NOTHING, WORK) if then_is_empty else guarded(WORK, NOTHING)
    rows = np.random.default_rng(2).random((6, 4)).astype(np.float32)
    flags = [np.array(f, bool) for f in ([1, 1, 0, 1, 1, 1], [0] * 6)]
    feeds = [{"x": rows, "c": f, "no": np.array(no)} for f in flags for no in (True, False)]
    # in onnxruntime too the branch is run for no rows at all
    assert "If" not in rewritten(PASS, text, *feeds)


def test_rows_of_a_matrix() -> None:
    text = guarded("\n  const e: float[0,4] = []\n  output e\n", "\n  q = Exp(r)\n  output q\n")
    feeds = [{"x": np.ones((6, 4), np.float32), "c": np.ones(6, bool), "no": np.array(no)} for no in (True, False)]
    assert "If" not in rewritten(PASS, text, *feeds)


@pytest.mark.parametrize(("then", "other", "reason"), [
    ("\n  const e: int64[1] = [7]\n  output e\n", WORK, "neither of its branches"),
    (NOTHING, "\n  q = Div(t, t)\n  output q\n", "may fail where its branch is not taken"),
    (NOTHING, "\n  q = Cast(t, to=6)\n  output q\n", "do not differ in one dim alone"),
])  # fmt: skip
def test_the_reason(then: str, other: str, reason: str) -> None:
    g = parse(guarded(then, other))
    report = PassManager(["infer-shapes", PASS]).run(g).reports[-1]
    assert reason in report.notes[0]


@pytest.mark.parametrize(("then", "other"), [
    ("\n  const e: float[0,4] = []\n  output e\n", "\n  q = com.microsoft.Gelu(r)\n  output q\n"),
    ("\n  const e: int64[0,0] = []\n  output e\n",
     "\n  a = Unsqueeze(t, [0])\n  b = Unsqueeze(t, [1])\n  q = Add(a, b)\n  output q\n"),
    ("\n  const e: int64[1] = [7]\n  output e\n", WORK),
    ("\n  e = Cast(t, to=7)\n  output e\n", WORK),
    (NOTHING, "\n  const i: int64[1] = [0]\n  q = Gather(t, i)\n  output q\n"),
    (NOTHING, "\n  q = Div(t, t)\n  output q\n"),
    (NOTHING, "\n  h = Shape(r)\n  q = Reshape(t, h)\n  f = Reshape(q, [-1])\n  output f\n"),
    (NOTHING, "\n  q = Unsqueeze(t, [0])\n  output q\n"),
    (NOTHING, "\n  q = Cast(t, to=6)\n  output q\n"),
    ("\n  const e: int64[0,0] = []\n  output e\n", "\n  q = Unsqueeze(t, [0])\n  output q\n"),
    ("\n  const e: int64[2,0] = []\n  output e\n", "\n  q = Unsqueeze(t, [0])\n  output q\n"),
])  # fmt: skip
def test_what_stays(then: str, other: str) -> None:
    assert "If" in rewritten(PASS, guarded(then, other))
