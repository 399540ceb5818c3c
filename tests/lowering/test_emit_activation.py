"""Activations against ONNX's reference implementation, at the ends of their range too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.rewriter.errors import UnsupportedError
from tests.lowering.fold_harness import Case, assert_right, case, find_op, folded, mil_ops, reference

_RNG = np.random.default_rng(5)


def _floats(*shape: int, dtype: Any = np.float32) -> Any:
    return _RNG.uniform(-4, 4, shape).astype(dtype)


_EDGES = np.array([-80, -20, -3, -1, -0.5, 0, 0.5, 1, 3, 20, 80], np.float32)
_X4 = _floats(2, 3, 4, 5)

_PLAIN = (
    "Relu", "LeakyRelu", "Elu", "Selu", "Celu", "Sigmoid", "HardSigmoid", "HardSwish", "Softplus", "Softsign", "Mish",
    "Swish", "ThresholdedRelu", "Shrink",
)  # fmt: skip

POINTWISE = [
    *[case(op, x) for op in _PLAIN for x in (_floats(2, 3), _EDGES, _floats(4, dtype=np.float16))],
    case("LeakyRelu", _EDGES, alpha=0.3), case("Elu", _EDGES, alpha=2.0), case("Selu", _EDGES, alpha=2.0, gamma=3.0),
    *[case("Celu", _EDGES, alpha=a) for a in (2.0, 0.05)],
    case("HardSigmoid", _EDGES, alpha=0.5, beta=0.6), case("Swish", _EDGES, alpha=1.7),
    case("ThresholdedRelu", _EDGES, alpha=0.5), case("ThresholdedRelu", np.array([1, 2, 3], np.float32), alpha=2.0),
    case("Shrink", _EDGES, lambd=1.0, bias=0.5), case("Shrink", np.array([-3, -1, 0, 2, 5]), lambd=1.5, bias=1.0),
    case("Relu", np.array([-3, 0, 5], np.int32)), case("Relu", np.array([-3, 0, 5], np.int8)),
    *[case("Gelu", _floats(2, 3), approximate=a) for a in ("none", "tanh")],
]  # fmt: skip

SLOPES = [
    *[case("PRelu", _X4, _floats(*shape), constant=k)
      for shape in ((3, 1, 1), (1, 3, 1, 1), (1,), (5,), (4, 1), (2, 3, 4, 5)) for k in ((), (1,))],
    *[case("PRelu", _floats(*shape), _floats(3, *(1,) * (len(shape) - 2)), constant=(1,))
      for shape in ((2, 3), (2, 3, 4), (1, 3, 2, 2, 2))],
    case("PRelu", _X4, np.float32(0.25), constant=(1,)),
    case("PRelu", np.array([[-3, 4]], np.int32), np.array([2, 3], np.int32), constant=(1,)),
]  # fmt: skip

ALONG = [
    *[case(op, _floats(2, 3, 4), axis=a) for op in ("Softmax", "LogSoftmax", "Hardmax") for a in (0, 1, -1)],
    *[case(op, _floats(2, 3)) for op in ("Softmax", "LogSoftmax", "Hardmax")],
    case("LogSoftmax", np.array([[0, -200, 300]], np.float32), want=[np.array([[-300, -500, 0]], np.float32)]),
    case("Softmax", _floats(2, 3, dtype=np.float16)),
    case("Hardmax", np.array([[1, 3, 3, 2], [0, 0, 0, 0]], np.float32)),
]


@pytest.mark.parametrize("target", ["iOS15", "iOS18"])
@pytest.mark.parametrize("c", [*POINTWISE, *SLOPES, *ALONG], ids=str)
def test_matches_onnx(c: Case, target: str) -> None:
    assert_right(c, target)


def test_celu_of_a_negative_alpha() -> None:
    # By the formula; onnx's reference implementation is asked for positive ones only.
    x, alpha = np.array([-2, -0.5, 0, 1], np.float64), -1.5
    want = np.maximum(x, 0) + np.minimum(0, alpha * (np.exp(x / alpha) - 1))
    assert_right(case("Celu", x.astype(np.float32), alpha=alpha, want=[want.astype(np.float32)]))


@pytest.mark.parametrize(
    ("slope", "mil"),
    [(np.full((3, 1, 1), 0.1, np.float32), "leaky_relu"), (np.array([[[0.1]], [[0.2]], [[0.3]]], np.float32), "prelu")],
    ids=["uniform", "per-channel"],
)
def test_constant_slopes_become_one_op(slope: Any, mil: str) -> None:
    assert mil_ops(case("PRelu", _X4, slope, constant=(1,))) == [mil]


@pytest.mark.parametrize("op", ["Softplus", "Mish", "LogSoftmax", "Swish", "ThresholdedRelu"])
def test_unsafe_mil_ops_are_not_used(op: str) -> None:
    assert not {"softplus", "silu", "thresholded_relu"} & set(mil_ops(case(op, _floats(2, 3))))


def test_gelu_keeps_the_form_of_the_model() -> None:
    modes = [find_op(case("Gelu", _floats(3), approximate=a), "gelu").mode.val for a in ("none", "tanh")]
    assert modes == ["EXACT", "TANH_APPROXIMATION"]
    exact, tanh = (reference(case("Gelu", np.array([2.5], np.float32), approximate=a))[0] for a in ("none", "tanh"))
    assert abs(exact - tanh).max() > 1e-4  # they are not the same function


def test_celu_refuses_alpha_zero() -> None:
    with pytest.raises(UnsupportedError, match="alpha is 0"):
        folded(case("Celu", _EDGES, alpha=0.0, want=[_EDGES]))
