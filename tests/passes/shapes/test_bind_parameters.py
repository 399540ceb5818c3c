"""bind-parameters: what the shape of a result says of a parameter, and where it says nothing."""

from __future__ import annotations

import numpy as np
import pytest

from coregraft.lowering import targets
from coregraft.rewriter.manager import PassManager
from coregraft.rewriter.onnx_io.text import parse
from coregraft.rewriter.types import Array

from .conftest import FLOATS, X, declined, rewritten, vector

P = "input p: int64[{}]\n"


@pytest.mark.parametrize(("line", "count", "given"), [
    ("y: float[2,6,4] = Tile(x, p)", 3, (1, 2, 1)),
    ("y: float[2,1,3,4] = Unsqueeze(x, p)", 1, (1,)),
    ("y: float[1,2,1,3,4] = Unsqueeze(x, p)", 2, (0, -3)),
    ("y: float[2,3,2] = CenterCropPad(x, p, axes=[2])", 1, (2,)),
    ("y: float[3,3,6] = CenterCropPad(x, p)", 3, (3, 3, 6)),
    ("y: float[2,1,4] = ReduceMax(x, p, keepdims=1)", 1, (1,)),
    ("y: float[1,3,1] = ReduceSumSquare(x, p)", 2, (-1, 0)),
    ("y: float[4] = ReduceMean(x, p, keepdims=0)", 2, (0, 1)),
])  # fmt: skip
def test_one_result(line: str, count: int, given: tuple[int, ...]) -> None:
    text = X + P.format(count) + line + "\noutput y\n"
    (kind,) = rewritten("bind-parameters", text, {"x": FLOATS, "p": vector(*given)})
    assert kind in line
    assert "p" not in _operands(text)


def _operands(text: str) -> set[str]:
    from .conftest import _run

    g = _run("bind-parameters", parse(text))
    return {v for _, op in g.ops() for v in op.inputs}


def test_several_results() -> None:
    text = X + P.format(2) + "a: float[2,3,1], b: float[2,3,3] = Split(x, p, axis=-1)\noutput a\noutput b\n"
    assert rewritten("bind-parameters", text, {"x": FLOATS, "p": vector(1, 3)}) == ["Split"]
    text = X + P.format(1) + "v: float[2,2,4], i: int64[2,2,4] = TopK(x, p, axis=1)\noutput v\noutput i\n"
    assert rewritten("bind-parameters", text, {"x": FLOATS, "p": vector(2)}) == ["TopK"]


def test_squeeze_takes_away_ones() -> None:
    text = "input x: float[1,3,1,2]\ninput p: int64[1]\ny: float[1,3,2] = Squeeze(x, p)\noutput y\n"
    x: Array = FLOATS[0, :3, :2].reshape(1, 3, 1, 2)
    assert rewritten("bind-parameters", text, {"x": x, "p": vector(2)}) == ["Squeeze"]


def test_one_hot() -> None:
    text = "input i: int64[3]\ninput d: int64[]\ninput v: float[2]\ny: float[3,4] = OneHot(i, d, v)\noutput y\n"
    feeds = {"i": vector(0, 3, -1), "d": np.array(4, np.int64), "v": np.array([-1, 2], np.float32)}
    assert rewritten("bind-parameters", text, feeds) == ["OneHot"]


def test_windows_and_grids() -> None:
    text = "input n: int64[]\ny: float[6] = HannWindow(n)\noutput y\n"
    assert rewritten("bind-parameters", text, {"n": np.array(6, np.int64)}) == ["HannWindow"]
    text = "input t: float[1,2,3]\ninput p: int64[4]\ny: float[1,3,4,2] = AffineGrid(t, p)\noutput y\n"
    feeds = {"t": FLOATS[0, :2, :3].reshape(1, 2, 3), "p": vector(1, 5, 3, 4)}
    assert rewritten("bind-parameters", text, feeds) == ["AffineGrid"]


@pytest.mark.parametrize("line", [
    "y: float[2,?,4] = Tile(x, p)",
    "y: float[?,?,?] = CenterCropPad(x, p)",
    "y = ReduceMax(x, p, keepdims=1)",
    'y: float[2,6,8] = Resize(x, _, _, p, axes=[1,2], keep_aspect_ratio_policy="not_larger")',
])  # fmt: skip
def test_what_the_shape_does_not_tell(line: str) -> None:
    count = 2 if "axes" in line else 3
    assert declined("bind-parameters", X + P.format(count) + line + "\noutput y\n")


def test_two_axes_of_one_size_are_not_told_apart() -> None:
    text = "input x: float[2,2]\ninput p: int64[1]\ny: float[2] = ReduceSum(x, p, keepdims=0)\noutput y\n"
    assert declined("bind-parameters", text)


def test_sizes_of_a_resize() -> None:
    """onnxruntime does not load one whose sizes are computed."""
    text = X + P.format(1) + "y: float[2,3,9] = Resize(x, _, _, p, axes=[2])\noutput y\n"
    assert rewritten("bind-parameters", text) == ["Resize"]
    assert "p" not in _operands(text)


@pytest.mark.parametrize("window", ["Blackman", "Hamming", "Hann"])
def test_every_window(window: str) -> None:
    text = f"input n: int64[]\ny: float[6] = {window}Window(n)\noutput y\n"
    assert rewritten("bind-parameters", text, {"n": np.array(6, np.int64)}) == [f"{window}Window"]


@pytest.mark.parametrize("kind", ["L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"])
def test_every_reduction(kind: str) -> None:
    text = X + P.format(1) + f"y: float[2,1,4] = Reduce{kind}(x, p, keepdims=1)\noutput y\n"
    assert rewritten("bind-parameters", text, {"x": np.abs(FLOATS) + 1, "p": vector(-2)}) == [f"Reduce{kind}"]
    assert "p" not in _operands(text)


def test_a_depth_in_a_vector() -> None:
    text = "input i: int64[3]\ninput d: int64[1]\ninput v: float[2]\ny: float[3,4] = OneHot(i, d, v)\noutput y\n"
    feeds = {"i": vector(0, 3, -1), "d": vector(4), "v": np.array([-1, 2], np.float32)}
    assert rewritten("bind-parameters", text, feeds) == ["OneHot"]


def test_nothing_can_be_repeated_any_number_of_times() -> None:
    assert declined("bind-parameters", "input x: float[0,2]\ninput p: int64[2]\ny: float[0,4] = Tile(x, p)\noutput y\n")


@pytest.mark.parametrize("name", ["bind-parameters", "choose-axes", "gather-slice", "gather-pad"])
def test_only_core_ml_needs_it(name: str) -> None:
    lines = {
        "bind-parameters": "y: float[2,6,4] = Tile(x, p)", "choose-axes": "q = Squeeze(p)\ny = CumSum(x, q)",
        "gather-slice": "y: float[1,3,4] = Slice(x, p, p, p)", "gather-pad": "z = Concat(p, p, p, p, p, p, axis=0)\n"
        "y: float[4,3,4] = Pad(x, z)",
    }  # fmt: skip
    g = parse(X + P.format(3 if name == "bind-parameters" else 1) + lines[name] + "\noutput y\n")
    asked = PassManager(["infer-shapes", name]).run(g).reports[-1]
    assert not asked.changed
    assert PassManager(["infer-shapes", name], targets.get("iOS17")).run(g).changed


def test_constant_parameters_stay() -> None:
    assert declined("bind-parameters", X + "const p: int64[3] = [1, 2, 1]\ny: float[2,6,4] = Tile(x, p)\noutput y\n")
