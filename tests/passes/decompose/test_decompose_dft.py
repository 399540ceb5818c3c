"""DFT as a matrix product, against onnxruntime's and numpy's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.decompose_dft import DecomposeDft
from coregraft.rewriter.types import Const, DType, TensorType

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


@pytest.mark.parametrize("length", [None, 8, 9])
@pytest.mark.parametrize("axis", [0, 1, -2])
def test_a_one_sided_inverse_gives_a_real_signal(harness: Any, length: int | None, axis: int) -> None:
    x = signal(5, 5, 2)
    given = None if length is None else number(length)
    g, feeds = harness.graph("DFT", [x, given, number(axis)], inverse=1, onesided=1)
    outcome = harness.same(RULE, g, feeds, atol=2e-5)
    got = harness.run(outcome.after, feeds)[0]
    want = np.fft.irfft(x[..., 0] + 1j * x[..., 1], n=length or 8, axis=(axis, 1)[axis == -2])
    np.testing.assert_allclose(got[..., 0], want, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "axis", "length", "result", "attrs", "made"),
    [
        ((2, 7, 1), 1, 5, (2, 5, 2), {}, 1),
        ((4, 4, 1), 1, 4, (4, 4, 2), {}, 2),  # either axis
        ((4, 6, 1), -2, 6, (4, 4, 2), {"onesided": 1}, 2),  # 6 or 7
        ((4, 4, 1), 0, 7, (4, 4, 2), {"onesided": 1}, 4),  # either of both
        ((3, 4, 2), 1, 7, (3, 7, 1), {"onesided": 1, "inverse": 1}, 1),
    ],
)
def test_operands_at_run_time(
    harness: Any,
    shape: tuple[int, ...],
    axis: int,
    length: int,
    result: tuple[int, ...],
    attrs: dict[str, int],
    made: int,
) -> None:
    g, feeds = harness.graph("DFT", [signal(*shape), np.array(length), np.array(axis)], **attrs)
    g.nodes["y0"]["type"] = TensorType(DType.FLOAT, result)
    assert harness.same(RULE, g, feeds, atol=2e-5).types.count("MatMul") == made


def test_declines(harness: Any) -> None:
    g, _ = harness.graph("DFT", [signal(1, 9, 2), number(20), number(1)], inverse=1, onesided=1)
    harness.declines(RULE, g, "its spectrum of 9 bins is not that of length 20")
    g, _ = harness.graph("DFT", [signal(1, 9, 1), None, number(1)], inverse=1, onesided=1)
    harness.declines(RULE, g, "from real to complex")
    g, _ = harness.graph("DFT", [signal(1, 9, 1), None, number(1)])
    harness.declines(DecomposeDft(max_length=8), g, "length 9 is more than max-length=8")
    g, _ = harness.graph("DFT", [signal(1, 9, 1), np.array(4, np.int64), number(1)])
    harness.declines(RULE, g, "shape of its result is not known")
    g.nodes["y0"]["type"] = TensorType(DType.FLOAT, (2, 4, 2))
    harness.declines(RULE, g, "no parameter gives the declared shape")
