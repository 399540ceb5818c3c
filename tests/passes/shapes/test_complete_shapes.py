"""complete-shapes: from declared results back to what they are computed from."""

from __future__ import annotations

import pytest

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
    """Either may have the 2 and the other a 1; where the result has a 1, both have."""
    text = X + "s = ReduceSum(x, p, keepdims=1)\nt = ReduceMax(x, p, keepdims=1)\ny: float[2,1] = Add(s, t)\noutput y\n"
    assert shape(text, "s") == (None, 1)
    text = X + "s = ReduceSum(x, p, keepdims=1)\ny: float[2,3] = Add(s, x)\noutput y\n"
    assert shape(text, "s") == (None, None)


def test_two_operands_of_one_unknown_size() -> None:
    """As the functions of windows have it: which size it is, the result says for both."""
    text = "input n: int64[]\nconst a: int64[] = 0\nconst b: int64[] = 1\nr = Range(a, n, b)\nf = Cast(r, to=1)\n"
    text += "c = Cos(f)\nd = Sin(f)\ny: float[7] = Add(c, d)\noutput y\n"
    assert [shape(text, v) for v in ("r", "c", "d")] == [(7,)] * 3


def test_an_operand_of_lower_rank() -> None:
    """As many axes go as are given, so the rank is known, and then what is added to it."""
    text = X + "s = ReduceSum(x, p, keepdims=0)\nconst c: float[1,1] = 1.0\ny: float[1,3] = Add(s, c)\noutput y\n"
    assert shape(text, "s") == (3,)


@pytest.mark.parametrize(("line", "found"), [
    ("y: float[5,4] = Transpose(s)", (4, 5)),
    ("const a: int64[1] = [1]\ny: float[4,1,5] = Unsqueeze(s, a)", (4, 5)),
    ("y: float[4,8] = Concat(s, w, axis=1)", (4, 5)),
    ("y: float[4,10] = Concat(s, s, axis=1)", (4, 5)),
    ("y: float[12,8] = Concat(s, s, s, axis=0)", (4, 8)),
    ("const a: int64[2] = [0, 10]\ny: float[4,10] = Reshape(s, a)", (4, 10)),
    ("y: float[20] = Flatten(s, axis=2)", None),
    ("y: float[1,20] = Flatten(s, axis=0)", (None, None)),
    ("y: float[4,5] = Flatten(s, axis=1)", (4, 5)),
    ("y: float[4,5] = Flatten(s, axis=-1)", (4, 5)),
    ("c = Cast(s, to=7)\ny: int64[4,5] = Abs(c)", (4, 5)),
    ("c = Identity(s)\ny: float[4,5] = Abs(c)", (4, 5)),
    ("const a: int64[2] = [3, 2]\na0: float[4,3], b: float[?,?] = Split(s, a, axis=1)\noutput a0", (4, 5)),
    ("u = Unsqueeze(s, [0])\ny: float[4,5] = Squeeze(u, [0])", (4, 5)),
    ("const a: int64[2] = [2, 3]\ny: float[8,15] = Tile(s, a)", (4, 5)),
    ("const a: int64[4] = [0, 1, 0, 2]\ny: float[4,8] = Pad(s, a)", (4, 5)),
    ("const a: int64[1] = [0]\nconst b: int64[1] = [3]\ny: float[3,5] = Slice(s, a, b)", (None, 5)),
    ("const a: int64[2,1] = [[0], [1]]\ny: float[2,1,5] = Gather(s, a)", (None, 5)),
    ("const a: float[5,6] = normal(seed=1)\ny: float[4,6] = MatMul(s, a)", (4, 5)),
    ("const a: int64[1] = [-1]\ny: float[4] = ReduceMax(s, a, keepdims=0)", (4, None)),
    ("y: int64[4,1] = ArgMax(s, axis=1)", (4, None)),
    ("const a: int64[1] = [2]\nv: float[4,2], i: int64[4,2] = TopK(s, a)\noutput v", (4, None)),
    ("a: float[4,3], b: float[4,2] = Split(s, axis=1, num_outputs=2)\noutput a", (4, 5)),
])  # fmt: skip
def test_back_from_what_comes_after(line: str, found: tuple[object, ...] | None) -> None:
    """The sizes of ``s``, which its own operands do not tell."""
    text = "input x: float[6,6]\ninput w: float[4,3]\ninput from: int64[2]\ninput to: int64[2]\n"
    text += "s = Slice(x, from, to)\n" + line + ("" if "output" in line else "\noutput y") + "\n"
    assert shape(text, "s") == (found or (None, None))


def test_numbers_that_become_sizes() -> None:
    text = "input n: int64[1]\ninput m: int64[1]\nt = Concat(n, m, axis=0)\ns = ConstantOfShape(t)\n"
    text += "const a: int64[] = 0\nconst b: int64[] = 1\nl = Squeeze(m)\nr = Range(a, l, b)\nf = Cast(r, to=1)\n"
    assert shape(text + "q = Add(s, f)\ny: float[2,5] = Exp(q)\noutput y\n", "s") == (2, 5)
    assert shape(text + "q = Add(s, f)\ny: float[2,5] = Exp(q)\noutput y\n", "f") == (5,)


@pytest.mark.parametrize(("target", "found"), [("t", (None, None)), ("u", (2, 15))])
def test_a_target_of_reshape_may_mean_something_else(target: str, found: tuple[object, ...]) -> None:
    """0 copies and -1 is worked out, unless the number is a size somewhere."""
    text = "input x: float[30]\ninput n: int64[2]\ninput u: int64[2]\nz = ConstantOfShape(u)\n"
    text += f"t = Add(n, n)\nr = Reshape(x, {target})\ny: float[2,15] = Exp(r)\noutput y\n"
    text += f"k = ConstantOfShape({target})\noutput k\n" if target == "u" else "e = Expand(z, t)\noutput e\n"
    assert shape(text, "k" if target == "u" else "z") == found


def test_pieces_of_one_size_but_for_the_last() -> None:
    text = "input x: float[7,2]\na: float[?,?], b: float[?,?], c: float[?,?] = Split(x, num_outputs=3)\n"
    assert [shape(text + "output a\noutput b\noutput c\n", v) for v in "abc"] == [(3, 2), (3, 2), (1, 2)]


def test_what_is_declared_wrongly_tells_nothing() -> None:
    text = X + "s = ReduceSum(x, p, keepdims=1)\na: float[5,5] = Relu(s)\ny: float[2,1] = Add(a, 1.0)\noutput y\n"
    assert shape(text, "y") is not None


def test_without_a_declared_shape_nothing_is_known() -> None:
    assert shape(X + "s = ReduceSum(x, p, keepdims=1)\ny = Log(s)\noutput y\n", "s") == (None, None)
