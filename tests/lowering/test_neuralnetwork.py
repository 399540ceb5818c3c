"""What a neuralnetwork has otherwise than a program: no scalars, and integers in fp32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import coregraft
from coregraft.lowering.lift import lift
from coregraft.rewriter.errors import UnsupportedError
from coregraft.rewriter.execute import run
from coregraft.rewriter.onnx_io.text import parse
from coregraft.rewriter.types import Array
from tests.lowering.packages import assert_agrees

X = np.random.default_rng(1).standard_normal((2, 3)).astype(np.float32)


def result(text: str, folder: Path, x: Array) -> Array:
    done = coregraft.convert(parse(text), format="neuralnetwork", fallback="error")
    path = folder / "m.mlmodel"
    done.save(path)
    g = lift(path)
    values: dict[str, Array] = run(g, {"x": x})
    return values[g.outputs["y"]]


@pytest.mark.parametrize(("op", "shape"), [("ReduceSum(x, keepdims=0)", (1,)), ("Unsqueeze(s, [0])", (1,))])
def test_scalars_have_one_dim(tmp_path: Path, op: str, shape: tuple[int, ...]) -> None:
    text = f"input x: float[2,3]\ns = ReduceSum(x, keepdims=0)\ny = {op}\noutput y\n"
    found = result(text, tmp_path, X)
    assert found.shape == shape
    np.testing.assert_allclose(found.ravel(), [X.sum()], rtol=1e-5)


@pytest.mark.parametrize(("line", "want"), [
    ("y = Reciprocal(x)", [np.inf, 1e6, -0.5]), ("y = Pow(x, p)", [np.inf, 1e-12, -8]),
    ("y = Pow(x, n)", [np.inf, 1e6, -0.5]),
])  # fmt: skip
def test_powers_and_inverses_are_exact(tmp_path: Path, line: str, want: list[float]) -> None:
    constants = "const p: float[3] = [-1.0, 2.0, 3.0]\nconst n: float[] = -1.0\n"
    found = result(f"input x: float[3]\n{constants}{line}\noutput y\n", tmp_path, np.array([0, 1e-6, -2], np.float32))
    np.testing.assert_allclose(found, want, rtol=1e-5)


def test_scalar_index_of_one_hot(tmp_path: Path) -> None:
    constants = "const d: int64[] = 3\nconst v: float[2] = [0.0, 1.0]\n"
    text = f"input x: int64[]\n{constants}y: float[3] = OneHot(x, d, v)\noutput y\n"
    np.testing.assert_array_equal(result(text, tmp_path, np.array([1], np.float32)), [0, 1, 0])


@pytest.mark.parametrize("mode", ["reflect", "edge"])
def test_vectors_are_padded(tmp_path: Path, mode: str) -> None:
    text = f"input x: float[3]\nconst p: int64[2] = [2, 1]\ny: float[6] = Pad(x, p, mode=\"{mode}\")\noutput y\n"
    x = np.array([1, 2, 3], np.float32)
    np.testing.assert_array_equal(result(text, tmp_path, x), np.pad(x, (2, 1), mode=mode))  # type: ignore[call-overload]


@pytest.mark.parametrize("line", [
    "y: int32[3] = BitwiseAnd(x, x)", "y: int32[3] = BitwiseNot(x)", "y: int16[3] = Mul(x, x)",
])  # fmt: skip
def test_integers_beyond_24_bits_are_refused(line: str) -> None:
    kind = line[3:8]
    with pytest.raises(UnsupportedError, match="24 bits") as caught:
        coregraft.convert(parse(f"input x: {kind}[3]\n{line}\noutput y\n"), format="neuralnetwork", fallback="error")
    assert caught.value.code == "op-unsupported"


def test_narrow_integers_are_exact(tmp_path: Path) -> None:
    text = "input x: uint8[3]\ny: uint8[3] = Mul(x, x)\noutput y\n"
    x = np.array([3, 200, 255], np.float32)
    np.testing.assert_array_equal(result(text, tmp_path, x), (x.astype(np.int64) ** 2) % 256)


@pytest.mark.parametrize(
    "line",
    [
        "BatchNormalization(x, v, v, v, v)",
        "BatchNormalization(x, v, v, v, v, epsilon=0.0)",
        "InstanceNormalization(x, v, v, epsilon=0.0)",
    ],
)
def test_no_epsilon_but_the_model_s(line: str) -> None:
    """A layer takes an epsilon of 0 for its default, 1e-5."""
    model = parse(f"input x: float[1,2,1,3]\nconst v: float[2] = [0.01, 0.02]\ny = {line}\noutput y\n")
    feeds = {"x": np.array([0.0, 0.001, 0.002, 0.03, 0.01, 0.02], np.float32).reshape(1, 2, 1, 3)}
    assert_agrees(model, [feeds], "neuralnetwork", tolerance=2e-5)


def test_no_bias_but_the_model_s() -> None:
    """A layer takes a bias of 0 for its default, 1."""
    text = "input x: float[1,5,2,1]\ny = LRN(x, size=3, bias=0.0, alpha=1.0, beta=0.5)\noutput y\n"
    assert_agrees(parse(text), [{"x": X.ravel().repeat(2)[:10].reshape(1, 5, 2, 1)}], "neuralnetwork")
