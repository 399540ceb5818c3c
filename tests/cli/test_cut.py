"""``coregraft cut`` and ``convert --fallback``: parts from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
from click.testing import CliRunner, Result

from coregraft.cli import main
from coregraft.cli.cut import parse_bytes
from coregraft.rewriter.errors import UsageError
from coregraft.verification.parts import verify_parts
from tests.custom_layers import island_models as models

CASE = next(case for case in models.CASES if case.name == "residual")


def run(*args: str) -> Result:
    return CliRunner().invoke(main, args)


def envelope(result: Result) -> Any:
    return json.loads(result.stdout)


@pytest.fixture
def unknown(tmp_path: Path) -> Path:
    onnx.save(CASE.model(), tmp_path / "unknown.onnx")
    return tmp_path / "unknown.onnx"


@pytest.fixture
def known(tmp_path: Path) -> Path:
    onnx.save(CASE.standard(), tmp_path / "known.onnx")
    return tmp_path / "known.onnx"


@pytest.mark.parametrize("fallback", ["auto", "cut"])
def test_convert_falls_back_to_the_cut(fallback: str, unknown: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mlpackage"
    done = run("convert", str(unknown), "-o", str(out), "--fallback", fallback, "--precision", "fp32", "--json")
    assert done.exit_code == 0, done.output
    found = envelope(done)
    assert found["result"]["written"] == [str(tmp_path / "out.parts")]
    assert (tmp_path / "out.parts" / "manifest.json").exists() and not out.exists()
    (entry,) = found["result"]["fallbacks"]
    assert (entry["rung"], entry["class"]) == ("cut", "ComAcmeSin")
    assert any("not verified" in w and "reference" in w for w in found["warnings"])
    text = run("convert", str(unknown), "-o", str(out), "--precision", "fp32").output
    assert "cut: op com.acme.Sin" in text and "64 bytes out of Core ML" in text


def test_convert_with_fallback_error_refuses(unknown: Path, tmp_path: Path) -> None:
    done = run("convert", str(unknown), "-o", str(tmp_path / "o.mlpackage"), "--fallback", "error", "--json")
    assert done.exit_code == 4 and envelope(done)["error"]["code"] == "op-no-lowering"
    assert "--fallback cut" in envelope(done)["error"]["hint"]


def test_cut_at_a_value_is_verified(known: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parts"
    done = run("cut", str(known), "-o", str(out), "--at", "a", "--precision", "fp32", "--json")
    assert done.exit_code == 0, done.output
    found = envelope(done)["result"]
    assert found["crossing"] == {"a": 64} and found["crossing_bytes"] == 64
    assert [s["kind"] for s in found["steps"]] == ["core-ml", "core-ml"]
    assert found["verification"]["ok"]
    again = run("verify", str(known), str(out), "--json")
    assert again.exit_code == 0 and envelope(again)["result"]["ok"]
    shown = run("cut", str(known), "-o", str(out), "--at", "a,c")
    assert shown.exit_code == 0 and "handed over: c" in shown.output


def test_cut_by_size(known: Path, tmp_path: Path) -> None:
    args = ("cut", str(known), "-o", str(tmp_path / "out.parts"), "--precision", "fp32", "--json", "--max-bytes")
    assert len(envelope(run(*args, "1 KB"))["result"]["steps"]) == 1
    refused = run(*args, "100")
    assert refused.exit_code == 4 and envelope(refused)["error"]["code"] == "cut-too-large"
    assert run(*args, "many").exit_code == 2


def test_a_part_that_computes_something_else_does_not_get_the_name(
    known: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = onnx.load(known)
    weights = onnx.numpy_helper.to_array(other.graph.initializer[0])
    other.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weights * 2, other.graph.initializer[0].name))
    monkeypatch.setattr(
        "coregraft.verification.verify.verify_parts", lambda _, *args, **more: verify_parts(other, *args, **more)
    )
    out = tmp_path / "out.parts"
    done = run("cut", str(known), "-o", str(out), "--at", "a", "--precision", "fp32", "--json")
    assert done.exit_code == 1 and not out.exists()
    assert (tmp_path / "out.parts.failed" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("text", "size"), [("900MB", 900_000_000), ("1.5 GB", 1_500_000_000), ("12", 12), ("3k", 3000), ("7b", 7)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "MB", "9 TB", "-1", "1e9"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_bytes(text)
    assert error.value.code == "cut-size"
