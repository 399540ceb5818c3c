"""Running graphs and parts of them."""

from __future__ import annotations

import numpy as np
import pytest

from coregraft.rewriter.execute import UnrunnableError, run
from coregraft.rewriter.onnx_io.text import parse
from coregraft.rewriter.shapes import infer_shapes

BRANCHES = """
input c: bool[]
input x: float[2,3]
y = If(c, then_branch={
  const axes: int64[1] = [0]
  sum = ReduceSum(x, axes)
  output sum
}, else_branch={
  const zero: int64[1] = [0]
  flat = Squeeze(x, zero)
  output flat
})
output y
"""


def test_a_branch_that_contradicts_the_sizes_may_be_there() -> None:
    """Squeezing a dim of 2 fails, but only where it is done: models have branches for other sizes of their input."""
    g = parse(BRANCHES)
    infer_shapes(g)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(run(g, {"c": np.array(True), "x": x})["y"], x.sum(0, keepdims=True))
    with pytest.raises(UnrunnableError):
        run(g, {"c": np.array(False), "x": x})


def test_a_missing_kernel_is_told_from_a_broken_graph() -> None:
    """onnxruntime adds no half-precision updates; the other graph adds tensors that do not go together."""
    text = """
    input x: float16[3]
    input i: int64[1]
    input u: float16[1]
    y = ScatterElements(x, i, u, reduction="add")
    output y
    """
    half = np.zeros(3, np.float16)
    with pytest.raises(UnrunnableError) as missing:
        run(parse(text), {"x": half, "i": np.array([1]), "u": half[:1]})
    assert missing.value.no_kernel
    with pytest.raises(UnrunnableError) as broken:
        run(parse("input a: float[2]\ninput b: float[3]\ny = Add(a, b)\noutput y\n"),
            {"a": np.zeros(2, np.float32), "b": np.zeros(3, np.float32)})  # fmt: skip
    assert not broken.value.no_kernel


def test_a_part_is_run_between_the_values_that_are_fed() -> None:
    g = parse("input x: float[2]\na = Neg(x)\nb = Exp(a)\nc = Relu(b)\noutput c\n")
    b = np.array([-1, 2], np.float32)
    assert run(g, {"b": b})["c"].tolist() == [0, 2]
    assert run(g, {"b": b}, ["b"])["b"] is b
