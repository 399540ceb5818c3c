"""Inverse against onnxruntime's, by cofactors and by elimination."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.contrib.decompose_inverse import DecomposeInverse
from coregraft.rewriter.types import Array

RULE = DecomposeInverse()


def well_conditioned(*shape: int, seed: int = 0) -> Array:
    """Rotations with their axes scaled by 1 to 2: nothing is small, and the diagonal may well be."""
    q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal(shape))
    return (q * np.linspace(1, 2, shape[-1])).astype(np.float32)


def check(harness: Any, x: Array, **dims: Any) -> Any:
    g, feeds = harness.graph("Inverse", [x], domain="com.microsoft", **dims)
    return harness.same(RULE, g, feeds, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (3, 2, 2), (3, 3), (2, 3, 4, 4), (5, 5), (2, 6, 6), (2, 1, 8, 8), (16, 16)])
def test_sizes(harness: Any, shape: tuple[int, ...]) -> None:
    check(harness, well_conditioned(*shape))


@pytest.mark.parametrize("size", [4, 5])
def test_pivots(harness: Any, size: int) -> None:
    """Every permutation of rows by one place: all diagonals are zero, one row after the other must be fetched."""
    shifts = np.stack([np.roll(np.diag(np.arange(1.0, size + 1)), i, axis=0) for i in range(size)])
    check(harness, shifts.astype(np.float32))


def test_a_small_pivot_is_not_divided_by(harness: Any) -> None:
    x = well_conditioned(6, 6)
    x[0, 0] = 1e-7
    check(harness, x)


@pytest.mark.parametrize("shape", [(3, 3), (6, 6)])
def test_a_batch_of_unknown_size(harness: Any, shape: tuple[int, int]) -> None:
    check(harness, well_conditioned(2, *shape), dims={0: ("n", *shape)})


def test_declines(harness: Any) -> None:
    for shape, reason in (((17, 17), "17x17"), ((2, 3), "not known"), ((3,), "not known")):
        g, _ = harness.graph("Inverse", [np.ones(shape, np.float32)], domain="com.microsoft")
        harness.declines(RULE, g, reason)
    g, _ = harness.graph("Inverse", [well_conditioned(5, 5)], domain="com.microsoft")
    harness.declines(DecomposeInverse(max_size=4), g, "max-size=4")


@pytest.mark.parametrize("format", ["mlprogram", "neuralnetwork"])
def test_converted(harness: Any, format: str) -> None:
    g, feeds = harness.graph("Inverse", [well_conditioned(2, 5, 5)], domain="com.microsoft")
    harness.converts(g, feeds, format, rtol=1e-4, atol=1e-5)
