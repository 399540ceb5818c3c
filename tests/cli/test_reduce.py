"""``reduce`` on the command line: by conversion, by a command, and to the guilty pass."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from coregraft.cli import main
from coregraft.rewriter.onnx_io.load import load
from coregraft.rewriter.onnx_io.save import save
from coregraft.rewriter.onnx_io.text import parse

MODEL = (
    "opset 17\ninput x: float[2,6]\na = Tanh(x) @one\nb = Softmax(a, axis=0) @two\nc = Exp(b) @three\n"
    "d = Sin(c) @four\noutput d\n"
)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save(parse(MODEL), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_a_miscompiled_op_is_found(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from coremltools.converters.mil.mil import Builder

    emit = Builder.softmax

    def wrong(**given: Any) -> Any:
        return emit(**{**given, "axis": -1})

    monkeypatch.setattr(Builder, "softmax", staticmethod(wrong))
    result = run("reduce", model, "-o", tmp_path / "bundle", "--json")
    found = json.loads(result.stdout)["result"]
    assert result.exit_code == 0
    assert found["ops"] == ['Softmax "two"']
    assert found["guilty_pass"] is None
    part = load(tmp_path / "bundle" / "reduced.onnx")
    assert [part.op(i).type for i in part.topological()] == ["Softmax"]
    with np.load(tmp_path / "bundle" / "inputs.npz") as feeds:
        assert feeds.files == ["a"]


def test_a_wrong_pass_is_named(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from coregraft.passes.fuse.fuse_swish import FuseSwish

    save(
        parse("opset 17\ninput x: float[2,6]\na = Tanh(x) @one\ns = Sigmoid(a) @gate\nb = Mul(a, s) @times\n"
              "c = Exp(b) @three\noutput c\n"),
        model,
    )  # fmt: skip

    def wrong(self: FuseSwish, op: Any, m: Any) -> Any:
        return op.Swish(m.x, alpha=1.7)

    monkeypatch.setattr(FuseSwish, "replacement", wrong)
    result = run("reduce", model, "-o", tmp_path / "bundle", "--json")
    found = json.loads(result.stdout)["result"]
    assert result.exit_code == 0, result.output
    assert found["guilty_pass"] == "fuse-swish"
    assert found["ops"] == ['Sigmoid "gate"', 'Mul "times"']
    assert "fuse-swish" in (tmp_path / "bundle" / "README.txt").read_text()


def test_any_command(model: Path, tmp_path: Path) -> None:
    check = tmp_path / "check.py"
    check.write_text("import sys, onnx\nsys.exit(any(n.op_type == 'Exp' for n in onnx.load(sys.argv[1]).graph.node))\n")
    result = run("reduce", model, "-o", tmp_path / "bundle", "--check", f"{sys.executable} {check} {{model}}")
    assert result.exit_code == 0, result.output
    assert 'Exp "three"' in result.output and "1 op(s) left" in result.output


def test_nothing_to_reduce(model: Path, tmp_path: Path) -> None:
    result = run("reduce", model, "-o", tmp_path / "bundle", "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["code"] == "reduce-passes"
    assert not (tmp_path / "bundle").exists()
