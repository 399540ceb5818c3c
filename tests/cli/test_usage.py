"""What is wrong with a command line is one clear error, with and without ``--json``, before any work is done."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from coregraft.cli import COMMANDS, main
from coregraft.cli.options import check_folder, check_output, parse_dims, parse_names, parse_shapes
from coregraft.rewriter.errors import CoregraftError
from coregraft.rewriter.onnx_io.save import save
from coregraft.rewriter.onnx_io.text import parse

MODEL = "opset 17\ninput x: float[n,6]\na = Tanh(x) @one\nb = Softmax(a, axis=1) @two\noutput b\n"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def error_of(*arguments: str, exit_code: int = 2) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exit_code == exit_code, result.output
    found = json.loads(result.stdout)
    assert found["status"] == "error" and found["result"] is None
    error: dict[str, Any] = found["error"]
    return error


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    save(parse(MODEL), tmp_path / "m.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["chek"], "Did you mean 'check'?"),
        (["check"], "Missing argument 'MODEL'"),
        (["check", "m.onnx", "--nosuch"], "--nosuch"),
        (["check", "m.onnx", "--format", "nn"], "'nn'"),
        (["convert", "m.onnx"], "'-o'"),
        (["verify", "m.onnx", "m.mlpackage", "--draws", "0"], "1<=x"),
        (["verify", "m.onnx", "m.mlpackage", "--draws", "1" * 20], "x<=1000"),
        (["verify", "m.onnx", "m.mlpackage", "--seed", "-1"], "x>=0"),
        (["explain", "CG101", "--node", "two"], "--node"),
    ],
)
def test_a_wrong_command_line(words: list[str], says: str) -> None:
    error = error_of(*words)
    assert error["code"] == "command-usage" and says in error["message"] and error["hint"]
    result = run(*words)
    assert result.exit_code == 2 and result.stdout == ""
    assert result.stderr.startswith("error: [command-usage] ") and "Hint:" in result.stderr


def test_the_envelope_of_a_wrong_command_line_names_the_command() -> None:
    assert json.loads(run("check", "--nosuch", "--json").stdout)["command"] == "check"
    assert json.loads(run("nosuch", "--json").stdout)["command"] == ""


def test_no_words_at_all_is_a_question_for_help() -> None:
    result = run()
    assert result.exit_code == 0 and all(name in result.stdout for name in COMMANDS)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["rewrite", "m.onnx", "-o", "better.mlpackage"], "output-suffix"),
        (["rewrite", "m.onnx", "-o", ""], "output-suffix"),
        (["rewrite", "m.onnx", "-o", "no/better.onnx"], "output-unwritable"),
        (["convert", "m.onnx", "-o", "m.onnx"], "output-suffix"),
        (["convert", "m.onnx", "-o", "m.mlmodel"], "output-suffix"),
        (["convert", "m.onnx", "-o", "m.parts", "--format", "neuralnetwork"], "output-suffix"),
        (["convert", "m.onnx", "-o", "no/m.mlpackage"], "output-unwritable"),
        (["cut", "m.onnx", "-o", "m.onnx"], "output-suffix"),
        (["cut", "m.onnx", "-o", "no/m.parts"], "output-unwritable"),
        (["cut", "m.onnx", "-o", "m.parts", "--max-bytes", "9" * 400], "cut-size"),
        (["cut", "m.onnx", "-o", "m.parts", "--at", ","], "option-empty"),
        (["convert", "m.onnx", "-o", "m.mlpackage", "--own", ""], "option-empty"),
        (["lift", "m.mlpackage", "-o", "m.txt"], "output-suffix"),
        (["verify", "m.onnx", "m.mlpackage", "--plot", "no/drift.svg"], "output-unwritable"),
        (["verify", "m.onnx", "m.mlpackage", "--plot", "drift.png"], "output-suffix"),
        (["verify", "m.onnx", "m.mlpackage", "--plot", "drift.svg", "--no-layers"], "plot-unavailable"),
        (["verify", "m.onnx", "m.mlpackage", "--tolerance", "nan"], "tolerance-invalid"),
        (["verify", "m.onnx", "m.mlpackage", "--tolerance", "-1"], "tolerance-invalid"),
        (["verify", "m.onnx", "m.mlpackage", "--device", "npu"], "device-unknown"),
        (["check", "m.onnx", "--select", "CG1,ZZ"], "rule-unknown"),
        (["check", "m.onnx", "--ignore", " "], "option-empty"),
        (["reduce", "m.onnx", "-o", "bundle", "--check", "true"], "check-command"),
        (["reduce", "m.onnx", "-o", "bundle", "--check", "open ' {model}"], "check-command"),
        (["reduce", "m.onnx", "-o", "m.onnx"], "output-unwritable"),
        (["reduce", "m.onnx", "-o", "m.onnx/bundle"], "output-unwritable"),
        (["stubs", "m.onnx", "-o", ""], "output-unwritable"),
        (["demo", "--output", "m.onnx"], "output-unwritable"),
        (["reduce", "m.onnx", "-o", "bundle", "--target", "iOS99"], "target-unknown"),
    ],
)
def test_what_cannot_be_is_told_before_the_work(
    words: list[str], code: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for reader in ("coregraft.rewriter.onnx_io.load.load", "coregraft.lowering.lift.lift"):
        monkeypatch.setattr(reader, lambda *_, **__: pytest.fail("it has begun to read"))
    assert error_of(*words)["code"] == code
    assert [p.name for p in here.iterdir()] == ["m.onnx"]


@pytest.mark.parametrize(
    "words", [["rewrite", "m.onnx", "-o", "better.onnx"], ["stubs", "m.onnx", "-o", "Layers"], ["demo"]]
)
def test_a_folder_that_may_not_be_written_to(words: list[str], here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, _: Path(path).resolve() != here)
    assert error_of(*words)["code"] == "output-unwritable"


def test_a_folder_that_is_there_is_written_into(here: Path) -> None:
    (here / "out").mkdir()
    for path in ("out", "out/new/deep", "."):
        check_folder(path)
    (here / "out" / "link.onnx").symlink_to("nowhere")
    check_output("out/link.onnx", ".onnx")


@pytest.mark.parametrize("content", [b"not zipped", b""])
def test_inputs_that_are_none(content: bytes, here: Path) -> None:
    (here / "x.npz").write_bytes(content)
    (here / "m.mlpackage").mkdir()
    error = error_of("verify", "m.onnx", "m.mlpackage", "--inputs", "x.npz", exit_code=3)
    assert error["code"] == "inputs-unreadable" and "savez" in error["hint"]
    np.savez(here / "o.npz", x=np.array([{}], object))
    error = error_of("verify", "m.onnx", "m.mlpackage", "--inputs", "o.npz", exit_code=3)
    assert error["code"] == "inputs-unreadable" and "pickle" not in error["message"]
    error = error_of("verify", "m.onnx", "m.mlpackage", "--inputs", "none.npz", exit_code=3)
    assert error["message"] == "cannot be read: No such file or directory"


def test_explain_of_an_op_that_is_not_there_says_where_the_rule_starts() -> None:
    result = run("explain", "fuse-gelu", "m.onnx")
    assert result.exit_code == 0 and "starts at" in result.stdout and "Mul" in result.stdout
    assert "CG000" in run("explain", "cg000").stdout


def test_a_search_for_passes_that_finds_none_says_so() -> None:
    assert run("passes", "zzz").stdout == 'no pass has "zzz" in its name, code or summary\n'


def test_dims() -> None:
    assert parse_dims(["n=2", "a=b=3", "n=2"]) == {"n": 2, "a=b": 3}
    assert parse_dims(["n=1", "m=" + "9" * 18]) == {"n": 1, "m": 10**18 - 1}
    for text in ("n", "=2", "n=", "n=0", "n=-1", "n=1.5", "n=" + "9" * 5000):
        with pytest.raises(CoregraftError, match="dim-syntax") as caught:
            parse_dims([text])
        assert len(caught.value.message) < 120
    with pytest.raises(CoregraftError, match="as 2 and as 3"):
        parse_dims(["n=2", "n=3"])


def test_shapes() -> None:
    assert parse_shapes(["x=1, 3,224", "s="]) == {"x": (1, 3, 224), "s": ()}
    for text in ("x", "=1", "x=1,,2", "x=a", "x=1;2", "x=" + "9" * 5000):
        with pytest.raises(CoregraftError, match="shape-syntax"):
            parse_shapes([text])
    with pytest.raises(CoregraftError, match="shape-syntax"):
        parse_shapes(["x=1", "x=2"])


def test_names() -> None:
    assert parse_names("--at", ["b, a", "b,c,"]) == ("b", "a", "c")
    assert parse_names("--at", []) == ()


def test_an_interrupted_command_is_no_finding_and_leaves_nothing(here: Path) -> None:
    script = (
        "import signal, time, pathlib, coregraft.lowering.convert as c\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored in what a shell runs in the background
        "def convert(*_, **__):\n"
        "    pathlib.Path('begun').touch(); time.sleep(60)\n"
        "c.convert = convert\n"
        "from coregraft.cli import main\n"
        "main(['convert', 'm.onnx', '-o', 'm.mlpackage', '--json'])\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    for _ in range(600):
        if (here / "begun").exists():
            break
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    out, _ = child.communicate(timeout=30)
    assert child.returncode == 130
    assert json.loads(out)["error"]["code"] == "run-interrupted"
    assert sorted(p.name for p in here.iterdir()) == ["begun", "m.onnx"]


def test_every_file_that_was_written_is_told(here: Path) -> None:
    g = parse("opset 17\ninput x: float[2]\nconst w: float[2] = [1.0, 2.0]\ny = Mul(x, w)\noutput y\n")
    save(g, here / "w.onnx", external_threshold=1)
    result = run("rewrite", "w.onnx", "-o", "out.onnx", "--json")
    assert json.loads(result.stdout)["result"]["written"] == ["out.onnx"], "the weights are there already"
    (here / "other").mkdir()
    result = run("rewrite", "w.onnx", "-o", "other/out.onnx")
    assert result.exit_code == 0 and "wrote other/w.onnx.data (8 bytes)" in result.stdout
