"""RNN unrolled, against onnxruntime's RNN."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.unroll_rnn import UnrollRnn
from coregraft.rewriter.graph import Floats
from coregraft.rewriter.types import Const

RULE = UnrollRnn()
STEPS, BATCH, INPUT, HIDDEN = 4, 3, 3, 5


def operands(direction: str, lengths: Any = None) -> list[Any]:
    rng = np.random.default_rng(0)
    n = 2 if direction == "bidirectional" else 1
    shapes = [(STEPS, BATCH, INPUT), (n, HIDDEN, INPUT), (n, HIDDEN, HIDDEN), (n, 2 * HIDDEN), (n, BATCH, HIDDEN)]
    x, w, r, b, h = ((rng.standard_normal(s) * 0.5).astype(np.float32) for s in shapes)
    return [x, Const.of(w), Const.of(r), Const.of(b), lengths, h]


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("clip", [None, 0.2])
def test_directions(harness: Any, direction: str, clip: Any) -> None:
    attrs = {"clip": clip} if clip else {}
    g, feeds = harness.graph("RNN", operands(direction), outputs=2, direction=direction, hidden_size=HIDDEN, **attrs)
    harness.same(RULE, g, feeds, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "alpha", "beta"),
    [
        ("Relu", None, None),
        ("LeakyRelu", None, None),
        ("LeakyRelu", 0.3, None),
        ("ThresholdedRelu", 0.2, None),
        ("ScaledTanh", 0.5, 1.5),
        ("HardSigmoid", None, None),
        ("HardSigmoid", 0.3, 0.4),
        ("Elu", 0.7, None),
        ("Affine", 0.6, 0.1),
        ("Softsign", None, None),
        ("Softplus", None, None),
    ],
)
def test_activations(harness: Any, name: str, alpha: Any, beta: Any) -> None:
    attrs: dict[str, Any] = {"activations": (name,)}
    if alpha is not None:
        attrs["activation_alpha"] = Floats([alpha])
    if beta is not None:
        attrs["activation_beta"] = Floats([beta])
    lengths = Const.of(np.array([2, STEPS, 3], np.int32))
    g, feeds = harness.graph("RNN", operands("forward", lengths), outputs=2, hidden_size=HIDDEN, **attrs)
    harness.same(RULE, g, feeds, atol=1e-5)


@pytest.mark.parametrize("name", ["Affine", "ScaledTanh", "ThresholdedRelu"])
def test_refuses_defaults_that_are_not_defined(harness: Any, name: str) -> None:
    g, _ = harness.graph("RNN", operands("forward"), outputs=2, hidden_size=HIDDEN, activations=(name,))
    harness.declines(RULE, g, "without its alpha or beta")
