"""``coregraft lift`` on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import coregraft
from coregraft.cli import main
from coregraft.rewriter.execute import run as run_graph
from coregraft.rewriter.onnx_io.load import load
from coregraft.rewriter.onnx_io.text import parse

MODEL = "input x: float[1,3,8,8]\nconst w: float[4,3,3,3] = normal(seed=1)\ny = Conv(x, w)\nz = Relu(y)\noutput z\n"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    coregraft.convert(parse("opset 17\n" + MODEL), precision="fp16").save(tmp_path / "m.mlpackage")
    return tmp_path / "m.mlpackage"


@pytest.mark.parametrize(("fp16", "casts"), [("simulate", True), ("exact", False)])
def test_a_package_becomes_a_model(package: Path, fp16: str, casts: bool) -> None:
    out = package.parent / "m.onnx"
    result = run("lift", str(package), "-o", str(out), "--fp16", fp16, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)["result"]
    assert found["inputs"] == {"x": "float[1,3,8,8]"}
    assert found["ops"]["Conv"] == 1
    half = [op for _, op in load(out).ops() if op.type == "Cast" and op.attrs["to"] == 10]
    assert bool(half) is casts
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
    source = run_graph(parse("opset 17\n" + MODEL), {"x": x})["z"]
    graph = load(out)
    lifted = run_graph(graph, {"x": x})[graph.outputs["z"]]
    np.testing.assert_allclose(lifted, source, atol=0.02)
    assert np.any(lifted != source)


def test_for_people(package: Path) -> None:
    result = run("lift", str(package), "-o", str(package.parent / "m.onnx"), "--strict")
    assert result.exit_code == 0, result.output
    assert "input x: float[1,3,8,8]" in result.stdout
    assert "ONNX ops" in result.stdout


def test_from_python(package: Path) -> None:
    graph = coregraft.lift(package)
    assert graph.inputs == ("x",)
    assert graph.graph["lift_warnings"] == ()


@pytest.mark.parametrize(
    ("arguments", "exit_code", "code"),
    [
        (("nowhere.mlpackage", "-o", "m.onnx"), 3, "package-not-found"),
        (("PACKAGE", "-o", "m.mlpackage"), 2, "output-suffix"),
        (("PACKAGE", "-o", "no/such/folder/m.onnx"), 2, "output-unwritable"),
        (("PACKAGE", "-o", "m.onnx", "--function", "nope"), 2, "function-unknown"),
    ],
)
def test_bad_requests(package: Path, arguments: tuple[str, ...], exit_code: int, code: str,
                      monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.chdir(package.parent)
    result = run("lift", *(str(package) if a == "PACKAGE" else a for a in arguments), "--json")
    assert (result.exit_code, json.loads(result.stdout)["error"]["code"]) == (exit_code, code)
    assert [p.name for p in package.parent.iterdir()] == ["m.mlpackage"]
