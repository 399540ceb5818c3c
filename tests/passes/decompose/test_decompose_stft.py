"""STFT as a convolution, against onnxruntime's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.decompose_stft import DecomposeStft
from coregraft.rewriter.types import Const, DType, TensorType

RULE = DecomposeStft()


def signal(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def number(value: int) -> Const:
    return Const.of(np.array(value, np.int64))


@pytest.mark.parametrize(("parts", "onesided"), [(1, 1), (1, 0), (2, 0), (2, 1)])
@pytest.mark.parametrize("window", ["none", "hann", "and length"])
@pytest.mark.parametrize("step", [4, 7])
def test_options(harness: Any, parts: int, onesided: int, window: str, step: int) -> None:
    given = None if window == "none" else Const.of(np.hanning(16).astype(np.float32))
    length = number(16) if window != "hann" else None
    g, feeds = harness.graph("STFT", [signal(2, 61, parts), number(step), given, length], onesided=onesided)
    harness.same(RULE, g, feeds, atol=2e-5)


@pytest.mark.parametrize("window", [False, True])
@pytest.mark.parametrize(
    ("length", "step", "ops"),
    [
        (16, 8, "Conv"),  # no other step gives as many frames, no other length as many bins
        (16, 13, "Gather"),  # 13 … 15 do
        (17, 4, "Conv"),  # one-sided, 16 fits as well
        (60, 9, "Conv"),
    ],
)
@pytest.mark.parametrize("onesided", [0, 1])
def test_operands_at_run_time(harness: Any, window: bool, length: int, step: int, ops: str, onesided: int) -> None:
    frames, bins = (60 - length) // step + 1, length // 2 + 1 if onesided else length
    given = np.hanning(length).astype(np.float32) if window else None
    operands = [signal(2, 60, 1), np.array(step), given, np.array(length)]
    g, feeds = harness.graph("STFT", operands, onesided=onesided)
    g.nodes["y0"]["type"] = TensorType(DType.FLOAT, (2, frames, bins, 2))
    types = harness.same(RULE, g, feeds, rtol=1e-4, atol=1e-4).types
    assert ("Gather" if window else ops) in types


def test_a_frame_is_the_signal_where_nothing_tells_its_length(harness: Any) -> None:
    x = signal(2, 9, 1)
    g, feeds = harness.graph("STFT", [x, number(4)])
    g.nodes["y0"]["type"] = TensorType(DType.FLOAT, (2, 1, 5, 2))
    got = harness.run(harness.rewrite(RULE, g).after, feeds)[0]
    np.testing.assert_allclose(got[:, 0, :, 0] + 1j * got[:, 0, :, 1], np.fft.rfft(x[..., 0]), atol=1e-5)


def test_declines(harness: Any) -> None:
    g, _ = harness.graph("STFT", [signal(1, 60, 1), np.array(4, np.int64), None, number(16)])
    harness.declines(RULE, g, "shape of its result is not known")
    g, _ = harness.graph("STFT", [signal(1, 60, 1), number(4), Const.of(np.ones(9, np.float32)), number(16)])
    harness.declines(RULE, g, "the window has shape (9,), a frame 16 elements")
    g, _ = harness.graph("STFT", [signal(1, 60, 1), np.array(4, np.int64), None, number(16)])
    g.nodes["y0"]["type"] = TensorType(DType.FLOAT, (1, 44, 9, 2))
    harness.declines(RULE, g, "no parameter gives the declared shape")
