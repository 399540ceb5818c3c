"""Recurrent ops of lifted packages against their documented equations, step by step in numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from coregraft.rewriter.types import Array
from tests.lowering.lift.one_op import agree, mb, refusal

SEQUENCE, BATCH, FEATURES, HIDDEN = 4, 2, 3, 5
ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "tanh": np.tanh, "relu": lambda x: np.maximum(x, 0),
    "linear": lambda x: x, "hard_sigmoid": lambda x: np.clip(0.2 * x + 0.5, 0, 1), "scaled_tanh": np.tanh,
    "sigmoid_hard": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
}  # fmt: skip


def _draw(*shape: int, seed: int = 0) -> Array:
    return (np.random.default_rng([seed, *shape]).standard_normal(shape) / 2).astype(np.float32)


def _lstm_pass(x: Array, h: Array, c: Array, v: dict[str, Any], suffix: str = "") -> tuple[Array, Array, Array]:
    gate, cell, out = (ACTIVATIONS[v.get(k, d)] for k, d in (
        ("recurrent_activation", "sigmoid"), ("cell_activation", "tanh"), ("activation", "tanh")))  # fmt: skip
    pi, pf, po = np.split(v.get(f"peephole{suffix}", np.zeros(3 * HIDDEN)), 3)
    limit = v.get("clip", np.inf)
    steps = []
    for step in x:
        total = step @ v[f"weight_ih{suffix}"].T + h @ v[f"weight_hh{suffix}"].T + v.get(f"bias{suffix}", 0)
        zi, zf, zo, zz = np.split(total, 4, axis=1)
        c = np.clip(gate(zf + pf * c) * c + gate(zi + pi * c) * cell(zz), -limit, limit)
        h = gate(zo + po * c) * out(c)
        steps.append(h)
    return np.stack(steps), h, c


def _lstm(v: dict[str, Any], x: Array, h: Array, c: Array) -> list[Array]:
    if v["direction"] != "bidirectional":
        y, h, c = _lstm_pass(x[::-1] if v["direction"] == "reverse" else x, h, c, v)
        return [y if v["output_sequence"] else h[None], h, c]
    y1, h1, c1 = _lstm_pass(x, h[:, :HIDDEN], c[:, :HIDDEN], v)
    y2, h2, c2 = _lstm_pass(x[::-1], h[:, HIDDEN:], c[:, HIDDEN:], v, "_back")
    h, c = np.concatenate([h1, h2], 1), np.concatenate([c1, c2], 1)
    return [np.concatenate([y1, y2[::-1]], 2) if v["output_sequence"] else h[None], h, c]


def _lstm_parameters(direction: str, *, bias: bool, peephole: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for i, suffix in enumerate(("", "_back") if direction == "bidirectional" else ("",)):
        found[f"weight_ih{suffix}"] = _draw(4 * HIDDEN, FEATURES, seed=i)
        found[f"weight_hh{suffix}"] = _draw(4 * HIDDEN, HIDDEN, seed=i)
        if bias:
            found[f"bias{suffix}"] = _draw(4 * HIDDEN, seed=i)
        if peephole:
            found[f"peephole{suffix}"] = _draw(3 * HIDDEN, seed=i)
    return found


def _check_lstm(direction: str, sequence: bool, *, bias: bool = True, peephole: bool = False, doubts: int = 0,
                target: str = "iOS15", **options: Any) -> None:  # fmt: skip
    v = {**_lstm_parameters(direction, bias=bias, peephole=peephole), "direction": direction,
         "output_sequence": sequence, **options}  # fmt: skip
    width = HIDDEN * (2 if direction == "bidirectional" else 1)
    feeds = {"x": _draw(SEQUENCE, BATCH, FEATURES), "h": _draw(BATCH, width, seed=1), "c": _draw(BATCH, width, seed=2)}
    want = _lstm(v, *feeds.values())
    agree(lambda x, h, c: mb.lstm(x=x, initial_h=h, initial_c=c, **v), feeds, target, want=want, doubts=doubts)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("sequence", [True, False])
@pytest.mark.parametrize("bias, peephole", [(True, False), (False, False), (True, True)])
def test_lstm(direction: str, sequence: bool, bias: bool, peephole: bool) -> None:
    doubts = int(direction == "reverse" and sequence)
    _check_lstm(direction, sequence, bias=bias, peephole=peephole, doubts=doubts)


@pytest.mark.parametrize("name", ["relu", "linear", "hard_sigmoid", "scaled_tanh", "tanh"])
@pytest.mark.parametrize("key", ["recurrent_activation", "cell_activation", "activation"])
def test_lstm_activations(name: str, key: str) -> None:
    chosen: dict[str, Any] = {key: name}
    _check_lstm("bidirectional", True, doubts=int(name == "scaled_tanh"), **chosen)


def test_lstm_with_several_activations_that_have_parameters() -> None:
    names: dict[str, Any] = {"recurrent_activation": "hard_sigmoid", "cell_activation": "linear"}
    _check_lstm("bidirectional", True, activation="hard_sigmoid", **names)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("sequence", [True, False])
def test_lstm_that_clips(direction: str, sequence: bool) -> None:
    doubts = 1 + int(direction == "reverse" and sequence)
    _check_lstm(direction, sequence, peephole=True, doubts=doubts, clip=np.float32(0.1), activation="hard_sigmoid")


@pytest.mark.parametrize("name", ["relu", "linear", "scaled_tanh"])
def test_lstm_that_clips_with_other_activations(name: str) -> None:
    _check_lstm("forward", True, doubts=1 + int(name == "scaled_tanh"), clip=np.float32(0.1), cell_activation=name)


def _gru(v: dict[str, Any], x: Array, h: Array) -> list[Array]:
    gate, new = ACTIVATIONS[v.get("recurrent_activation", "sigmoid")], ACTIVATIONS[v.get("activation", "tanh")]
    wr, wo, wz = np.split(v["weight_ih"], 3)
    rr, ro, rz = np.split(v["weight_hh"], 3)
    br, bo, bz = np.split(v.get("bias", np.zeros(3 * HIDDEN)), 3)
    ir, io, iz = np.split(v.get("input_bias", np.zeros(3 * HIDDEN)), 3)
    steps = []
    for step in x[::-1] if v["direction"] == "reverse" else x:
        reset = gate(step @ wr.T + h @ rr.T + br + ir)
        update = gate(step @ wz.T + h @ rz.T + bz + iz)
        inner = reset * (h @ ro.T + bo) if v.get("reset_after") else (reset * h) @ ro.T + bo
        h = (1 - update) * new(step @ wo.T + io + inner) + update * h
        steps.append(h)
    return [np.stack(steps) if v["output_sequence"] else h[None], h]


def _check_gru(direction: str, sequence: bool, *, doubts: int = 0, target: str = "iOS15", **options: Any) -> None:
    v = {"weight_ih": _draw(3 * HIDDEN, FEATURES), "weight_hh": _draw(3 * HIDDEN, HIDDEN), "direction": direction,
         "output_sequence": sequence, **options}  # fmt: skip
    feeds = {"x": _draw(SEQUENCE, BATCH, FEATURES), "h": _draw(BATCH, HIDDEN, seed=1)}
    want = _gru(v, *feeds.values())
    agree(lambda x, h: mb.gru(x=x, initial_h=h, **v), feeds, target, want=want, doubts=doubts)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("sequence", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_gru(direction: str, sequence: bool, bias: bool) -> None:
    options: dict[str, Any] = {"bias": _draw(3 * HIDDEN)} if bias else {}
    _check_gru(direction, sequence, doubts=int(direction == "reverse" and sequence), **options)


@pytest.mark.parametrize("names", [("sigmoid", "relu"), ("sigmoid_hard", "linear"), ("tanh", "sigmoid")])
def test_gru_activations(names: tuple[str, str]) -> None:
    _check_gru("forward", True, recurrent_activation=names[0], activation=names[1])


@pytest.mark.parametrize("after, doubts", [(True, 1), (False, 0)])
def test_gru_of_ios18(after: bool, doubts: int) -> None:
    biases: dict[str, Any] = {"bias": _draw(3 * HIDDEN, seed=3), "input_bias": _draw(3 * HIDDEN, seed=4)}
    _check_gru("forward", True, doubts=doubts, target="iOS18", reset_after=after, **biases)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("sequence", [True, False])
@pytest.mark.parametrize("name", ["tanh", "relu", "sigmoid_hard", "linear", "scaled_tanh"])
def test_rnn(direction: str, sequence: bool, name: str) -> None:
    v = {"weight_ih": _draw(HIDDEN, FEATURES), "weight_hh": _draw(HIDDEN, HIDDEN), "bias": _draw(HIDDEN)}
    feeds = {"x": _draw(SEQUENCE, BATCH, FEATURES), "h": _draw(BATCH, HIDDEN, seed=1)}
    h, steps = feeds["h"], []
    for step in feeds["x"][::-1] if direction == "reverse" else feeds["x"]:
        h = ACTIVATIONS[name](step @ v["weight_ih"].T + h @ v["weight_hh"].T + v["bias"])
        steps.append(h)
    want = [np.stack(steps) if sequence else h[None], h]

    def build(x: Any, h: Any) -> Any:
        return mb.rnn(x=x, initial_h=h, **v, direction=direction, output_sequence=sequence, activation=name)

    doubts = int(direction == "reverse" and sequence) + int(name == "scaled_tanh")
    agree(build, feeds, want=want, doubts=doubts)


def test_an_unknown_activation_is_refused() -> None:
    v = {"weight_ih": _draw(3 * HIDDEN, FEATURES), "weight_hh": _draw(3 * HIDDEN, HIDDEN), "activation": "softplus"}
    feeds = {"x": _draw(SEQUENCE, BATCH, FEATURES), "h": _draw(BATCH, HIDDEN)}
    assert "softplus" in refusal(lambda x, h: mb.gru(x=x, initial_h=h, **v), feeds).message
