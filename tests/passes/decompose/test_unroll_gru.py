"""GRU unrolled, against onnxruntime's GRU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coregraft.passes.decompose.unroll_gru import UnrollGru
from coregraft.rewriter.target import Target
from coregraft.rewriter.types import Const

RULE = UnrollGru()
STEPS, BATCH, INPUT, HIDDEN = 4, 3, 3, 5


def operands(
    *,
    direction: str = "forward",
    lengths: Any = None,
    initial: bool = False,
    bias: bool = True,
    layout: int = 0,
    seed: int = 0,
) -> list[Any]:
    rng = np.random.default_rng(seed)
    n = 2 if direction == "bidirectional" else 1

    def normal(*shape: int) -> np.ndarray[Any, Any]:
        return (rng.standard_normal(shape) * 0.5).astype(np.float32)

    x, h = normal(STEPS, BATCH, INPUT), normal(n, BATCH, HIDDEN)
    if layout:
        x, h = x.swapaxes(0, 1).copy(), h.swapaxes(0, 1).copy()
    w, r, b = normal(n, 3 * HIDDEN, INPUT), normal(n, 3 * HIDDEN, HIDDEN), normal(n, 6 * HIDDEN)
    return [x, Const.of(w), Const.of(r), Const.of(b) if bias else None, lengths, h if initial else None]


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("before", [0, 1])
def test_directions(harness: Any, direction: str, before: int) -> None:
    g, feeds = harness.graph(
        "GRU",
        operands(direction=direction),
        outputs=2,
        hidden_size=HIDDEN,
        direction=direction,
        linear_before_reset=before,
    )
    harness.same(RULE, g, feeds, atol=1e-5)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    direction=st.sampled_from(["forward", "reverse", "bidirectional"]),
    lengths=st.sampled_from([None, "constant", "fed", "full"]),
    initial=st.booleans(),
    bias=st.booleans(),
    before=st.integers(0, 1),
    clip=st.sampled_from([None, 0.3]),
    activations=st.sampled_from(
        [None, ("HardSigmoid", "Softsign"), ("Sigmoid", "LeakyRelu"), ("Elu", "Relu"), ("Sigmoid", "Affine")]
    ),
    wanted=st.sampled_from([(True, True), (True, False), (False, True)]),
)
def test_every_option(
    harness: Any,
    direction: str,
    lengths: Any,
    initial: bool,
    bias: bool,
    before: int,
    clip: Any,
    activations: Any,
    wanted: Any,
) -> None:
    ends = np.array([STEPS] * BATCH if lengths == "full" else [STEPS, 2, 3], np.int32)
    given_lengths = None if lengths is None else ends if lengths == "fed" else Const.of(ends)
    attrs: dict[str, Any] = {"clip": clip} if clip else {}
    if activations:
        n = 2 if direction == "bidirectional" else 1
        attrs["activations"] = activations * n
        if activations[1] == "Affine":
            attrs |= {"activation_alpha": (0.4,) * n, "activation_beta": (0.1,) * n}
    g, feeds = harness.graph(
        "GRU",
        operands(direction=direction, lengths=given_lengths, initial=initial, bias=bias),
        outputs=wanted,
        hidden_size=HIDDEN,
        direction=direction,
        linear_before_reset=before,
        **attrs,
    )
    harness.same(RULE, g, feeds, atol=1e-5)


def test_batch_first_is_the_same_network_transposed(harness: Any) -> None:
    """onnxruntime's CPU kernels refuse layout=1: compared with layout=0 on transposed data."""
    plain, feeds = harness.graph("GRU", operands(initial=True), outputs=2, hidden_size=HIDDEN, linear_before_reset=1)
    first, swapped = harness.graph(
        "GRU", operands(initial=True, layout=1), outputs=2, hidden_size=HIDDEN, linear_before_reset=1, layout=1
    )
    want = harness.run(plain, feeds)
    got = harness.run(harness.rewrite(RULE, first).after, swapped)
    np.testing.assert_allclose(got[0], want[0].transpose(2, 0, 1, 3), atol=1e-5)
    np.testing.assert_allclose(got[1], want[1].transpose(1, 0, 2), atol=1e-5)


def test_a_single_step(harness: Any) -> None:
    given = operands(initial=True)
    given[0] = given[0][:1]
    g, feeds = harness.graph("GRU", given, outputs=2, hidden_size=HIDDEN, linear_before_reset=1)
    assert "Split" in harness.same(RULE, g, feeds, atol=1e-5).types


def test_an_unknown_batch_stays_unknown(harness: Any) -> None:
    g, feeds = harness.graph(
        "GRU", operands(), outputs=2, dims={0: [STEPS, "batch", INPUT]}, hidden_size=HIDDEN, linear_before_reset=1
    )
    harness.same(RULE, g, feeds, atol=1e-5)


def test_stays_where_the_target_has_it(harness: Any) -> None:
    has = Target("iOS17", "mlprogram", ops={("", "GRU"): frozenset({"hidden_size", "linear_before_reset"})})
    g, _ = harness.graph("GRU", operands(), outputs=2, hidden_size=HIDDEN)
    harness.declines(RULE, g, "has a lowering", target=has)
    g, feeds = harness.graph("GRU", operands(), outputs=2, hidden_size=HIDDEN, linear_before_reset=1)
    harness.same(RULE, g, feeds, atol=1e-5, target=has)
    g, feeds = harness.graph(
        "GRU", operands(lengths=Const.of(np.array([1, 2, 3], np.int32))), outputs=2, hidden_size=HIDDEN
    )
    harness.same(RULE, g, feeds, atol=1e-5, target=has)
    harness.declines(RULE, g, "has a lowering", target=Target.any())


def test_declines(harness: Any) -> None:
    g, _ = harness.graph("GRU", operands(), outputs=2, hidden_size=HIDDEN)
    harness.declines(UnrollGru(max_steps=3), g, "4 steps are more than max-steps=3")
    g, _ = harness.graph("GRU", operands(), outputs=2, dims={0: ["t", BATCH, INPUT]}, hidden_size=HIDDEN)
    harness.declines(RULE, g, "number of steps is not known")
    fed = operands()
    fed[1] = fed[1].numpy()
    g, _ = harness.graph("GRU", fed, outputs=2, hidden_size=HIDDEN, dims={1: [1, "n", INPUT]})
    harness.declines(RULE, g, "shapes of the weights")
    g, _ = harness.graph("GRU", operands(), outputs=2, hidden_size=HIDDEN, activations=("Sigmoid", "ScaledTanh"))
    harness.declines(RULE, g, "different things")


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("late", [0, 1])
@pytest.mark.parametrize("computed", [(1,), (2,), (3,), (1, 2, 3)])
def test_weights_at_run_time(harness: Any, direction: str, late: int, computed: tuple[int, ...]) -> None:
    fed = operands(direction=direction)
    for i in computed:
        fed[i] = fed[i].numpy()
    g, feeds = harness.graph("GRU", fed, outputs=2, hidden_size=HIDDEN, direction=direction, linear_before_reset=late)
    harness.same(RULE, g, feeds, atol=1e-5)
