"""What half precision may do to a result, and what it may not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from coregraft.rewriter.types import Array
from tests.conformance.half import verdict
from tests.conformance.variants.variant import Variant
from tests.conformance.variants.variant import case as case_of


def ended(found: Any, op: str, *operands: Any, exact: Any = None, constants: Sequence[int] = (), **attrs: Any) -> str:
    """What an op ended as whose package gave ``found``, and without rounding ``exact``, or what is right."""
    arrays = [np.asarray(a) for a in operands]
    case = case_of(op, op, Variant(21, arrays, attrs, constants))
    feeds, wanted = case.data[0]
    unrounded = wanted if exact is None else [np.asarray(exact, wanted[0].dtype)]
    results: list[Array] = [np.asarray(found, wanted[0].dtype)]
    return verdict(results, lambda: unrounded, case, feeds, wanted)[0]


def f32(*values: float) -> Array:
    return np.array(values, np.float32)


def test_one_rounding_is_right() -> None:
    x = f32(0.1, 1.7, 300.3)
    assert ended(x.astype(np.float16), "Identity", x) == "right"
    assert ended(x * np.float32(1.01), "Identity", x, exact=x * np.float32(1.01)) == "wrong"
    assert ended(x * np.float32(1.01), "Identity", x) == "rounded"


@pytest.mark.parametrize("constants", [[], [1]])
def test_what_cancels_may_be_as_far_off_as_its_terms_are_rounded(constants: list[int]) -> None:
    x, y = f32(1000, 1000), f32(-999.5, 3)
    assert ended(f32(1, 1003), "Add", x, y, constants=constants) == "right"
    assert ended(f32(0.5, 1020), "Add", x, y, constants=constants) == "rounded"


def test_overflow_is_told() -> None:
    x = f32(60000, 1)
    assert ended(f32(np.inf, 2), "Add", x, x) == "range:inf"
    assert ended(f32(np.nan, 2), "Add", x, x) == "range:nan"
    assert ended(f32(np.inf, 2), "Add", x, x, exact=f32(np.inf, 2)) == "wrong"


def test_what_is_no_number_has_to_be_none() -> None:
    assert ended(f32(np.nan, np.inf), "Sqrt", f32(-1, np.inf)) == "right"
    assert ended(f32(0, np.inf), "Sqrt", f32(-1, np.inf)) == "rounded"
    assert ended(f32(0, np.inf), "Sqrt", f32(-1, np.inf), exact=f32(0, np.inf)) == "wrong"


def test_numbers_near_zero_may_be_lost() -> None:
    assert ended(f32(0.0, 6e-8), "Identity", f32(2e-8, 5e-8)) == "right"
    assert ended(f32(0.0), "Identity", f32(1e-4)) == "rounded"


def test_what_fp32_cannot_hold_is_infinite() -> None:
    assert ended([np.inf, 2.0], "Add", np.array([1e300, 1.0]), np.array([1e300, 1.0])) == "right"


def test_comparisons_may_turn_out_as_those_of_rounded_operands() -> None:
    x, y = f32(1.0001, 1), f32(1, 2)
    assert ended([False, False], "Greater", x, y) == "right"
    assert ended([True, True], "Greater", x, y, exact=[True, True]) == "wrong"


def test_integers_of_integers_are_exact() -> None:
    x = np.array([2049, 3], np.int32)
    assert ended([2048, 3], "Identity", x) == "wrong"
    assert ended([2049, 3], "Identity", x) == "right"


def test_the_sizes_of_a_result_are_not_moved() -> None:
    x, scales = f32(1, 2, 3).reshape(1, 1, 3), f32(1, 1, 5 / 3)
    assert ended(np.ones((1, 1, 5)), "Resize", x, np.zeros(0, np.float32), scales, constants=[1, 2]) == "rounded"


def test_attributes_are_rounded_too() -> None:
    attrs: dict[str, Any] = {"alpha": 100.03, "gamma": 1.0}
    assert ended(f32(np.exp(1) * 100 - 100), "Selu", f32(1.0), exact=f32(0), **attrs) == "wrong"
    assert ended(f32(-63.25), "Selu", f32(-1.0), **attrs) == "right"
