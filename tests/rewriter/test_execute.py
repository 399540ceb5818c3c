"""Running graphs and parts of them."""

from __future__ import annotations

import numpy as np
import pytest

from coregraft.rewriter.execute import Runner, UnrunnableError, run
from coregraft.rewriter.onnx_io.text import parse
from coregraft.rewriter.shapes import infer_shapes
from coregraft.rewriter.types import Const, DType

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


@pytest.mark.parametrize("dtype", ["float", "float16", "double", "int32", "int64", "int8", "bool", "uint16"])
def test_large_weights_are_seen_whatever_their_type_and_memory(dtype: str) -> None:
    """Those of common types are shared with onnxruntime, not copied into the model; here not even contiguous."""
    kind = DType.of(np.dtype(np.float32)) if dtype == "float" else DType[dtype.upper()]
    values = np.random.default_rng(0).integers(0, 2, (200, 300)).astype(kind.numpy)
    g = parse(f"input i: int64[2]\nconst w: {dtype}[300,200] = zeros()\ny = Gather(w, i, axis=1)\noutput y\n")
    g.nodes["w"]["const"] = Const(kind, (300, 200), values.T)
    y = run(g, {"i": np.array([7, 3])})["y"]
    np.testing.assert_array_equal(y, values.T[:, [7, 3]])


def test_a_large_weight_that_a_branch_shares() -> None:
    """A body holds its weights itself: only those of the outermost graph can be shared with onnxruntime."""
    w = Const.of(np.arange(20000, dtype=np.float32))
    g = parse(
        "input c: bool[]\ninput x: float[20000]\nconst w: float[20000] = zeros()\n"
        "t = If(c, then_branch={\n  const v: float[20000] = zeros()\n  a = Add(x, v)\n  output a\n}, else_branch={\n"
        "  b = Neg(x)\n  output b\n})\ny = Mul(t, w)\noutput y\n"
    )
    g.nodes["w"]["const"] = w
    (op_id,) = (i for i, op in g.ops() if op.type == "If")
    g.op(op_id).attrs["then_branch"].nodes["v"]["const"] = w
    x = np.ones(20000, np.float32)
    np.testing.assert_array_equal(run(g, {"c": np.array(True), "x": x})["y"], (x + w.numpy()) * w.numpy())


def test_a_runner_gives_some_of_its_values() -> None:
    g = parse("input x: float[2]\nconst k: float[2] = ones()\na = Neg(x)\nb = Exp(a)\noutput b\n")
    runner = Runner(g, ["a", "b", "k", "x"])
    x = np.array([0, 1], np.float32)
    assert sorted(runner.run({"x": x})) == ["a", "b", "k", "x"]
    assert list(runner.run({"x": x}, only=["b"])) == ["b"]


def test_a_value_that_numpy_has_no_type_for() -> None:
    """onnxruntime computes it, but cannot hand it over."""
    with pytest.raises(UnrunnableError):
        run(parse("input x: float[2]\ny = Cast(x, to=16)\noutput y\n"), {"x": np.zeros(2, np.float32)})


def test_results_left_out_of_ops_with_any_number_of_them() -> None:
    """onnxruntime does not survive them."""
    text = "input x: float[4]\n_, a = Split(x, axis=0, num_outputs=2)\n{}\noutput y\n"
    body = "body={\ninput n: int64[]\ninput k: bool[]\ninput s: float[2]\nb, _ = Split(s, axis=0, num_outputs=2)\n" \
        "c = Concat(b, b, axis=0)\noutput k\noutput c\noutput b\n}"
    x = np.arange(4, dtype=np.float32)
    assert run(parse(text.format("y = Neg(a)")), {"x": x})["y"].tolist() == [-2, -3]
    assert run(parse(text.format(f"_, y = Loop(2, _, a, {body})")), {"x": x})["y"].tolist() == [[2], [2]]
