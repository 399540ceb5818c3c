"""complete-shapes: from declared results back to what they are computed from."""

from __future__ import annotations

from coregraft.lowering import targets
from coregraft.rewriter.manager import PassManager
from coregraft.rewriter.onnx_io.text import parse

X = "input x: float[2,3]\ninput p: int64[1]\n"


def shape(text: str, value: str) -> tuple[object, ...] | None:
    found = PassManager(["infer-shapes", "complete-shapes"], targets.get("iOS17")).run(parse(text)).graph
    kind = found.tensor_type(value)
    return None if kind is None else kind.shape


def test_a_chain() -> None:
    text = X + "s = ReduceSum(x, p, keepdims=1)\na = Add(s, 1.0)\nb = Mul(2.0, a)\ny: float[2,1] = Log(b)\noutput y\n"
    assert [shape(text, v) for v in ("s", "a", "b")] == [(2, 1)] * 3


def test_two_operands_that_may_both_broadcast() -> None:
    text = X + "s = ReduceSum(x, p, keepdims=1)\nt = ReduceMax(x, p, keepdims=1)\ny: float[2,1] = Add(s, t)\noutput y\n"
    assert shape(text, "s") == (None, None)
    text = X + "s = ReduceSum(x, p, keepdims=1)\ny: float[2,3] = Add(s, x)\noutput y\n"
    assert shape(text, "s") == (None, None)


def test_an_operand_of_lower_rank_is_no_match() -> None:
    text = X + "s = ReduceSum(x, p, keepdims=0)\nconst c: float[1,1] = 1.0\ny: float[1,3] = Add(s, c)\noutput y\n"
    assert shape(text, "s") is None


def test_without_a_declared_shape_nothing_is_known() -> None:
    assert shape(X + "s = ReduceSum(x, p, keepdims=1)\ny = Log(s)\noutput y\n", "s") == (None, None)
