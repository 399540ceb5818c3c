"""LSTM unrolled, against onnxruntime's LSTM."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coregraft.passes.decompose.unroll_lstm import UnrollLstm
from coregraft.rewriter.graph import Floats
from coregraft.rewriter.target import Target
from coregraft.rewriter.types import Const

RULE = UnrollLstm()
STEPS, BATCH, INPUT, HIDDEN = 4, 3, 3, 5


def operands(
    *, direction: str = "forward", lengths: Any = None, initial: bool = True, peepholes: bool = False
) -> list[Any]:
    rng = np.random.default_rng(0)
    n = 2 if direction == "bidirectional" else 1

    def normal(*shape: int) -> np.ndarray[Any, Any]:
        return (rng.standard_normal(shape) * 0.5).astype(np.float32)

    x, h, c = normal(STEPS, BATCH, INPUT), normal(n, BATCH, HIDDEN), normal(n, BATCH, HIDDEN)
    w, r, b, p = (
        normal(n, 4 * HIDDEN, INPUT),
        normal(n, 4 * HIDDEN, HIDDEN),
        normal(n, 8 * HIDDEN),
        normal(n, 3 * HIDDEN),
    )
    states = [h, c] if initial else [None, None]
    return [x, Const.of(w), Const.of(r), Const.of(b), lengths, *states, Const.of(p) if peepholes else None]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    direction=st.sampled_from(["forward", "reverse", "bidirectional"]),
    lengths=st.sampled_from([None, "constant", "fed"]),
    initial=st.booleans(),
    peepholes=st.booleans(),
    clip=st.sampled_from([None, 0.3]),
    couple=st.integers(0, 1),
    activations=st.sampled_from([None, ("Sigmoid", "ScaledTanh", "Elu"), ("HardSigmoid", "Softsign", "Tanh")]),
    wanted=st.sampled_from([(True, True, True), (True, False, False), (False, False, True)]),
)
def test_every_option(
    harness: Any,
    direction: str,
    lengths: Any,
    initial: bool,
    peepholes: bool,
    clip: Any,
    couple: int,
    activations: Any,
    wanted: Any,
) -> None:
    if not (clip or couple or activations or lengths):
        couple = 1  # otherwise Core ML has it
    ends = np.array([STEPS, 2, 3], np.int32)
    given_lengths = None if lengths is None else ends if lengths == "fed" else Const.of(ends)
    attrs: dict[str, Any] = {"clip": clip} if clip else {}
    if activations:
        n = 2 if direction == "bidirectional" else 1
        attrs["activations"] = activations * n
        if "ScaledTanh" in activations:
            attrs |= {"activation_alpha": Floats([0.7, 0.9] * n), "activation_beta": Floats([0.6] * n)}
    g, feeds = harness.graph(
        "LSTM",
        operands(direction=direction, lengths=given_lengths, initial=initial, peepholes=peepholes),
        outputs=wanted,
        hidden_size=HIDDEN,
        direction=direction,
        input_forget=couple,
        **attrs,
    )
    harness.same(RULE, g, feeds, atol=1e-5)


def test_stays_where_the_target_has_it(harness: Any) -> None:
    has = Target("iOS17", "mlprogram", ops={("", "LSTM"): frozenset({"hidden_size", "clip", "direction"})})
    g, _ = harness.graph(
        "LSTM",
        operands(peepholes=True, direction="bidirectional"),
        outputs=3,
        hidden_size=HIDDEN,
        direction="bidirectional",
    )
    harness.declines(RULE, g, "has a lowering", target=has)
    g, feeds = harness.graph("LSTM", operands(), outputs=3, hidden_size=HIDDEN, clip=0.5)
    harness.same(RULE, g, feeds, atol=1e-5, target=has)


@pytest.mark.parametrize("computed", [(1,), (2, 3), (7,), (1, 2, 3, 7)])
def test_weights_at_run_time(harness: Any, computed: tuple[int, ...]) -> None:
    fed = operands(peepholes=True, direction="bidirectional")
    for i in computed:
        fed[i] = fed[i].numpy()
    g, feeds = harness.graph("LSTM", fed, outputs=3, hidden_size=HIDDEN, direction="bidirectional")
    harness.same(RULE, g, feeds, atol=1e-5)
