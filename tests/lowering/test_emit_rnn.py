"""LSTM, GRU and RNN against onnxruntime: gates, directions, states, layouts; and what has to be refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.rewriter.errors import UnsupportedError
from tests.lowering.agreement import agree, by_runtime, mil_op
from tests.lowering.fold_harness import Case, case, lowered

_RNG = np.random.default_rng(15)
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
STEPS, BATCH, FEATURES, HIDDEN = 4, 2, 3, 5
KINDS = sorted(GATES)
DIRECTIONS = ["forward", "reverse", "bidirectional"]


def floats(*shape: int, dtype: Any = np.float32) -> Any:
    return (_RNG.standard_normal(shape) * 0.5).astype(dtype)


def recurrent(
    kind: str, *, bias: bool = True, states: bool = True, lengths: Any = None, peephole: bool = False,
    dtype: Any = np.float32, **attrs: Any
) -> Case:  # fmt: skip
    """A recurrent op; initial states are fed, everything else but the input is constant."""
    n, g = (2 if attrs.get("direction") == "bidirectional" else 1), GATES[kind]
    operands: list[Any] = [
        floats(STEPS, BATCH, FEATURES, dtype=dtype),
        floats(n, g * HIDDEN, FEATURES, dtype=dtype),
        floats(n, g * HIDDEN, HIDDEN, dtype=dtype),
        floats(n, 2 * g * HIDDEN, dtype=dtype) if bias else None,
        None if lengths is None else np.array(lengths, np.int32),
    ]
    if states or peephole:
        operands.append(floats(n, BATCH, HIDDEN, dtype=dtype) if states else None)
    if kind == "LSTM" and (states or peephole):
        operands.append(floats(n, BATCH, HIDDEN, dtype=dtype) if states else None)
    if peephole:
        operands.append(floats(n, 3 * HIDDEN, dtype=dtype))
    while operands[-1] is None:
        operands.pop()
    attrs.setdefault("hidden_size", HIDDEN)
    outputs = 3 if kind == "LSTM" else 2
    return case(kind, *operands, constant=(1, 2, 3, 4, 7), outputs=outputs, **attrs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("states", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_recurrent(kind: str, direction: str, states: bool, bias: bool) -> None:
    ops = agree(recurrent(kind, direction=direction, states=states, bias=bias))
    assert ops.count(kind.lower()) == (2 if direction == "bidirectional" and kind != "LSTM" else 1)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_lstm_with_peepholes(direction: str) -> None:
    agree(recurrent("LSTM", direction=direction, peephole=True))
    agree(recurrent("LSTM", direction=direction, peephole=True, states=False))


@pytest.mark.parametrize("kind", KINDS)
def test_activations(kind: str) -> None:
    names = {"LSTM": ["Tanh", "Sigmoid", "Relu"], "GRU": ["Tanh", "Sigmoid"], "RNN": ["Relu"]}[kind]
    agree(recurrent(kind, activations=names))


def test_directions_of_a_gru_may_have_activations_of_their_own() -> None:
    names = ["Sigmoid", "Tanh", "Tanh", "Relu"]
    agree(recurrent("GRU", direction="bidirectional", activations=names))


@pytest.mark.parametrize("kind", KINDS)
def test_a_reverse_direction_is_a_forward_one_on_the_flipped_sequence(kind: str) -> None:
    c = by_runtime(recurrent(kind, direction="reverse"))
    ops = agree(c)
    assert ops.count("reverse") == 2
    assert mil_op(c, kind.lower()).direction.val == "forward"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_batch_first(kind: str, direction: str) -> None:
    # onnxruntime has no layout=1, so the expected results are the others', moved.
    c = by_runtime(recurrent(kind, direction=direction))
    assert c.want is not None

    def moved(a: Any, perm: list[int]) -> Any:
        return None if a is None else a.transpose(perm)

    x, w, r, bias, lengths, *states = c.operands
    operands = [moved(x, [1, 0, 2]), w, r, bias, lengths, *(moved(s, [1, 0, 2]) for s in states)]
    y, *finals = c.want
    want = [moved(y, [2, 0, 1, 3]), *(moved(f, [1, 0, 2]) for f in finals)]
    attrs = {**c.attrs, "layout": 1}
    agree(case(kind, *operands, constant=c.constant, outputs=c.outputs, want=want, **attrs))


@pytest.mark.parametrize("kind", KINDS)
def test_older_targets_compute_halves_as_singles(kind: str) -> None:
    full = by_runtime(recurrent(kind))
    assert full.want is not None
    halves = [None if a is None else a.astype(np.float16) for a in full.operands]
    want = [a.astype(np.float16) for a in full.want]
    c = case(kind, *halves, constant=full.constant, outputs=full.outputs, want=want, **full.attrs)
    assert agree(c, "iOS15").count("cast") > agree(c, "iOS17").count("cast")
    assert agree(by_runtime(recurrent(kind)), "iOS15").count(kind.lower()) == 1


def test_lengths_that_are_all_full_change_nothing() -> None:
    assert agree(recurrent("LSTM", lengths=[STEPS, STEPS])).count("lstm") == 1


REFUSED = [
    ("lengths", recurrent("LSTM", lengths=[STEPS, 2])),
    ("clip", recurrent("LSTM", clip=0.3)),
    ("clip", recurrent("GRU", clip=0.3)),
    ("input and forget gate", recurrent("LSTM", input_forget=1)),
    ("reset gate", recurrent("GRU", linear_before_reset=1)),
    ("HardSigmoid", recurrent("LSTM", activations=["HardSigmoid", "Tanh", "Tanh"])),
    ("Affine", recurrent("RNN", activations=["Affine"], activation_alpha=[2.0], activation_beta=[1.0])),
]


@pytest.mark.parametrize(("message", "c"), REFUSED, ids=str)
def test_what_mil_does_otherwise_is_refused(message: str, c: Case) -> None:
    with pytest.raises(UnsupportedError, match=message) as caught:
        lowered(by_runtime(c))
    assert caught.value.code == "op-unsupported"
    assert caught.value.hint is not None


def test_directions_of_an_lstm_with_different_activations_are_refused() -> None:
    names = ["Sigmoid", "Tanh", "Tanh", "Sigmoid", "Tanh", "Relu"]
    with pytest.raises(UnsupportedError, match="different activations"):
        lowered(by_runtime(recurrent("LSTM", direction="bidirectional", activations=names)))


def test_lengths_and_weights_computed_at_run_time_are_refused() -> None:
    c = by_runtime(recurrent("RNN", lengths=[STEPS, STEPS]))
    for constant, code in (((1, 2, 3), "op-unsupported"), ((1, 3, 4), "const-needed")):
        fed = case(c.type, *c.operands, constant=constant, outputs=c.outputs, want=c.want, **c.attrs)
        with pytest.raises(UnsupportedError) as caught:
            lowered(fed)
        assert caught.value.code == code
