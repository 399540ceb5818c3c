"""Bounds of dims that are formulas: for every size that the names may have, and met where no name comes twice."""

from __future__ import annotations

from itertools import product

import pytest

from coregraft.passes.shapes._bounds import bounds
from coregraft.rewriter.shapes.dim_expr import evaluate

SIZES = {"n": 4, "rows:1?": 7}


@pytest.mark.parametrize("text", [
    "n", "3*n + 2", "100 - n", "n - rows:1?", "min(n, 3)", "max(n, rows:1?)", "max(0, 5 - n)", "min(3, n) + rows:1?",
    "n*rows:1?", "(n + 5)//2", "(3 - rows:1?)//2", "-2*n + 1", "-n", "n//1", "5 - max(n, 2)", "2*(rows:1?//3)",
])  # fmt: skip
def test_tight(text: str) -> None:
    found = []
    for n, m in product(range(SIZES["n"] + 1), range(SIZES["rows:1?"] + 1)):
        value = evaluate(text, {"n": n, "rows:1?": m})
        assert isinstance(value, int)
        found.append(value)
    assert bounds(text, SIZES) == (min(found), max(found))


def test_a_name_that_comes_twice_is_safe() -> None:
    assert bounds("n + max(0, 6 - n)", SIZES) == (2, 10)


@pytest.mark.parametrize("dim", [
    None, "other", "n + other", "n % 3", "-(n % 3)", "n + n % 3", "n % 3 + n", "8//n", "min(n, other)", "n*", "abs(n)",
])  # fmt: skip
def test_what_is_not_known(dim: str | None) -> None:
    assert bounds(dim, SIZES) is None


def test_numbers() -> None:
    assert bounds(5, {}) == (5, 5)
