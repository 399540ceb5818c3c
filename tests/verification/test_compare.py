"""Comparing tensors: what is within tolerance, and what is said of what is not."""

from __future__ import annotations

import json

import numpy as np
import pytest

from coregraft.rewriter.onnx_io.text import parse
from coregraft.rewriter.types import Array
from coregraft.verification.compare import TOLERANCES, Tolerance, bounded_values, compare

FP32, FP16 = TOLERANCES["fp32"], TOLERANCES["fp16"]
X = np.random.default_rng(0).standard_normal((4, 7)).astype(np.float32)


def test_equal_tensors() -> None:
    found = compare("y", X, X, FP32)
    assert found.ok
    assert (found.relative_l2, found.max_abs, found.argmax_agreement) == (0.0, 0.0, 1.0)
    assert found.snr_db is None


@pytest.mark.parametrize(("factor", "ok"), [(1 + 5e-5, True), (1 + 2e-4, False)])
def test_the_tolerance_is_a_bound_on_relative_l2(factor: float, ok: bool) -> None:
    found = compare("y", X, (X * factor).astype(np.float32), FP32)
    assert found.ok is ok
    assert found.relative_l2 == pytest.approx(factor - 1, rel=2e-3)
    assert found.snr_db == pytest.approx(-20 * np.log10(factor - 1), abs=0.05)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_finite_in_one_only(bad: float) -> None:
    y = X.copy()
    y[1, 2] = bad
    for a, b in ((X, y), (y, X)):
        found = compare("y", a, b, FP16)
        assert not found.ok
        assert "1 element(s) are finite" in found.why


def test_the_same_infinities_are_equal() -> None:
    y = X.copy()
    y[0, 0], y[1, 1] = -np.inf, np.nan
    assert compare("y", y, y.copy(), FP32).ok
    z = y.copy()
    z[0, 0] = np.inf
    assert not compare("y", y, z, FP32).ok


def test_shapes_must_agree_except_for_scalars() -> None:
    assert "shape" in compare("y", X, X.reshape(7, 4), FP32).why
    assert compare("y", np.full((), 2.0, np.float32), np.array([2.0], np.float32), FP32).ok
    assert not compare("y", np.zeros((1, 1), np.float32), np.zeros(1, np.float32), FP32).ok


@pytest.mark.parametrize(("tolerance", "ok"), [(FP32, False), (Tolerance(0.0, 0.3), True)])
def test_integers_are_counted(tolerance: Tolerance, ok: bool) -> None:
    a: Array = np.arange(8)
    b = a.copy()
    b[3] += 1
    found = compare("y", a, b, tolerance)
    assert (found.ok, found.mismatches) == (ok, 1 / 8)


def test_elements_beyond_a_limit_are_left_out() -> None:
    a = np.array([1.0, -3.4e38, 2.0], np.float32)
    b = np.array([1.0, -4e4, 2.0], np.float32)
    assert not compare("y", a, b, FP16).ok
    assert compare("y", a, b, FP16, limit=3e4).ok


def test_a_reference_of_zeros() -> None:
    zero = np.zeros(5, np.float32)
    assert compare("y", zero, zero + 1e-13, FP32).ok
    assert not compare("y", zero, zero + 1e-3, FP32).ok


def test_no_elements() -> None:
    assert compare("y", np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32), FP32).ok


def test_an_overflow_beyond_the_limit_is_still_one() -> None:
    a = np.array([1.0, 1e6, 2.0], np.float32)
    b = np.array([1.0, np.inf, 2.0], np.float32)
    assert not compare("y", a, b, FP16, limit=3e4).ok


def test_nothing_but_infinities() -> None:
    a = np.full((2, 2), np.inf, np.float32)
    assert compare("y", a, a, FP32).ok


def test_things_that_cannot_be_compared() -> None:
    words: Array = np.array(["a", "b"], object)
    assert "cannot be compared" in compare("y", words, np.zeros(2, np.int32), FP32).why


def test_integers_that_came_back_as_floats() -> None:
    a: Array = np.array([1, 2, 3])
    assert compare("y", a, a.astype(np.float32), FP32).ok
    assert compare("y", a, np.array([1, 2, np.nan], np.float32), FP32).mismatches == 1 / 3


def test_a_probability_has_the_precision_of_one() -> None:
    a = np.full(100, 1e-6, np.float32)
    assert not compare("y", a, a + 2e-7, FP32).ok
    assert compare("y", a, a + 2e-7, FP32, bounded=True).ok
    assert not compare("y", a, a + 3e-7, FP32, bounded=True).ok


def test_values_computed_with_the_precision_of_one() -> None:
    g = parse(
        "input x: float[2,3]\ns = Sigmoid(x)\nr = Reshape(s, [3, 2])\nt = Sin(x)\nc = Concat(s, t, axis=0)\n"
        "d = Concat(s, x, axis=0)\nm = Mul(s, t)\noutput r\noutput c\noutput d\noutput m\n"
    )
    assert bounded_values(g) == {"s", "r", "t", "c"}


def test_a_comparison_is_json() -> None:
    a = np.ones((2, 3), np.float32)
    for b in (a, a + 1, np.zeros((2, 3), np.float32)):
        json.dumps(compare("y", a, b, FP32).as_dict())
        json.dumps(compare("y", a.astype(np.int32), b.astype(np.int32), FP32).as_dict())
