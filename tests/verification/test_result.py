"""Of several comparisons of one output the worst is told."""

from __future__ import annotations

from coregraft.verification.compare import Comparison
from coregraft.verification.result import worst


def test_the_worst_of_each_name_in_the_order_of_the_names() -> None:
    small, large = Comparison("a", True, relative_l2=1e-6), Comparison("a", True, relative_l2=1e-3)
    wrong = Comparison("a", False, "shape")
    few, many = Comparison("b", True, mismatches=0.01), Comparison("b", True, mismatches=0.5)
    assert worst([small, few, large, many]) == (large, many)
    assert worst([large, many, small, few]) == (large, many)
    assert worst([wrong, large]) == worst([large, wrong]) == (wrong,), "out of tolerance is worse than any error"
    assert worst([]) == ()


def test_of_equals_the_first_is_told() -> None:
    first, second = Comparison("a", False, "one"), Comparison("a", False, "two")
    assert worst([first, second]) == (first,)
