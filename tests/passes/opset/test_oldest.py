"""Opset 6, most of which onnxruntime no longer runs: the upgraded graph against the old definition, in numpy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from onnx import helper

from coregraft.passes.opset import oldest
from coregraft.passes.opset.edit import ADAPTERS
from coregraft.rewriter.errors import UnsupportedError
from coregraft.rewriter.onnx_io.save import to_model

from .conftest import Model, run, upgraded

RNG = np.random.default_rng(11)
X = RNG.standard_normal((2, 3, 4, 5)).astype(np.float32)
P = np.abs(X) + np.float32(0.5)
BOOL = X > 0


def model(opset: int, op_type: str, *operands: Any, consts: dict[int, Any] | None = None, **attrs: Any) -> Model:
    """A model of one op; ``consts`` are its operands at some places that are held as constants."""
    held = {f"c{i}": np.asarray(a) for i, a in (consts or {}).items()}
    feeds = {f"x{i}": a for i, a in enumerate(operands)}
    names = list(feeds)
    for i in sorted(consts or {}):
        names.insert(i, f"c{i}")
    return Model(opset, [helper.make_node(op_type, names, ["y"], **attrs)], feeds, held)


Case = tuple[str, Model, Any]


def cases() -> Iterator[Case]:
    yield from broadcasting()
    scale, bias, mean, var = (RNG.random(3).astype(np.float32) + np.float32(0.5) for _ in range(4))
    channels = [v.reshape(3, 1, 1) for v in (scale, bias, mean, var)]
    normal = (X - channels[2]) / np.sqrt(channels[3] + 1e-5) * channels[0] + channels[1]
    statistics = {1: scale, 2: bias, 3: mean, 4: var}
    yield "BatchNormalization", model(6, "BatchNormalization", X, consts=statistics, is_test=1, spatial=1), normal
    yield "Dropout", model(6, "Dropout", X, is_test=1, ratio=0.3), X
    slope = np.array([0.1, 0.2, 0.3], np.float32)
    leaky = np.where(X > 0, X, X * slope.reshape(3, 1, 1))
    yield "PRelu", model(6, "PRelu", X, consts={1: slope}), leaky
    yield "PRelu, one slope", model(6, "PRelu", X, consts={1: slope[:1]}), np.where(X > 0, X, X * slope[0])
    yield "Upsample", model(6, "Upsample", X, height_scale=2.0, width_scale=3.0), X.repeat(2, 2).repeat(3, 3)
    a, b, c = (RNG.standard_normal(s).astype(np.float32) for s in ((2, 3), (3, 4), (4,)))
    yield "Gemm", model(6, "Gemm", a, b, c, broadcast=1), a @ b + c
    for op_type, gates in (("RNN", 1), ("GRU", 3), ("LSTM", 4)):
        w, r = np.zeros((1, gates * 2, 3), np.float32), np.zeros((1, gates * 2, 2), np.float32)
        x = RNG.standard_normal((4, 1, 3)).astype(np.float32)
        still = np.zeros((4, 1, 1, 2), np.float32)
        yield op_type, model(6, op_type, x, consts={1: w, 2: r}, hidden_size=2, output_sequence=1), still


def broadcasting() -> Iterator[Case]:
    numbers: dict[str, Callable[[Any, Any], Any]] = {
        "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide, "Pow": np.power,
        "Equal": np.equal, "Greater": np.greater, "Less": np.less,
    }  # fmt: skip
    logical: dict[str, Callable[[Any, Any], Any]] = {
        "And": np.logical_and, "Or": np.logical_or, "Xor": np.logical_xor,
    }  # fmt: skip
    for op_type, compute in (numbers | logical).items():
        a = BOOL if op_type in logical else (P * 2).astype(np.int32) if op_type == "Equal" else P
        yield f"{op_type} 6", model(6, op_type, a, a), compute(a, a)
        yield f"{op_type} 6 at the end", model(6, op_type, a, a[0, 0], broadcast=1), compute(a, a[0, 0])
        middle = a[0, :, :, 0]
        want = compute(a, middle[:, :, None])
        yield f"{op_type} 6 at axis 1", model(6, op_type, a, middle, broadcast=1, axis=1), want
        yield f"{op_type} 6 at axis -3", model(6, op_type, a, middle, broadcast=1, axis=-3), want


CASES = {name: (case, want) for name, case, want in cases()}


@pytest.mark.parametrize("name", CASES)
def test_what_the_old_definition_says(name: str) -> None:
    case, want = CASES[name]
    (found,) = run(to_model(upgraded(case.graph())), case.feeds)
    assert found.shape == want.shape
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-5)


def test_every_adapter_has_a_case() -> None:
    old = {key for key, adapter in ADAPTERS.items() if adapter.__module__ == oldest.__name__}
    steps = {(c.nodes[0].op_type, v) for c, _ in CASES.values() for _, v in old if c.opset < v}
    assert old - steps == set()


@pytest.mark.parametrize(("case", "part"), [
    (model(6, "BatchNormalization", X, consts=dict.fromkeys((1, 2, 3, 4), np.ones(3, np.float32))), "training"),
    (model(6, "Dropout", X), "training"),
    (model(6, "Add", X, X[0], broadcast=1, axis=2), "does not fit"),
])  # fmt: skip
def test_what_has_no_later_form_is_refused(case: Model, part: str) -> None:
    with pytest.raises(UnsupportedError, match=part) as caught:
        upgraded(case.graph())
    assert caught.value.code == "opset-upgrade"
