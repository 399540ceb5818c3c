"""Sequences of known length: the same tensors without them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.dissolve_sequences import DissolveSequences
from coregraft.rewriter.manager import PassManager
from coregraft.rewriter.onnx_io.text import parse

RULE = DissolveSequences()


def graph(text: str) -> Any:
    return PassManager("infer-shapes").run(parse(text)).graph


CASES = {
    "split by sizes": "s = SplitToSequence(x, [2, 4], axis=1)\ny = SequenceAt(s, 1)\noutput y",
    "split by size": "s = SplitToSequence(x, 4, axis=1)\ny = SequenceAt(s, -1)\noutput y",
    "split one by one": "s = SplitToSequence(x, axis=0, keepdims=0)\ny = SequenceAt(s, 0)\noutput y",
    "split one by one, axis kept": "s = SplitToSequence(x, axis=0)\ny = SequenceAt(s, 1)\noutput y",
    "concat": "a = Neg(x)\ns = SequenceConstruct(x, a, x)\ny = ConcatFromSequence(s, axis=1)\noutput y",
    "stack": "a = Neg(x)\ns = SequenceConstruct(x, a)\ny = ConcatFromSequence(s, axis=-1, new_axis=1)\noutput y",
    "length": "s = SplitToSequence(x, 4, axis=1)\ny = SequenceLength(s)\noutput y",
    "insert": "a = Neg(x)\ns = SequenceConstruct(x)\nt = SequenceInsert(s, a)\nu = SequenceInsert(t, x, 1)\n"
    "y = ConcatFromSequence(u, axis=0)\noutput y",
    "from nothing": "e = SequenceEmpty()\ns = SequenceInsert(e, x)\ny = SequenceAt(s, 0)\nz = Neg(y)\noutput z",
    "erase": "a = Neg(x)\ns = SequenceConstruct(x, a, x)\nt = SequenceErase(s)\nu = SequenceErase(t, 0)\n"
    "y = ConcatFromSequence(u, axis=0)\noutput y",
}


@pytest.mark.parametrize("case", CASES)
def test_agrees_and_leaves_no_sequence(harness: Any, case: str) -> None:
    g = graph(f"input x: float[2,6]\n{CASES[case]}")
    x = np.random.default_rng(0).standard_normal((2, 6)).astype(np.float32)
    outcome = harness.same(RULE, g, {"x": x})
    clean = PassManager("eliminate-dead-code").run(outcome.after).graph
    assert not [op.type for _, op in clean.ops() if "Sequence" in op.type]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("input x: float[2,n]\ns = SplitToSequence(x, 4, axis=1)\ny = SequenceAt(s, 0)\noutput y", "axis is not known"),
        (
            "input x: float[2,6]\ninput i: int64[]\ns = SequenceConstruct(x, x)\ny = SequenceAt(s, i)\noutput y",
            "place is computed at run time",
        ),
        ("input x: float[2,6]\ns = SequenceConstruct(x)\ny = SequenceAt(s, 3)\noutput y", "place 3 does not exist"),
    ],
)
def test_declines(harness: Any, text: str, reason: str) -> None:
    harness.declines(RULE, graph(text), reason)
