"""preallocate-scan-outputs: several outputs of one length, early ends, and what check says of loops that are left."""

from __future__ import annotations

import numpy as np
import pytest

from coregraft.lowering.targets import get
from coregraft.passes.pipelines import convert_pipeline
from coregraft.rewriter.execute import run
from coregraft.rewriter.manager import PassManager
from coregraft.rewriter.onnx_io.text import parse
from coregraft.rewriter.types import DType

LOOP = """
input x: {dtype}[2]
input m: int64[]
input last: int64[]
const swapped: int64[2] = [1, 0]
y, z{declared}, u = Loop({trips}, _, x, body={{
  input i: int64[]
  input c: bool[]
  input s: {dtype}[2]
  a = Gather(s, swapped)
  b = Identity(s)
  g = Less(i, last)
  a2 = Identity(a)
  output g
  output a
  output a2
  output b
}})
output y
output z
output u
"""


def model(dtype: str, trips: str, declared: str) -> str:
    return LOOP.format(dtype=dtype, trips=trips, declared=declared and f": {dtype}{declared}")


@pytest.mark.parametrize("dtype", ["float", "float16", "double", "int64", "int32", "uint8", "bool"])
@pytest.mark.parametrize(("trips", "turns"), [("9", 4), ("_", 4), ("m", 3)])
def test_the_condition_may_end_it_at_its_declared_length(dtype: str, trips: str, turns: int) -> None:
    g = parse(model(dtype, trips, f"[{turns},2]"))
    found = PassManager("preallocate-scan-outputs").run(g).graph
    (loop,) = [op for _, op in found.ops() if op.type == "Loop"]
    assert len(loop.inputs) == 5 and len(loop.attrs["body"].outputs) == 4
    kind = DType[dtype.upper()].numpy
    feeds = {"x": np.array([1, 0]).astype(kind), "m": np.array(3), "last": np.array(3)}
    want, got = run(g, feeds), run(found, feeds)
    assert want["z"].shape[0] == turns
    for name in g.outputs:
        np.testing.assert_array_equal(got[name], want[name])


def test_it_never_writes_beyond_the_declared_length() -> None:
    g = parse(model("float", "m", "[3,2]"))
    found = PassManager("preallocate-scan-outputs").run(g).graph
    feeds = {"x": np.ones(2, np.float32), "m": np.array(8), "last": np.array(8)}
    assert run(found, feeds)["z"].shape == (3, 2)


def test_why_outputs_stay_is_noted() -> None:
    result = PassManager("preallocate-scan-outputs").run(parse(model("float", "m", "")))
    notes = result.reports[-1].notes
    assert [note for note in notes if "their length is only known at run time" in note]


def test_check_names_the_loops_that_are_left() -> None:
    target = get("iOS17")
    findings = PassManager(convert_pipeline(target, "fp32"), target).check(
        parse(model("float", "m", "[3,2]").replace("output g", "output c"))
    )
    assert not [f for f in findings if f.code == "CG510"], "it is unrolled"
    findings = PassManager(convert_pipeline(target, "fp32"), target).check(parse(model("float", "m", "")))
    assert [f.node for f in findings if f.code == "CG510"] == ['Loop "y,z,u"']
