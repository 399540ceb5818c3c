"""choose-axes: every axis that may be meant, and the one that is."""

from __future__ import annotations

import numpy as np
import pytest

from coregraft.rewriter.types import Array

from .conftest import FLOATS, X, declined, rewritten, vector


@pytest.mark.parametrize("attrs", ["", ", exclusive=1", ", reverse=1"])
def test_running_sums(attrs: str) -> None:
    text = X + f"input p: int64[]\ny: float[2,3,4] = CumSum(x, p{attrs})\noutput y\n"
    feeds: list[dict[str, Array]] = [{"x": FLOATS, "p": np.array(axis)} for axis in (0, 1, 2, -1, -3)]
    assert rewritten("choose-axes", text, *feeds).count("CumSum") == 3


def test_reductions_that_the_shape_does_not_tell_apart() -> None:
    text = "input x: float[2,3,2]\ninput p: int64[{0}]\ny: float[{1}] = ReduceProd(x, p, keepdims=0)\noutput y\n"
    x = FLOATS[:, :, :2]
    one = [{"x": x, "p": vector(axis)} for axis in (0, -3)]
    assert rewritten("choose-axes", text.format(1, "3,2"), *one).count("ReduceProd") == 1
    pairs = [{"x": x, "p": vector(*axes)} for axes in ((0, 1), (2, 1), (1, -1), (-2, 0))]
    assert rewritten("choose-axes", text.format(2, "2"), *pairs).count("ReduceProd") == 2


@pytest.mark.parametrize("kind", ["L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"])
def test_every_reduction(kind: str) -> None:
    """One for each axis that may be meant; the choice between them takes another of Max and of Min."""
    text = f"input x: float[2,2]\ninput p: int64[1]\ny: float[2] = Reduce{kind}(x, p, keepdims=0)\noutput y\n"
    x = np.abs(FLOATS[:, :2, 0]) + 1
    feeds: list[dict[str, Array]] = [{"x": x, "p": vector(axis)} for axis in (0, 1, -1, -2)]
    assert rewritten("choose-axes", text, *feeds).count(f"Reduce{kind}") == (3 if kind in ("Min", "Max") else 2)


def test_equal_axes() -> None:
    text = "input x: float[2,2,2]\ninput p: int64[1]\ny: float[2,2] = ReduceSum(x, p, keepdims=0)\noutput y\n"
    feeds: list[dict[str, Array]] = [{"x": FLOATS[:, :2, :2], "p": vector(axis)} for axis in (0, 1, 2, -1, -3)]
    assert rewritten("choose-axes", text, *feeds).count("ReduceSum") == 3


@pytest.mark.parametrize("text", [
    X + "const p: int64[] = 1\ny = CumSum(x, p)\noutput y\n",
    "input x: float[2,?]\ninput p: int64[]\ny = CumSum(x, p)\noutput y\n",
    "input x: float[2,2,2,2,2]\ninput p: int64[2]\ny: float[2,2,2] = ReduceMax(x, p, keepdims=0)\noutput y\n",
])  # fmt: skip
def test_what_is_not_chosen(text: str) -> None:
    """A constant axis, an unknown shape, more candidates than max-choices."""
    assert declined("choose-axes", text)
