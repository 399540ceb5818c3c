"""What ``check`` says of an op that has to be taken apart."""

from __future__ import annotations

import pytest

from coregraft.passes.decompose._base import Decomposition
from coregraft.passes.decompose.decompose_max_pool import DecomposeMaxPool
from coregraft.passes.decompose.unroll_gru import UnrollGru


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (UnrollGru(), "Core ML's GRU resets the state before the recurrent product."),
        (DecomposeMaxPool(), "Core ML's pools have no dilation, and its max pool has one output."),
    ],
)
def test_it_names_the_trouble_and_not_the_cure(rule: Decomposition, text: str) -> None:
    assert rule.finding(None) == text
