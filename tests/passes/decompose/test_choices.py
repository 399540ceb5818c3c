"""Parameters of which a few values are left: how many are worth computing, and what is wrong with one of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose._choices import MAX_CHOICES, select
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.passes import NoMatch, OpBuilder, Rewriter
from coregraft.rewriter.types import DType, TensorType


def selected(harness: Any, count: int, given: int, refused: int | None = None) -> Any:
    """What ``select`` makes of the choices (0, 0), (1, 1), ...: ten times their number, in onnxruntime."""
    g = Graph()
    g.set_opsets({"": 24})
    g.graph["ir_version"] = 10
    g.add_input("which", TensorType(DType.INT64, (2,)))
    op = OpBuilder(Rewriter(g, "select"))

    def build(choice: tuple[int, ...]) -> Any:
        if choice[0] == refused:
            return NoMatch("choice {} is none", choice[0])
        return op.Identity(op.const(np.array([10 * choice[0]], np.int64)))

    found = select(op, lambda: op.Identity("which"), [(i, i) for i in range(count)], build)
    if isinstance(found, NoMatch):
        return str(found)
    g.set_outputs({"y": found.name})
    return harness.run(g, {"which": np.array([given, given])})[0].tolist()


@pytest.mark.parametrize(("count", "given"), [(1, 0), (2, 0), (2, 1), (MAX_CHOICES, MAX_CHOICES - 1)])
def test_the_one_that_is_named(harness: Any, count: int, given: int) -> None:
    assert selected(harness, count, given) == [10 * given]


def test_a_single_one_is_taken_for_granted(harness: Any) -> None:
    assert selected(harness, 1, 5) == [0]


@pytest.mark.parametrize(
    ("count", "refused", "reason"),
    [
        (0, None, "no parameter gives"),
        (MAX_CHOICES + 1, None, "9 parameters give"),
        (2, 0, "choice 0 is none"),
        (3, 2, "choice 2 is none"),
    ],
)
def test_declines(harness: Any, count: int, refused: int | None, reason: str) -> None:
    assert reason in selected(harness, count, 0, refused)
