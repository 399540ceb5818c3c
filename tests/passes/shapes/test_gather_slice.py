"""gather-slice: bounds, axes and steps at run time."""

from __future__ import annotations

import pytest

from .conftest import FLOATS, X, declined, rewritten, vector


def test_starts() -> None:
    text = X + "input b: int64[2]\ninput e: int64[2]\nconst a: int64[2] = [2, 0]\n"
    text += "y: float[1,3,2] = Slice(x, b, e, a)\noutput y\n"
    cases = [((0, 0), (2, 1)), ((-2, 1), (4, 2)), ((1, -1), (-1, 100)), ((2, -2), (100, -1))]
    feeds = [{"x": FLOATS, "b": vector(*b), "e": vector(*e)} for b, e in cases]
    assert rewritten("gather-slice", text, *feeds).count("Gather") == 2


def test_axes() -> None:
    text = X + "input b: int64[1]\ninput e: int64[1]\ninput a: int64[1]\n"
    text += "y: float[2,2,4] = Slice(x, b, e, a)\noutput y\n"
    feeds = [{"x": FLOATS, "b": vector(b), "e": vector(3), "a": vector(a)} for b, a in ((1, 1), (1, -2), (-2, 1))]
    rewritten("gather-slice", text, *feeds)


@pytest.mark.parametrize(("begin", "end", "step", "length"), [
    (3, 0, -1, 3), (-1, -100, -2, 2), (100, 0, -1, 3), (0, 100, 2, 2), (-3, 4, 2, 2), (-100, 100, 3, 2),
])  # fmt: skip
def test_steps(begin: int, end: int, step: int, length: int) -> None:
    text = X + "input b: int64[1]\ninput e: int64[1]\nconst a: int64[1] = [2]\ninput s: int64[1]\n"
    text += f"y: float[2,3,{length}] = Slice(x, b, e, a, s)\noutput y\n"
    rewritten("gather-slice", text, {"x": FLOATS, "b": vector(begin), "e": vector(end), "s": vector(step)})


@pytest.mark.parametrize("line", ["y: float[2,?,4] = Slice(x, b, b)", "y = Slice(x, c, d)"])
def test_unknown_shapes_and_constants_are_left_alone(line: str) -> None:
    consts = "const c: int64[3] = [0, 0, 0]\nconst d: int64[3] = [1, 2, 3]\n"
    assert declined("gather-slice", X + "input b: int64[3]\n" + consts + line + "\noutput y\n")
