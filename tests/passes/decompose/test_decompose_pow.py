"""Pow with constants, against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.decompose_pow import DecomposePow
from coregraft.rewriter.target import Target
from coregraft.rewriter.types import Const

RULE = DecomposePow()


X = np.array([[-3.5, -1.0, -0.25], [0.5, 1.0, 7.0]], np.float32)


@pytest.mark.parametrize("exponent", [1, 2, 3, 4, 5, 7, 8, -1, -2, -3])
def test_whole_exponents(harness: Any, exponent: int) -> None:
    for dtype in (np.float32, np.int64):
        g, feeds = harness.graph("Pow", [X, Const.of(np.array(exponent, dtype))])
        outcome = harness.same(RULE, g, feeds)
        assert set(outcome.types) <= {"Mul", "Reciprocal"}


@pytest.mark.parametrize("exponent", [0.5, -0.5, 1.5])
def test_roots(harness: Any, exponent: float) -> None:
    g, feeds = harness.graph("Pow", [np.abs(X), Const.of(np.array([exponent], np.float32))])
    assert "Sqrt" in harness.same(RULE, g, feeds).types


@pytest.mark.parametrize("base", [2.0, 10.0, 0.3])
def test_constant_bases(harness: Any, base: float) -> None:
    g, feeds = harness.graph("Pow", [Const.of(np.array(base, np.float32)), X])
    assert harness.same(RULE, g, feeds).types == ["Mul", "Exp"]


def test_declines(harness: Any) -> None:
    for exponent in (0.3, 9.0, 0.0, 3e9):
        g, _ = harness.graph("Pow", [X, Const.of(np.array(exponent, np.float32))])
        harness.declines(RULE, g, "no whole number up to max-exponent=8")
    for operands in ([X, X], [X, Const.of(np.array([[[2.0]]], np.float32))], [Const.of(np.array(-2.0, np.float32)), X]):
        g, _ = harness.graph("Pow", operands)
        harness.declines(RULE, g, "neither exponent nor base")
    g, _ = harness.graph("Pow", [X.astype(np.int32), Const.of(np.array(2, np.int32))])
    harness.declines(RULE, g, "known to be a float")
    g, _ = harness.graph("Pow", [X, Const.of(np.array(np.inf, np.float32))])
    harness.declines(RULE, g, "no whole number")
    g, _ = harness.graph("Pow", [X, Const.of(np.array(2.0, np.float32))])
    harness.declines(RULE, g, "has a lowering", target=Target.any())
