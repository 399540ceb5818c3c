"""Einsum against onnxruntime's own, equation by equation and at random."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coregraft.passes.decompose import _einsum
from coregraft.passes.decompose.decompose_einsum import DecomposeEinsum
from coregraft.rewriter.types import Const

RULE = DecomposeEinsum()
SIZES = {"a": 2, "b": 3, "c": 4, "d": 5, "i": 3, "j": 2, "k": 2}


def arrays(equation: str, seed: int = 0) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    terms = equation.replace("...", "").partition("->")[0].split(",")
    return [rng.standard_normal([SIZES[c] for c in term]).astype(np.float32) for term in terms]


@pytest.mark.parametrize(
    ("equation", "types"),
    [
        ("abcd,abci->abdi", ["Transpose", "MatMul"]),
        ("abc,cid->abid", ["Reshape", "MatMul", "Reshape"]),
        ("abcd,ajcd->acbj", ["Transpose", "Transpose", "MatMul"]),
        ("abcd,bi->aicd", ["Transpose", "Reshape", "MatMul", "Reshape"]),
        ("ab,bc", ["MatMul"]),
        ("ab->ba", ["Transpose"]),
        ("ba", ["Transpose"]),
        ("aa->a", ["Reshape", "Slice"]),
        ("aa", ["Reshape", "Slice", "ReduceSum"]),
        ("baa->b", ["Reshape", "Slice", "ReduceSum"]),
        ("a,b->ab", ["Unsqueeze", "Mul"]),
        ("ab,ab->ab", ["Mul"]),
        ("abcd->ab", ["ReduceSum"]),
    ],
)
def test_becomes_the_ops_that_it_is(harness: Any, equation: str, types: list[str]) -> None:
    g, feeds = harness.graph("Einsum", arrays(equation), equation=equation)
    assert harness.same(RULE, g, feeds, atol=1e-5).types == types


@pytest.mark.parametrize(
    "equation",
    [
        "aba,bc->ac",
        "abc,dbc,aj->dj",
        "a,a->",
        "ab,ab->",
        "a,ab,b->",
        "aaa->a",
        "abc,dij->abcdij",
        "abcdi,abcdj->abcdij",
        "abcd,abci,abj->dij",
    ],
)
def test_general_equations(harness: Any, equation: str) -> None:
    g, feeds = harness.graph("Einsum", arrays(equation), equation=equation)
    harness.same(RULE, g, feeds, atol=1e-4)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("...ij,...jk->...ik", [(2, 6, 3, 4), (2, 6, 4, 5)]),
        ("...ij,jk", [(2, 3, 4), (4, 5)]),
        ("...i->...", [(2, 3, 4)]),
        ("i...,i...->...", [(4, 2, 3), (4, 2, 3)]),
    ],
)
def test_ellipsis(harness: Any, equation: str, shapes: list[tuple[int, ...]]) -> None:
    rng = np.random.default_rng(1)
    xs = [rng.standard_normal(s).astype(np.float32) for s in shapes]
    g, feeds = harness.graph("Einsum", xs, equation=equation)
    harness.same(RULE, g, feeds, atol=1e-5)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("...ij,...jk->...ik", [(2, 6, 3, 4), (1, 4, 5)]),
        ("...,...->...", [(2, 1, 3), (4, 1)]),
        ("ab,ab->a", [(2, 3), (2, 1)]),
    ],
)
def test_axes_of_size_one_broadcast(harness: Any, equation: str, shapes: list[tuple[int, ...]]) -> None:
    """onnxruntime rejects some of these before it runs them: numpy is the reference."""
    rng = np.random.default_rng(2)
    xs = [rng.standard_normal(s).astype(np.float32) for s in shapes]
    g, feeds = harness.graph("Einsum", xs, equation=equation)
    after = harness.rewrite(RULE, g).after
    np.testing.assert_allclose(harness.run(after, feeds)[0], np.einsum(equation, *xs), atol=1e-5)


@pytest.mark.parametrize(
    ("equation", "constant", "types"),
    [
        # Of two products in a row the last is laid out as the result is, or its own result is transposed.
        ("ab,bc,cd->da", (), ["MatMul", "MatMul", "Transpose"]),
        ("abcd,jb,bija->bi", (0, 2), None),
        # Axes in front stay as they are up to rank 5, and are one axis beyond.
        ("abci,abcj->abcij", (), ["Unsqueeze", "Unsqueeze", "Mul"]),
        ("abcid,abcdj->abcij", (), ["MatMul"]),
        ("abcdik,abcdkj->abcdij", (), ["Reshape", "Reshape", "MatMul", "Reshape"]),
    ],
)
def test_plans(harness: Any, equation: str, constant: tuple[int, ...], types: list[str] | None) -> None:
    given = [Const.of(x) if i in constant else x for i, x in enumerate(arrays(equation))]
    g, feeds = harness.graph("Einsum", given, equation=equation)
    outcome = harness.same(RULE, g, feeds, atol=1e-3)
    assert types is None or outcome.types == types
    for _, op in outcome.after.ops():
        ranks = [t.rank for v in (*op.inputs, *op.outputs) if (t := outcome.after.tensor_type(v)) is not None]
        assert op.type == "Reshape" or max(r for r in ranks if r is not None) <= 5


@pytest.mark.parametrize(
    ("equation", "shapes", "reason"),
    [
        ("ab,bc", [(2, 3)], "names 2 operands, the op has 1"),
        ("ab->ac", [(2, 3)], "an axis that no operand has"),
        ("abc->a", [(2, 3)], "does not fit an operand of rank 2"),
        ("a->a", [(2, 3)], "does not fit an operand of rank 2"),
        ("...ab->a", [(2,)], "does not fit an operand of rank 1"),
        ("ab,ab->ab", [(2, 3), (2, 4)], '"b" is both 3 and 4'),
        ("...,...,...", [(1,) * 60, (1,) * 60, (1,) * 60], "60 different axes"),
    ],
)
def test_equations_that_do_not_fit(equation: str, shapes: list[tuple[int, ...]], reason: str) -> None:
    found = _einsum.parse(equation, shapes)
    assert isinstance(found, str) and reason in found


def test_an_unknown_dim_among_three_operands(harness: Any) -> None:
    x, y, z = arrays("ab,bc,cd")
    g, feeds = harness.graph("Einsum", [x, y, z], equation="ab,bc,cd->ad", dims={0: ["n", 3]})
    harness.same(RULE, g, feeds, atol=1e-4)


def test_one_dim_may_be_unknown(harness: Any) -> None:
    x, y = arrays("abc,cid")
    g, feeds = harness.graph("Einsum", [x, y], equation="abc,cid->abid", dims={0: ["n", 3, 4]})
    harness.same(RULE, g, feeds, atol=1e-5)


def test_a_constant_is_laid_out_rather_than_the_activation(harness: Any) -> None:
    x, w = arrays("abc,dc")
    g, feeds = harness.graph("Einsum", [x, Const.of(w)], equation="abc,dc->abd")
    outcome = harness.same(RULE, g, feeds, atol=1e-5)
    transposed = [outcome.after.op(i).inputs[0] for i, op in outcome.after.ops() if op.type == "Transpose"]
    assert transposed == ["c1"]


@st.composite
def equations(draw: st.DrawFn) -> str:
    terms = draw(st.lists(st.text("abcdij", min_size=1, max_size=4), min_size=1, max_size=3))
    used = sorted(set("".join(terms)))
    result = draw(st.permutations(used))
    return f"{','.join(terms)}->{''.join(result[: draw(st.integers(0, min(len(used), 5)))])}"


@settings(max_examples=60, deadline=None, derandomize=True)
@given(equation=equations())
def test_random_equations_agree_with_numpy(harness: Any, equation: str) -> None:
    xs = [np.round(x * 2) for x in arrays(equation)]  # small integers: every order of summing is exact
    g, feeds = harness.graph("Einsum", xs, equation=equation)
    outcome = harness.rewrite(RULE, g)
    if not outcome.fired:
        assert outcome.declined == []
    np.testing.assert_array_equal(harness.run(outcome.after, feeds)[0], np.einsum(equation, *xs))


def test_declines_what_it_cannot_know(harness: Any) -> None:
    x, y = arrays("abc,cid")
    g, _ = harness.graph("Einsum", [x, y], equation="abc,cid->abid", dims={0: ["n", "m", 4]})
    harness.declines(RULE, g, "sizes of a, b are not known")
    g, _ = harness.graph("Einsum", [np.zeros((3, 3), np.float32)], equation="ii->i", dims={0: ["n", "n"]})
    harness.declines(RULE, g, "repeats and its size is not known")
