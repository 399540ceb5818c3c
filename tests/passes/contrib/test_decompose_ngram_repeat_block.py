"""NGramRepeatBlock by comparisons, against onnxruntime's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.contrib.decompose_ngram_repeat_block import DecomposeNgramRepeatBlock

RULE = DecomposeNgramRepeatBlock()
MS = "com.microsoft"


def case(harness: Any, length: int, size: int, **more: Any) -> Any:
    rng = np.random.default_rng(length)
    ids, scores = rng.integers(0, 3, (4, length)), rng.standard_normal((4, 6)).astype(np.float32)
    return harness.graph("NGramRepeatBlock", [ids, scores], domain=MS, ngram_size=size, **more)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("length", [1, 2, 4, 12])
def test_sizes(harness: Any, length: int, size: int) -> None:
    g, feeds = case(harness, length, size)
    harness.same(RULE, g, feeds)


@pytest.mark.parametrize("kind", ["mlprogram", "neuralnetwork"])
def test_converted(harness: Any, kind: str) -> None:
    g, feeds = case(harness, 12, 2)
    harness.converts(g, feeds, kind)


def test_declines(harness: Any) -> None:
    g, _ = case(harness, 12, 2, dims={0: (4, "n")})
    harness.declines(RULE, g, "number of tokens")
    g, _ = case(harness, 12, 2)
    harness.declines(DecomposeNgramRepeatBlock(max_elements=60), g, "more than max-elements")
    g, _ = case(harness, 12, 0)
    harness.declines(RULE, g, "ngram_size is 0")
