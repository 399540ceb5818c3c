"""MatMulInteger in fp32: the same integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.decompose_matmul_integer import DecomposeMatmulInteger
from coregraft.rewriter.target import Target
from coregraft.rewriter.types import Const

RULE = DecomposeMatmulInteger()


def random(dtype: Any, *shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    info = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(info.min, info.max, shape, dtype, endpoint=True)


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("weights", [np.uint8, np.int8])
@pytest.mark.parametrize("zeros", ["none", "scalar", "column"])
def test_types_and_zero_points(harness: Any, constant: bool, weights: Any, zeros: str) -> None:
    a, b = random(np.uint8, 2, 3, 8), random(weights, 8, 5, seed=1)
    a_zero = None if zeros == "none" else np.array(7, np.uint8)
    b_zero = {"none": None, "scalar": np.array(5, weights), "column": random(weights, 5, seed=3)}[zeros]
    wrap: Any = Const.of if constant else np.asarray
    operands = [a, wrap(b), a_zero, None if b_zero is None else wrap(b_zero)]
    g, feeds = harness.graph("MatMulInteger", operands)
    harness.same(RULE, g, feeds)


def test_constant_weights_with_a_zero_point_computed_at_run_time(harness: Any) -> None:
    """Each term is then at most 255 * 255, whatever the weights are: 300 of them no longer fit in one part."""
    a, b = np.full((2, 300), 255, np.uint8), np.full((300, 3), 3, np.uint8)
    g, feeds = harness.graph("MatMulInteger", [a, Const.of(b), None, np.array(200, np.uint8)])
    assert harness.same(RULE, g, feeds).types.count("MatMul") == 2


def test_a_signed_operand_with_a_zero_point_computed_at_run_time(harness: Any) -> None:
    """It may lie 255 from its zero point: two parts, where 127 times 127 would fit in one. Computed in numpy."""
    a, b, zero = np.full((2, 600), 127, np.int8), np.full((600, 3), 127, np.int8), np.array(-128, np.int8)
    g, feeds = harness.graph("MatMulInteger", [a, Const.of(b), zero])
    outcome = harness.rewrite(RULE, g)
    assert outcome.types.count("MatMul") == 2
    assert (harness.run(outcome.after, feeds)[0] == 600 * 255 * 127).all()


def test_a_zero_point_by_row_agrees_with_the_definition(harness: Any) -> None:
    """onnxruntime has none: computed in numpy."""
    a, b, zero = random(np.uint8, 3, 8), random(np.int8, 8, 5), random(np.uint8, 3, seed=2)
    g, feeds = harness.graph("MatMulInteger", [a, Const.of(b), zero])
    got = harness.run(harness.rewrite(RULE, g).after, feeds)[0]
    np.testing.assert_array_equal(got, (a.astype(np.int32) - zero[:, None]) @ b.astype(np.int32))


@pytest.mark.parametrize(("inner", "parts"), [(400, 1), (800, 2), (20000, 4)])
@pytest.mark.parametrize("constant", [True, False])
def test_large_accumulators_take_several_parts(harness: Any, inner: int, parts: int, constant: bool) -> None:
    """The bound is 255·128 a term for each of the sums."""
    a = np.full((2, inner), 255, np.uint8)
    b = np.full((inner, 3), 127, np.int8)
    b[::7] = -128
    g, feeds = harness.graph("MatMulInteger", [a, Const.of(b) if constant else b])
    outcome = harness.same(RULE, g, feeds)
    assert outcome.types.count("MatMul") == parts
    assert harness.run(g, feeds)[0].max() > 1 << 23


def test_the_zero_point_of_the_operand_bounds_the_sums(harness: Any) -> None:
    a, b = random(np.uint8, 2, 1000), np.full((1000, 3), 127, np.int8)
    b[1::2] = -128
    for zero, parts in ((128, 1), (0, 2)):
        g, feeds = harness.graph("MatMulInteger", [a, Const.of(b), Const.of(np.array(zero, np.uint8))])
        assert harness.same(RULE, g, feeds).types.count("MatMul") == parts


def test_declines(harness: Any) -> None:
    g, _ = harness.graph("MatMulInteger", [random(np.uint8, 2, 3), Const.of(np.full((3, 4), 1, np.int8))])
    harness.declines(RULE, g, "has a lowering", target=Target.any())
    g, _ = harness.graph("MatMulInteger", [random(np.uint8, 1, 30000), random(np.uint8, 30000, 1)])
    harness.declines(RULE, g, "even in parts of two bits")
    long = Const.of(np.full((70000, 1), -128, np.int8))
    g, _ = harness.graph("MatMulInteger", [random(np.uint8, 1, 70000), long])
    harness.declines(RULE, g, "may leave int32")
