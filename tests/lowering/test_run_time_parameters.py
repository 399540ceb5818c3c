"""Whole conversions of models whose parameters arrive at run time: right, or refused by name."""

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

X = np.random.default_rng(3).standard_normal((2, 3, 4)).astype(np.float32)
#: Parameters come out of arithmetic on another input, results go through an op of their own.
HEAD = "input x: float[2,3,4]\ninput n: int64[{}]\nconst one: int64[1] = [1]\np = Add(n, one)\n"


def text(count: int, lines: str, output: str) -> str:
    return HEAD.format(count) + lines + f"\ny: float[{output}] = Exp(r)\noutput y\n"


def right(source: str, feeds: dict[str, Array], folder: Path) -> coregraft.Conversion:
    want = run(parse(source), feeds)
    done = coregraft.convert(parse(source), target="iOS17", precision="fp32", fallback="error")
    done.save(folder / "m.mlpackage")
    graph = lift(folder / "m.mlpackage")
    given = {f.feature: feeds[f.name].astype(f.dtype.numpy).reshape(f.shape) for f in done.report.inputs}
    have = run(graph, given)
    for f in done.report.outputs:
        np.testing.assert_allclose(have[graph.outputs[f.feature]], want[f.name], rtol=1e-5, atol=1e-6)
    return done


@pytest.mark.parametrize(("lines", "output", "numbers"), [
    ("r = Tile(x, p)", "2,6,4", (0, 1, 0)),
    ("r = Expand(x, p)", "5,2,3,4", (4, 1, 2, 3)),
    ("r = Reshape(x, p)", "6,4", (5, 3)),
    ("r = Reshape(x, p)", "6,4", (-2, 3)),
    ("r, i = TopK(x, p, axis=2)", "2,3,2", (1,)),
    ("r, s = Split(x, p, axis=2)\noutput s", "2,3,1", (0, 2)),
    ("c = Cast(x, to=7)\nconst v: float[2] = [-1, 2]\nd = Squeeze(p)\nr = OneHot(c, d, v)", "2,3,4,5", (4,)),
    ("c = ConstantOfShape(p)\nr = Add(c, 1.5)", "3,4", (2, 3)),
    ("e = Add(p, p)\nr = Slice(x, p, e)", "1,3,4", (0,)),
    ("r = Pad(x, p)", "3,6,4", (-1, 0, -1, 0, 1, -1)),
    ("r = Unsqueeze(x, p)", "2,1,3,4", (0,)),
    ("s = ReduceSum(x, p, keepdims=0)\nr = Sqrt(s)", "2,4", (0,)),
    ("s = ReduceMax(x, p)\nr = Mul(s, 2.0)", "2,3,1", (1,)),
    ("l = Squeeze(p)\nconst a: int64[] = 0\nconst b: int64[] = 1\nc = Range(a, l, b)\nr = Cast(c, to=1)", "5", (4,)),
    ("r = CumSum(x, p)", "2,3,4", (1,)),
])  # fmt: skip
def test_what_the_declared_shape_settles(
    lines: str, output: str, numbers: tuple[int, ...], tmp_path: Path
) -> None:
    source = text(len(numbers), lines, output)
    right(source, {"x": X, "n": np.array(numbers, np.int64)}, tmp_path)


@pytest.mark.parametrize(("lines", "numbers"), [
    ("r = Tile(x, p)", (1, 0, 2)),
    ("m = ReduceMax(x)\nr = Expand(m, p)", (3, 0, 1)),
    ("r = Expand(x, p)", (4, 1, 2, 3)),
    ("r = Reshape(x, p)", (5, 3, 0)),
    ("r = Reshape(x, p)", (3, -2, 2)),
    ("r = Reshape(x, p)", (-1, -2, 1)),
    ("e = Add(p, p)\nr = Slice(x, p, e)", (-1, 0, 1)),
    ("c = ConstantOfShape(p)\nd = Flatten(c)\nr = Add(d, 1.0)", (1, 2, 3)),
    ("s = Tile(x, p)\nr = ReduceSum(s)", (0, 1, 2)),
    ("r, i = TopK(x, p, axis=2, largest=0)", (2,)),
])  # fmt: skip
def test_what_it_does_not_is_read_at_run_time(lines: str, numbers: tuple[int, ...], tmp_path: Path) -> None:
    source = HEAD.format(len(numbers)) + lines + "\ny = Exp(r)\noutput y\n"
    done = right(source, {"x": X, "n": np.array(numbers, np.int64)}, tmp_path)
    assert any(feature.shape is None for feature in done.report.outputs) == ("ReduceSum" not in lines)
    assert "depends on the data" in done.report.warnings[-1]


@pytest.mark.parametrize(("lines", "code"), [
    ("r = Pad(x, p)", "const-needed"),
    ("r = ReduceSum(x, p)", "const-needed"),
    ("r = Unsqueeze(x, p)", "const-needed"),
    ("r = Slice(x, p, p, p)", "const-needed"),
])  # fmt: skip
def test_what_changes_the_rank_or_the_axes_is_refused(lines: str, code: str) -> None:
    source = HEAD.format(3) + lines + "\ny = Exp(r)\noutput y\n"
    with pytest.raises(UnsupportedError) as error:
        coregraft.convert(parse(source), target="iOS17", precision="fp32", fallback="error")
    assert error.value.code == code


def test_the_report_says_what_is_trusted(tmp_path: Path) -> None:
    feeds: dict[str, Array] = {"x": X, "n": np.array([0, 1, 0], np.int64)}
    done = right(text(3, "r = Tile(x, p)", "2,6,4"), feeds, tmp_path)
    (warning,) = done.report.warnings
    assert warning == '"p" is taken to be [1, 2, 1]: the shapes that the model declares allow nothing else'
    feeds = {"x": X, "n": np.array([0], np.int64)}
    done = right(text(1, "e = Add(p, p)\nr = Slice(x, p, e)", "1,3,4"), feeds, tmp_path)
    assert done.report.warnings == ('"r": its run-time parameters are taken to agree with the shape that is declared',)
