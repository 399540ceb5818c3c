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
