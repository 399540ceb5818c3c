"""The gate of a conversion: what is wrong does not take the output's name, what only drifts is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import coregraft
from coregraft.rewriter.errors import CoregraftError
from coregraft.rewriter.onnx_io.text import parse
from coregraft.verification.gate import Gated, save_verified

MODEL = "input x: float[2,6]\na = Tanh(x) @one\nb = Softmax(a, axis=0) @two\noutput b\n"
#: Overflows in half precision on every draw; exact otherwise.
OVERFLOWS = (
    "input x: float[2,6]\na = Mul(x, 2.0) @small\nb = Sub(13.0, a) @large\nc = Exp(b) @beyond\n"
    "d = Mul(c, 1e-06) @back\noutput d\n"
)


def gated(path: Path, text: str = MODEL, precision: str = "fp32") -> Gated:
    graph = parse(text)
    return save_verified(graph, coregraft.convert(graph, precision=precision), path)  # type: ignore[arg-type]


@pytest.fixture
def miscompiled(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes every softmax from now on one over the last axis."""

    def do() -> None:
        from coremltools.converters.mil.mil import Builder

        emit = Builder.softmax

        def wrong(**given: Any) -> Any:
            return emit(**{**given, "axis": -1})

        monkeypatch.setattr(Builder, "softmax", staticmethod(wrong))

    return do


def content(package: Path) -> dict[str, bytes]:
    return {str(p.relative_to(package)): p.read_bytes() for p in sorted(package.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_good_package_gets_its_name(tmp_path: Path, precision: str) -> None:
    done = gated(tmp_path / "m.mlpackage", precision=precision)
    assert done.passed and done.verification is not None and done.verification.precision == precision
    assert done.written == (tmp_path / "m.mlpackage",) and done.warnings == ()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.mlpackage"]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_wrong_package_does_not(tmp_path: Path, precision: str, miscompiled: Callable[[], None]) -> None:
    path = tmp_path / "m.mlpackage"
    assert gated(path, precision=precision).passed
    good = content(path)
    miscompiled()
    done = gated(path, precision=precision)
    assert not done.passed
    assert done.written == (tmp_path / "m.mlpackage.failed", tmp_path / "m.mlpackage.failed.json")
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name, f"{path.name}.failed", f"{path.name}.failed.json"]
    assert content(path) == good, "what stood there stays"
    report = json.loads((tmp_path / "m.mlpackage.failed.json").read_text())
    assert report["ok"] is False and report["drift"]["first"] == {"value": "b", "op": 'Softmax "two"'}


def test_half_precision_alone_is_a_warning(tmp_path: Path) -> None:
    done = gated(tmp_path / "m.mlpackage", OVERFLOWS, "fp16")
    assert done.passed and done.verification is not None and not done.verification.ok
    assert (tmp_path / "m.mlpackage").is_dir()
    (warning,) = done.warnings
    assert 'output "d"' in warning and 'Exp "beyond"' in warning
    assert gated(tmp_path / "m.mlpackage", OVERFLOWS, "fp32").warnings == ()


def test_a_source_that_nothing_runs_here_is_written_with_a_warning(tmp_path: Path) -> None:
    graph = parse(MODEL)
    done = coregraft.convert(graph)
    graph.set_op(0, parse("opset com.example 1\ninput x: float[2,6]\na = com.example.Wobble(x)\noutput a\n").op(0))
    graph.set_opsets({**graph.opsets, "com.example": 1})
    gate = save_verified(graph, done, tmp_path / "m.mlpackage")
    assert gate.passed and gate.verification is None
    assert len(gate.warnings) == 1 and "not verified: [source-unrunnable]" in gate.warnings[0]


def test_nothing_is_left_when_the_folder_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CoregraftError) as caught:
        gated(tmp_path / "none" / "m.mlpackage")
    assert caught.value.code == "output-unwritable"
    with pytest.raises(CoregraftError) as caught:
        gated(tmp_path / "m.mlmodel")
    assert caught.value.code == "output-suffix"
    assert list(tmp_path.iterdir()) == []
