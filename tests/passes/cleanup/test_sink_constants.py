"""sink-constants: contents are shared, and rules that want constants then fire in bodies."""

from __future__ import annotations

from typing import Any

import numpy as np

from coregraft.lowering.targets import get
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.manager import PassManager
from coregraft.rewriter.onnx_io.text import parse

LOOP = """
input x: float[2,3]
input m: int64[]
const w: float[3,3] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]
y = Loop(m, _, x, body={
  input i: int64[]
  input c: bool[]
  input s: float[2,3]
  t = Gemm(s, w)
  output c
  output t
})
output y
"""


def body_of(g: Graph) -> Any:
    return next(op.attrs["body"] for _, op in g.ops() if op.type == "Loop")


def test_the_content_is_shared() -> None:
    g = parse(LOOP)
    body = body_of(PassManager("sink-constants").run(g).graph)
    (own,) = [const for v in body.values() if (const := body.const(v)) is not None]
    assert own is g.const("w")


def test_rules_see_it() -> None:
    kinds = {}
    for pipeline in ("form-linear", "sink-constants,form-linear"):
        body = body_of(PassManager(pipeline, get("iOS17")).run(parse(LOOP)).graph)
        kinds[pipeline] = [op.type for _, op in body.ops()]
    assert list(kinds.values()) == [["Gemm"], ["Linear"]]


def test_a_constant_that_nobody_else_reads_goes() -> None:
    g = PassManager("sink-constants").run(parse(LOOP)).graph
    assert "w" not in g
    np.testing.assert_array_equal(body_of(g).const("w/own").numpy().ravel(), np.arange(1, 10))
