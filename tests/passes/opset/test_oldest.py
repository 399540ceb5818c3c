"""Opsets 1 to 6, which onnxruntime no longer runs: the upgraded graph against what the old definition says, in numpy."""

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
    yield from in_place()
    yield from broadcasting()
    yield from shapes()
    scale, bias, mean, var = (RNG.random(3).astype(np.float32) + np.float32(0.5) for _ in range(4))
    channels = [v.reshape(3, 1, 1) for v in (scale, bias, mean, var)]
    normal = (X - channels[2]) / np.sqrt(channels[3] + 1e-5) * channels[0] + channels[1]
    statistics = {1: scale, 2: bias, 3: mean, 4: var}
    hints = {"consumed_inputs": [0, 0, 0, 1, 1]}
    yield "BatchNormalization 1", model(1, "BatchNormalization", X, consts=statistics, is_test=1, **hints), normal
    yield "BatchNormalization 6", model(6, "BatchNormalization", X, consts=statistics, is_test=1, spatial=1), normal
    yield "Dropout 1", model(1, "Dropout", X, is_test=1, consumed_inputs=[0]), X
    yield "Dropout 6", model(6, "Dropout", X, is_test=1, ratio=0.3), X
    yield "Cast 1", model(1, "Cast", X, to="INT32"), X.astype(np.int32)
    selu = np.where(X > 0, X, 1.6732 * (np.exp(X) - 1)) * 1.0507
    yield "Selu 1", model(1, "Selu", X), selu
    yield "LpPool 1", model(1, "LpPool", X, kernel_shape=[4, 5], p=1.0), np.abs(X).sum((2, 3), keepdims=True)
    yield "AveragePool 1", model(1, "AveragePool", X, kernel_shape=[4, 5]), X.mean((2, 3), keepdims=True)
    slope = np.array([0.1, 0.2, 0.3], np.float32)
    leaky = np.where(X > 0, X, X * slope.reshape(3, 1, 1))
    yield "PRelu 6", model(6, "PRelu", X, consts={1: slope}), leaky
    yield "PRelu 1, one slope", model(1, "PRelu", X, consts={1: slope[:1]}), np.where(X > 0, X, X * slope[0])
    a, b, c = (RNG.standard_normal(s).astype(np.float32) for s in ((2, 3), (3, 4), (4,)))
    yield "Gemm 6", model(6, "Gemm", a, b, c, broadcast=1), a @ b + c
    for op_type, gates in (("RNN", 1), ("GRU", 3), ("LSTM", 4)):
        w, r = np.zeros((1, gates * 2, 3), np.float32), np.zeros((1, gates * 2, 2), np.float32)
        x = RNG.standard_normal((4, 1, 3)).astype(np.float32)
        still = np.zeros((4, 1, 1, 2), np.float32)
        yield f"{op_type} 1", model(1, op_type, x, consts={1: w, 2: r}, hidden_size=2, output_sequence=1), still


def in_place() -> Iterator[Case]:
    hint = {"consumed_inputs": [0]}
    for op_type, want in (
        ("Abs", np.abs(P)), ("Ceil", np.ceil(P)), ("Exp", np.exp(P)), ("Floor", np.floor(P)), ("Log", np.log(P)),
        ("Neg", -P), ("Reciprocal", 1 / P), ("Relu", P), ("Sigmoid", 1 / (1 + np.exp(-P))), ("Sqrt", np.sqrt(P)),
        ("Tanh", np.tanh(P)), ("Elu", P), ("LeakyRelu", P), ("HardSigmoid", np.clip(0.2 * P + 0.5, 0, 1)),
    ):  # fmt: skip
        yield f"{op_type} 1", model(1, op_type, P, **hint), want
    yield "Clip 1", model(1, "Clip", X, min=-0.5, max=0.25, **hint), np.clip(X, -0.5, 0.25)
    for op_type, want in (("Max", np.maximum(X, P)), ("Min", np.minimum(X, P)), ("Sum", X + P), ("Mean", (X + P) / 2)):
        yield f"{op_type} 1", model(1, op_type, X, P, consumed_inputs=[0, 0]), want
    one, zero = np.ones(3, np.float32), np.zeros(3, np.float32)
    centred = X - X.mean((2, 3), keepdims=True)
    normal = centred / np.sqrt((centred**2).mean((2, 3), keepdims=True) + 1e-5)
    yield "InstanceNormalization 1", model(1, "InstanceNormalization", X, consts={1: one, 2: zero}, **hint), normal


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
    for op_type in ("Add", "Sub", "Mul", "Div"):
        yield f"{op_type} 1", model(1, op_type, P, P, consumed_inputs=[0, 0]), numbers[op_type](P, P)


def shapes() -> Iterator[Case]:
    yield "Concat 1", model(1, "Concat", X, X), np.concatenate([X, X], 1)
    yield "Reshape 1", model(1, "Reshape", X, shape=[0, -1], consumed_inputs=[0]), X.reshape(2, -1)
    padded = np.pad(X, [(0, 0), (0, 0), (1, 0), (0, 2)], constant_values=1.5)
    yield "Pad 1", model(1, "Pad", X, paddings=[0, 0, 1, 0, 0, 0, 0, 2], value=1.5), padded
    yield "Split 1", model(1, "Split", X, consts={1: np.array([5], np.float32)}, axis=3), X
    tiles = {1: np.array([2], np.float32), 2: np.array([3], np.float32)}
    yield "Tile 1", model(1, "Tile", X, consts=tiles), np.tile(X, (1, 1, 1, 2))
    yield "Upsample 1", model(1, "Upsample", X, height_scale=2.0, width_scale=3.0), X.repeat(2, 2).repeat(3, 3)


CASES = {name: (case, want) for name, case, want in cases()}


@pytest.mark.parametrize("name", CASES)
def test_what_the_old_definition_says(name: str) -> None:
    case, want = CASES[name]
    (found,) = run(to_model(upgraded(case.graph())), case.feeds)
    assert found.shape == want.shape
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-5)


def test_global_lp_pool() -> None:
    """onnxruntime has no kernel for the newest version."""
    (op,) = [op for _, op in upgraded(model(1, "GlobalLpPool", X, p=3.0).graph()).ops()]
    assert repr(dict(op.attrs)) == "{'p': 3}"


def test_every_adapter_has_a_case() -> None:
    old = {key for key, adapter in ADAPTERS.items() if adapter.__module__ == oldest.__name__}
    steps = {(c.nodes[0].op_type, v) for c, _ in CASES.values() for _, v in old if c.opset < v}
    assert old - steps == {("GlobalLpPool", 2)}


@pytest.mark.parametrize(("case", "part"), [
    (model(6, "BatchNormalization", X, consts=dict.fromkeys((1, 2, 3, 4), np.ones(3, np.float32))), "training"),
    (model(6, "Dropout", X), "training"),
    (model(1, "Cast", X, to="NUMBER"), "no element type"),
    (model(1, "GlobalLpPool", X, p=1.5), "whole number"),
    (model(6, "Add", X, X[0], broadcast=1, axis=2), "does not fit"),
    (model(1, "Tile", X, np.array([2], np.float32), consts={2: np.array([3], np.float32)}), "run time"),
])  # fmt: skip
def test_what_has_no_later_form_is_refused(case: Model, part: str) -> None:
    with pytest.raises(UnsupportedError, match=part) as caught:
        upgraded(case.graph())
    assert caught.value.code == "opset-upgrade"
