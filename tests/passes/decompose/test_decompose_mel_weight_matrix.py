"""MelWeightMatrix at run time, against onnxruntime's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.decompose_mel_weight_matrix import DecomposeMelWeightMatrix
from coregraft.rewriter.types import Const, DType, TensorType

RULE = DecomposeMelWeightMatrix()
CASES = [
    (8, 16, 8192, 0.0, 4096.0), (40, 512, 16000, 20.0, 7600.0), (80, 400, 16000, 0.0, 8000.0),
    (64, 1024, 22050, 125.0, 7500.0), (23, 256, 8000, 64.0, 3800.0), (5, 31, 8000, 0.0, 3000.0),
]  # fmt: skip


def operands(case: tuple[float, ...], dtype: Any = np.int64) -> list[np.ndarray[Any, Any]]:
    return [np.array(v, np.float32 if isinstance(v, float) else dtype) for v in case]


def declared(harness: Any, given: list[Any], case: Any, dtype: DType = DType.FLOAT) -> Any:
    attrs = {} if dtype is DType.FLOAT else {"output_datatype": int(dtype)}
    g, feeds = harness.graph("MelWeightMatrix", given, **attrs)
    g.nodes["y0"]["type"] = TensorType(dtype, (case[1] // 2 + 1, case[0]))
    return g, feeds


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [np.int64, np.int32])
def test_parameters(harness: Any, case: Any, dtype: Any) -> None:
    g, feeds = declared(harness, operands(case, dtype), case)
    harness.same(RULE, g, feeds)


def test_some_are_constant(harness: Any) -> None:
    given = operands(CASES[1])
    g, feeds = declared(harness, [Const.of(a) if i != 3 else a for i, a in enumerate(given)], CASES[1])
    harness.same(RULE, g, feeds)


def test_other_type(harness: Any) -> None:
    g, feeds = declared(harness, operands(CASES[0]), CASES[0], DType.DOUBLE)
    harness.same(RULE, g, feeds)


@pytest.mark.parametrize("format", ["mlprogram", "neuralnetwork"])
def test_converted(harness: Any, format: str) -> None:
    g, feeds = declared(harness, operands(CASES[0]), CASES[0])
    harness.converts(g, feeds, format)


def test_without_a_declared_size(harness: Any) -> None:
    g, _ = harness.graph("MelWeightMatrix", operands(CASES[0]))
    harness.declines(RULE, g, "declare the shape")
