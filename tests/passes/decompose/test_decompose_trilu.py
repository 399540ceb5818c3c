"""decompose-trilu: a diagonal at run time."""

from __future__ import annotations

import numpy as np
import pytest

from coregraft.passes.decompose.decompose_trilu import DecomposeTrilu
from coregraft.rewriter.types import Const

from .conftest import Harness

X = np.random.default_rng(3).integers(1, 9, (2, 3, 5))


@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("k", [-4, -1, 0, 2, 7])
@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_every_diagonal(harness: Harness, upper: int, k: int, dtype: type) -> None:
    found = harness.same(DecomposeTrilu(), *harness.graph("Trilu", [X.astype(dtype), np.array(k)], upper=upper))
    assert found.types[-1] == "Where"


def test_a_constant_diagonal_is_left_alone(harness: Harness) -> None:
    harness.declines(DecomposeTrilu(), harness.graph("Trilu", [X.astype(np.float32), Const.of(np.array(1))])[0], "")
