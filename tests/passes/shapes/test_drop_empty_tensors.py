"""drop-empty-tensors: operands and pieces without elements."""

from __future__ import annotations

from .conftest import FLOATS, X, declined, rewritten


def test_a_part_that_is_nothing() -> None:
    text = X + "const n: int64[2] = [4, 0]\na, e = Split(x, n, axis=2)\nr = Relu(a)\n"
    text += "y = Concat(r, e, axis=2)\noutput y\n"
    assert rewritten("drop-empty-tensors", text, {"x": FLOATS}) == ["Identity", "Relu", "Identity"]


def test_several_parts_are_left() -> None:
    text = X + "const n: int64[4] = [1, 0, 3, 0]\na, e, b, f = Split(x, n, axis=-1)\n"
    text += "y = Concat(b, e, a, f, axis=2)\noutput y\n"
    assert rewritten("drop-empty-tensors", text, {"x": FLOATS}) == ["Split", "Concat"]


def test_what_is_read_elsewhere_stays() -> None:
    text = X + "const n: int64[2] = [4, 0]\na, e = Split(x, n, axis=2)\noutput a\noutput e\n"
    assert declined("drop-empty-tensors", text)
    assert declined("drop-empty-tensors", X + "y = Concat(x, x, axis=2)\noutput y\n")


def test_an_empty_piece_that_is_read_stays_beside_one_that_is_not() -> None:
    text = X + "const n: int64[3] = [4, 0, 0]\na, e, f = Split(x, n, axis=2)\ny = Shape(e)\noutput a\noutput y\n"
    assert rewritten("drop-empty-tensors", text, {"x": FLOATS}) == ["Split", "Shape"]


def test_operands_that_are_all_empty_stay() -> None:
    text = "input x: float[2,0]\ny = Concat(x, x, axis=1)\noutput y\n"
    assert declined("drop-empty-tensors", text)


def test_pieces_of_unknown_size_are_left_alone() -> None:
    text = "input x: float[2,N]\na: float[2,?], b: float[2,?] = Split(x, axis=1, num_outputs=2)\noutput a\noutput b\n"
    assert declined("drop-empty-tensors", text)


def test_a_piece_that_is_left_out_is_not_an_empty_one() -> None:
    text = X + "const n: int64[3] = [1, 2, 1]\na, _, b = Split(x, n, axis=2)\noutput a\noutput b\n"
    assert declined("drop-empty-tensors", text)
