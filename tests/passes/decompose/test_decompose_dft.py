"""DFT as a matrix product, against onnxruntime's and numpy's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.decompose_dft import DecomposeDft
from coregraft.rewriter.types import Const

RULE = DecomposeDft()


def signal(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def number(value: int) -> Const:
    return Const.of(np.array(value, np.int64))


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("axis", [1, 2, -2])
@pytest.mark.parametrize("length", [None, 5, 16])
@pytest.mark.parametrize(("inverse", "onesided"), [(0, 0), (1, 0), (0, 1)])
def test_options(harness: Any, parts: int, axis: int, length: int | None, inverse: int, onesided: int) -> None:
    if parts == 2 and onesided:
        parts = 1
    given = None if length is None else number(length)
    g, feeds = harness.graph("DFT", [signal(2, 7, 9, parts), given, number(axis)], inverse=inverse, onesided=onesided)
    harness.same(RULE, g, feeds, atol=2e-5)


def test_long_transforms_keep_their_phase(harness: Any) -> None:
    x = signal(1, 1001, 1)
    g, feeds = harness.graph("DFT", [x, None, number(1)], onesided=1)
    got = harness.run(harness.rewrite(RULE, g).after, feeds)[0]
    want = np.fft.rfft(x[:, :, 0].astype(np.float64))
    np.testing.assert_allclose(got[..., 0] + 1j * got[..., 1], want, atol=5e-4)


def test_declines(harness: Any) -> None:
    g, _ = harness.graph("DFT", [signal(1, 9, 2), None, number(1)], inverse=1, onesided=1)
    harness.declines(RULE, g, "one-sided and inverse")
    g, _ = harness.graph("DFT", [signal(1, 9, 1), None, number(1)])
    harness.declines(DecomposeDft(max_length=8), g, "length 9 is more than max-length=8")
    g, _ = harness.graph("DFT", [signal(1, 9, 1), np.array(4, np.int64), number(1)])
    harness.declines(RULE, g, "computed at run time")
