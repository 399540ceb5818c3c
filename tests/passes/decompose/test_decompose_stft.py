"""STFT as a convolution, against onnxruntime's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.decompose_stft import DecomposeStft
from coregraft.rewriter.types import Const

RULE = DecomposeStft()


def signal(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def number(value: int) -> Const:
    return Const.of(np.array(value, np.int64))


@pytest.mark.parametrize(("parts", "onesided"), [(1, 1), (1, 0), (2, 0)])
@pytest.mark.parametrize("window", ["none", "hann", "and length"])
@pytest.mark.parametrize("step", [4, 7])
def test_options(harness: Any, parts: int, onesided: int, window: str, step: int) -> None:
    given = None if window == "none" else Const.of(np.hanning(16).astype(np.float32))
    length = number(16) if window != "hann" else None
    g, feeds = harness.graph("STFT", [signal(2, 61, parts), number(step), given, length], onesided=onesided)
    harness.same(RULE, g, feeds, atol=2e-5)


def test_declines(harness: Any) -> None:
    g, _ = harness.graph("STFT", [signal(1, 60, 1), number(4)])
    harness.declines(RULE, g, "neither window nor frame length")
    g, _ = harness.graph("STFT", [signal(1, 60, 1), np.array(4, np.int64), None, number(16)])
    harness.declines(RULE, g, "computed at run time")
    g, _ = harness.graph("STFT", [signal(1, 60, 2), number(4), None, number(16)], onesided=1)
    harness.declines(RULE, g, "no one-sided transform")
