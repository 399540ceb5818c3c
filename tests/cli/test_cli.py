"""The command line: envelopes, exit codes, errors, and that nothing is left half-written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from coregraft.cli import COMMANDS, main
from coregraft.rewriter.errors import UnsupportedError
from coregraft.rewriter.onnx_io.load import load
from coregraft.rewriter.onnx_io.save import save
from coregraft.rewriter.onnx_io.text import parse

CLEAN = (
    "input x: float[1,3,8,8]\nconst w: float[4,3,3,3] = normal(seed=1)\n"
    "y = Conv(x, w) @conv\nz = Relu(y)\noutput z\n"
)
FLEXIBLE = CLEAN.replace("float[1,3,8,8]", "float[batch,3,H,W]")
DILATED = (
    "input x: float[1,2,40,40]\nconst w: float[2,2,3,3] = normal(seed=1)\n"
    "y = Conv(x, w, dilations=[16,16], pads=[16,16,16,16]) @far\nz = Relu(y)\noutput z\n"
)
CUSTOM = (
    "opset com.example 1\ninput x: float[1,3,4,4]\n"
    "y: float[1,3,4,4] = com.example.Wobble(x, gain=2.0) @w\noutput y\n"
)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def envelope(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.stdout)
    assert set(found) == {"schema_version", "command", "status", "result", "warnings", "error"}
    assert found["schema_version"] == 1
    return found


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return written(tmp_path, CLEAN)


def written(folder: Path, text: str, name: str = "model.onnx") -> Path:
    save(parse("opset 17\n" + text), folder / name)
    return folder / name


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_help(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "--json" in result.output


def test_an_unknown_command_suggests_one() -> None:
    result = run("convrt")
    assert result.exit_code == 2
    assert "Did you mean 'convert'" in result.output


def test_check_of_a_clean_model(model: Path) -> None:
    result = run("check", str(model))
    assert result.exit_code == 0
    assert result.stdout == ""


def test_check_finds_a_dilated_convolution(tmp_path: Path) -> None:
    model = written(tmp_path, DILATED)
    result = run("check", str(model), "--json")
    assert result.exit_code == 1
    found = envelope(result)
    assert found["status"] == "findings"
    assert [(f["code"], f["node"]) for f in found["result"]["findings"]] == [("CG101", 'Conv "far"')]
    assert "121x" in found["result"]["findings"][0]["message"]
    assert run("check", str(model), "--ignore", "CG1").exit_code == 0
    assert run("check", str(model), "--select", "CG3,CG2").exit_code == 0
    assert run("check", str(model), "--select", "cg101").exit_code == 1


def test_check_names_ops_without_lowering(tmp_path: Path) -> None:
    result = run("check", str(written(tmp_path, CUSTOM)), "--json")
    assert result.exit_code == 1
    assert [(e["code"], e["node"]) for e in envelope(result)["result"]["refusals"]] == [
        ("op-no-lowering", 'com.example.Wobble "w"')
    ]


def test_check_tells_what_an_emitter_refuses(tmp_path: Path) -> None:
    text = "input x: float[2,8]\ny = Reshape(x, [1,1,2,1,2,4])\nz = Add(y, 1.0)\noutput z\n"
    result = run("check", str(written(tmp_path, text)))
    assert result.exit_code == 1
    assert "CG000" in result.stdout


def test_check_tells_where_and_what_helps_once(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        UnsupportedError("one-code", "it is so", node="Conv here", hint="do this"),
        UnsupportedError("two-code", "Conv here: it is so", node="Conv here"),
        UnsupportedError("three-code", "all of it is so"),
    ]
    monkeypatch.setattr("coregraft.lowering.rehearsal.refusals", lambda *_: found)
    result = run("check", str(model))
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "CG000  one-code  x1", "    Conv here: it is so", "    hint: do this",
        "CG000  two-code  x1", "    Conv here: it is so", "CG000  three-code  x1", "    all of it is so",
    ]  # fmt: skip
    many = [UnsupportedError("one-code", f"it is {i}") for i in range(7)]
    monkeypatch.setattr("coregraft.lowering.rehearsal.refusals", lambda *_: many)
    assert run("check", str(model)).stdout.splitlines()[5:] == ["    it is 4", "    ... and 2 more (--all)"]
    assert run("check", str(model), "--all").stdout.splitlines()[5:] == ["    it is 4", "    it is 5", "    it is 6"]
    monkeypatch.setattr("coregraft.lowering.rehearsal.refusals", lambda *_: found)
    assert "`coregraft convert` mends them" not in result.stderr and "CG000 x3" in result.stderr
    assert run("check", str(model), "--ignore", "CG000").exit_code == 0
    assert run("check", str(model), "--select", "CG1").exit_code == 0
    assert run("check", str(model), "--select", "cg0").exit_code == 1


def test_check_of_open_sizes_warns_that_it_cannot_tell_all(tmp_path: Path) -> None:
    model = written(tmp_path, FLEXIBLE)
    result = run("check", str(model), "--json")
    assert result.exit_code == 0
    assert "--dim batch=VALUE" in envelope(result)["warnings"][0]
    sizes = ("--dim", "batch=1", "--dim", "H=8", "--dim", "W=8")
    assert not envelope(run("check", str(model), *sizes, "--json"))["warnings"]


def test_rewrite_writes_onnx(tmp_path: Path) -> None:
    model, out = written(tmp_path, DILATED), tmp_path / "out.onnx"
    result = run("rewrite", str(model), "-o", str(out), "--checked", "--diff", "--json")
    assert result.exit_code == 0, result.output
    assert "-y" in envelope(result)["result"]["diff"]
    assert not [op for _, op in load(out).ops() if max(op.attrs.get("dilations", (1,))) > 1]


def test_rewrite_with_chosen_passes(tmp_path: Path) -> None:
    model, out = written(tmp_path, DILATED), tmp_path / "out.onnx"
    spec = "replace-dilated-conv{strategy=keep},cleanup"
    done = run("rewrite", str(model), "-o", str(out), "--passes", spec, "--json")
    assert envelope(done)["result"]["pipeline"] == spec
    assert any(op.attrs.get("dilations") == (16, 16) for _, op in load(out).ops())


@pytest.mark.parametrize(("precision", "dtype"), [("fp16", "fp16"), ("fp32", "fp32")])
def test_convert_writes_a_package(model: Path, tmp_path: Path, precision: str, dtype: str) -> None:
    out = tmp_path / "out.mlpackage"
    result = run("convert", str(model), "-o", str(out), "--precision", precision, "--json")
    assert result.exit_code == 0, result.output
    found = envelope(result)["result"]
    assert found["written"] == [str(out)]
    assert found["precision"] == dtype
    assert (out / "Manifest.json").exists()


def test_convert_is_the_same_every_time(model: Path, tmp_path: Path) -> None:
    contents = []
    for name in ("a", "b"):
        out = tmp_path / f"{name}.mlpackage"
        assert run("convert", str(model), "-o", str(out)).exit_code == 0
        contents.append({p.relative_to(out): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()})
    assert contents[0] == contents[1]


def test_convert_pins_dims_and_shapes(tmp_path: Path) -> None:
    model, out = written(tmp_path, FLEXIBLE), tmp_path / "out.mlpackage"
    refused = run("convert", str(model), "-o", str(out), "--json")
    assert refused.exit_code == 4
    assert envelope(refused)["error"]["code"] == "dims-unpinned"
    assert not out.exists()
    assert run("convert", str(model), "-o", str(out), "--dim", "batch=1", "--dim", "H=8", "--dim", "W=8").exit_code == 0
    assert run("convert", str(model), "-o", str(out), "--shape", "x=1,3,9,9").exit_code == 0


def test_a_custom_op_is_refused_or_becomes_a_layer(tmp_path: Path) -> None:
    model = written(tmp_path, CUSTOM)
    refused = run("convert", str(model), "-o", str(tmp_path / "out.mlpackage"), "--fallback", "error", "--json")
    assert refused.exit_code == 4
    error = envelope(refused)["error"]
    assert (error["code"], "com.example.Wobble" in error["message"]) == ("op-no-lowering", True)
    out = tmp_path / "out.mlmodel"
    done = run("convert", str(model), "-o", str(out), "--format", "neuralnetwork", "--json")
    assert done.exit_code == 0, done.output
    found = envelope(done)
    names = {Path(p).relative_to(tmp_path).as_posix() for p in found["result"]["written"]}
    sources = "OutCustomLayers/Sources/OutCustomLayers"
    assert {"out.mlmodel", "OutCustomLayers/Package.swift", f"{sources}/ComExampleWobble.swift"} <= names
    assert found["warnings"]


BAD: dict[str, tuple[Sequence[str], int, str]] = {
    "missing file": (("convert", "nowhere.onnx"), 3, "file-not-found"),
    "unknown target": (("convert", "MODEL", "--target", "iOS3"), 2, "target-unknown"),
    "dim that is not there": (("convert", "MODEL", "--dim", "nope=3"), 2, "dim-unknown"),
    "unreadable dim": (("convert", "MODEL", "--dim", "batch"), 2, "dim-syntax"),
    "two sizes for one dim": (("convert", "MODEL", "--dim", "b=1", "--dim", "b=2"), 2, "dim-syntax"),
    "unreadable shape": (("convert", "MODEL", "--shape", "x=1,a"), 2, "shape-syntax"),
    "input that is not there": (("convert", "MODEL", "--shape", "q=1"), 2, "input-unknown"),
    "unknown pass": (("convert", "MODEL", "--passes", "no-such-pass"), 2, "pass-unknown"),
    "wrong suffix": (("convert", "MODEL", "-o", "out.onnx"), 2, "output-suffix"),
    "rewrite of a missing file": (("rewrite", "nowhere.onnx"), 3, "file-not-found"),
    "check of a missing file": (("check", "nowhere.onnx"), 3, "file-not-found"),
    "unknown rule": (("explain", "CG999"), 2, "rule-unknown"),
    "unknown pass to explain": (("explain", "no-such-pass"), 2, "pass-unknown"),
}


@pytest.mark.parametrize("case", sorted(BAD))
def test_bad_requests_are_one_clear_error(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, CLEAN, "MODEL")
    arguments, exit_code, code = BAD[case]
    output = ["-o", "out.mlpackage" if arguments[0] == "convert" else "out.onnx"]
    extra = [] if arguments[0] in ("check", "explain") or "-o" in arguments else output
    result = run(*arguments, *extra, "--json")
    assert (result.exit_code, envelope(result)["error"]["code"]) == (exit_code, code)
    assert [p.name for p in tmp_path.iterdir()] == ["MODEL"]
    plain = run(*arguments, *extra)
    assert plain.exit_code == exit_code
    assert f"[{code}]" in plain.stderr
    assert "Traceback" not in plain.output


def test_unwritable_output(model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for command, name in (("convert", "m.mlpackage"), ("rewrite", "m.onnx")):
        result = run(command, str(model), "-o", str(tmp_path / "file" / name), "--json")
        assert envelope(result)["error"]["code"] == "output-unwritable"
        assert result.exit_code in (2, 3)


@pytest.mark.parametrize("content", [b"", b"hello\n", b"\x08\x08\x12\xff\xff\xff"])
def test_a_file_that_is_no_model(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(content)
    result = run("convert", str(tmp_path / "bad.onnx"), "-o", str(tmp_path / "out.mlpackage"), "--json")
    assert result.exit_code == 3, result.output
    assert envelope(result)["error"]["code"] in ("model-not-onnx", "model-truncated")
    assert not (tmp_path / "out.mlpackage").exists()


def test_passes_and_explain() -> None:
    found = envelope(run("passes", "--json"))["result"]["passes"]
    assert {"replace-dilated-conv", "fuse-gelu"} <= {row["name"] for row in found}
    assert "CG101" in run("passes", "dilated").stdout
    assert "Why it matters" in run("explain", "CG101").stdout
    assert "What it does" in run("explain", "fuse-pad-conv").stdout


def test_explain_says_why_a_rule_does_not_fire(tmp_path: Path) -> None:
    model = written(tmp_path, CLEAN)
    result = run("explain", "fuse-conv-bias", str(model), "--node", "z")
    assert "is not a root of fuse-conv-bias" in result.stdout
    result = run("explain", "replace-dilated-conv", str(model), "--node", "conv")
    assert "attribute dilations" in result.stdout


def test_demo(tmp_path: Path) -> None:
    result = run("demo", "--output", str(tmp_path / "demo"), "--json")
    assert result.exit_code == 0, result.output
    found = envelope(result)["result"]
    assert {"CG101", "CG207", "CG301", "CG303", "CG305"} <= {f["code"] for f in found["findings"]}
    assert "com.example.Wobble" in found["refused"]
    assert [row["ratio"] for row in found["dilated"]] == [9.0, pytest.approx(32.1, abs=0.1), 121.0]
    names = {Path(p).name for p in found["written"]}
    layer = {"demo.mlmodel", "ComExampleWobble.swift"}
    assert names >= {"demo.onnx", "demo-supported.onnx", "demo-supported.mlpackage"} | layer
    assert all(Path(p).exists() for p in found["written"])


def test_the_demo_model_survives_its_pipeline_numerically() -> None:
    from coregraft.cli.demo_model import demo_model
    from coregraft.passes.pipelines import rewrite_pipeline
    from coregraft.rewriter.manager import PassManager

    done = PassManager(rewrite_pipeline(), checked=True).run(demo_model(with_unsupported=False))
    assert not [n for r in done.reports for n in r.notes if "not checked" in n]
