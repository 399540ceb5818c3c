"""``verify``, and ``convert --verify``, on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from coregraft.cli import main
from coregraft.rewriter.onnx_io.save import save
from coregraft.rewriter.onnx_io.text import parse

MODEL = "opset 17\ninput x: float[2,6]\na = Tanh(x) @one\nb = Softmax(a, axis=0) @two\nc = Neg(b) @three\noutput c\n"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save(parse(MODEL), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


@pytest.fixture
def package(model: Path, tmp_path: Path) -> Path:
    assert run("convert", model, "-o", tmp_path / "m.mlpackage", "--precision", "fp32").exit_code == 0
    return tmp_path / "m.mlpackage"


@pytest.fixture
def other(model: Path) -> Path:
    """A model that computes something else under the same names."""
    path = model.with_name("other.onnx")
    save(parse(MODEL.replace("axis=0", "axis=1")), path)
    return path


def test_a_good_package(model: Path, package: Path) -> None:
    result = run("verify", model, package)
    assert result.exit_code == 0, result.output
    assert "fp32" in result.output and "ok" in result.output and "first layer" not in result.output


def test_a_wrong_package(other: Path, package: Path) -> None:
    result = run("verify", other, package)
    assert result.exit_code == 1
    assert "WRONG" in result.output
    assert 'first layer out of tolerance: Softmax "two"' in result.output
    assert result.output.count('Softmax "two"') == 2 and 'Neg "three"' in result.output, "drift of layers"


def test_json(other: Path, package: Path) -> None:
    result = run("verify", other, package, "--json", "--draws", "1")
    envelope = json.loads(result.stdout)
    assert result.exit_code == 1 and envelope["status"] == "findings"
    assert envelope["result"]["drift"]["first"]["op"] == 'Softmax "two"'
    assert envelope["result"]["outputs"][0]["ok"] is False


def test_inputs_tolerance_and_layers(model: Path, other: Path, package: Path, tmp_path: Path) -> None:
    feeds = tmp_path / "x.npz"
    np.savez(feeds, x=np.zeros((2, 6), np.float32))
    # All rows and columns are equal, so the axes differ by a factor only: 1/2 and 1/6.
    assert run("verify", other, package, "--inputs", feeds).exit_code == 1
    assert run("verify", other, package, "--inputs", feeds, "--tolerance", "5").exit_code == 0
    result = run("verify", model, package, "--no-layers", "--json")
    assert json.loads(result.stdout)["result"]["drift"] is None


def test_the_plot(other: Path, package: Path, tmp_path: Path) -> None:
    assert run("verify", other, package, "--plot", tmp_path / "drift.svg").exit_code == 1
    assert (tmp_path / "drift.svg").read_text().count("<circle") == 3
    assert run("verify", other, package, "--plot", tmp_path / "no" / "drift.svg").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "code", "exit_code"),
    [
        (["model.onnx", "no.mlpackage"], "package-not-found", 3),
        (["no.onnx", "m.mlpackage"], "file-not-found", 3),
        (["model.onnx", "m.mlpackage", "--inputs", "model.onnx"], "inputs-unreadable", 3),
        (["model.onnx", "m.mlpackage", "--inputs", "wrong.npz"], "inputs-mismatch", 2),
        (["stranger.onnx", "m.mlpackage"], "package-mismatch", 2),
        (["model.onnx", "empty.mlpackage"], "package-broken", 3),
    ],
)
def test_bad_requests(
    arguments: list[str], code: str, exit_code: int, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "wrong.npz", y=np.zeros(2))
    stranger = "opset 17\ninput x: float[2,6]\na = Neg(x)\nb = Abs(x)\noutput a\noutput b\n"
    save(parse(stranger), tmp_path / "stranger.onnx")
    (tmp_path / "empty.mlpackage").mkdir()
    monkeypatch.chdir(tmp_path)
    result = run("verify", *arguments, "--json")
    assert result.exit_code == exit_code, result.output
    assert json.loads(result.stdout)["error"]["code"] == code


@pytest.fixture
def miscompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    from coremltools.converters.mil.mil import Builder

    emit = Builder.softmax

    def wrong(**given: Any) -> Any:
        return emit(**{**given, "axis": -1})

    monkeypatch.setattr(Builder, "softmax", staticmethod(wrong))


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_convert_refuses_a_wrong_package(model: Path, tmp_path: Path, miscompiled: None, precision: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    result = run("convert", model, "-o", out / "m.mlpackage", "--precision", precision, "--json")
    envelope = json.loads(result.stdout)
    assert result.exit_code == 1 and envelope["status"] == "findings"
    written = ["m.mlpackage.failed", "m.mlpackage.failed.json"]
    assert sorted(p.name for p in out.iterdir()) == written
    assert envelope["result"]["written"] == [str(out / name) for name in written]
    report = json.loads((out / "m.mlpackage.failed.json").read_text())
    assert report["drift"]["first"]["op"] == 'Softmax "two"'


def test_convert_writes_it_unverified_when_told_to(model: Path, tmp_path: Path, miscompiled: None) -> None:
    result = run("convert", model, "-o", tmp_path / "m.mlpackage", "--no-verify")
    assert result.exit_code == 0
    assert (tmp_path / "m.mlpackage").is_dir() and not list(tmp_path.glob("*.failed*"))
    assert "compared with" not in result.output


def test_convert_tells_the_figures(model: Path, tmp_path: Path) -> None:
    result = run("convert", model, "-o", tmp_path / "m.mlpackage")
    assert result.exit_code == 0 and "  c: ok, relative L2 " in result.output
