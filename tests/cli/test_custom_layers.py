"""Custom layers on the command line: ``stubs``, ``--custom-layers`` and ``--own``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from coregraft.cli import main
from coregraft.custom_layers.registry import temporarily
from coregraft.rewriter.onnx_io.save import save
from coregraft.rewriter.onnx_io.text import parse

MODEL = """opset 17
opset com.acme 1
input x: float[2,3]
a = com.acme.Swish(x, beta=2.0) @swish
y = Softmax(a, axis=1) @soft
output y
"""
LAYERS = """[[layer]]
domain = "com.acme"
type = "Swish"
elementwise = "x * sigmoid(beta * x)"
parameters = {beta = "float"}
"""


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    with temporarily():
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(parse(MODEL), tmp_path / "net.onnx")
    (tmp_path / "layers.toml").write_text(LAYERS)
    return tmp_path


def run(*args: str, code: int = 0) -> Any:
    result = CliRunner().invoke(main, [*args, "--json"])
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def test_stubs_writes_a_package_and_keeps_what_was_edited(folder: Path) -> None:
    layers = ("--custom-layers", str(folder / "layers.toml"))
    args = ("stubs", str(folder / "net.onnx"), "-o", str(folder / "Layers"), *layers)
    found = run(*args)["result"]
    assert found["ops"] == [{"op": 'com.acme.Swish "swish"', "class": "ComAcmeSwish"}]
    swift = folder / "Layers/Sources/NetCustomLayers/ComAcmeSwish.swift"
    assert str(swift) in found["written"] and found["kept"] == []
    assert "sigmoid((attributes.beta * x.element(at: position)))" in swift.read_text()
    swift.write_text("// mine\n")
    again = run(*args)["result"]
    assert again["kept"] == [str(swift)] and swift.read_text() == "// mine\n"


def test_stubs_of_owned_ops_and_of_none(folder: Path) -> None:
    common = ("--custom-layers", str(folder / "layers.toml"), "-o", str(folder / "Layers"))
    own = run("stubs", str(folder / "net.onnx"), "--own", "Softmax", *common)["result"]
    assert [entry["class"] for entry in own["ops"]] == ["ComAcmeSwish", "OnnxSoftmax"]
    save(parse("opset 17\ninput x: float[2]\ny = Relu(x)\noutput y\n"), folder / "plain.onnx")
    none = run("stubs", str(folder / "plain.onnx"), "-o", str(folder / "None"))["result"]
    assert none["ops"] == [] and not (folder / "None").exists()


def test_stubs_says_which_shape_is_missing(folder: Path) -> None:
    error = run("stubs", str(folder / "net.onnx"), "-o", str(folder / "Layers"), code=4)["error"]
    assert error["code"] in ("shape-unknown", "type-unknown") and '"a"' in error["message"]


def test_convert_with_a_file_of_layers(folder: Path) -> None:
    args = ("convert", str(folder / "net.onnx"), "-o", str(folder / "out.mlmodel"), "--format", "neuralnetwork")
    assert run(*args, code=4)["error"]["code"] in ("shape-unknown", "type-unknown")
    found = run(*args, "--custom-layers", str(folder / "layers.toml"), "--own", "Softmax")["result"]
    assert [entry["class"] for entry in found["fallbacks"]] == ["ComAcmeSwish", "OnnxSoftmax"]
    assert (folder / "OutCustomLayers/Sources/OutCustomLayers/OnnxSoftmax.swift").exists()


@pytest.mark.parametrize(
    ("text", "code"),
    [("[[layer]]\n", "custom-layers-file"), (LAYERS.replace("beta *", "gamma *"), "custom-layer-expression")],
)
def test_a_file_that_is_wrong(folder: Path, text: str, code: str) -> None:
    (folder / "layers.toml").write_text(text)
    args = ("convert", str(folder / "net.onnx"), "-o", str(folder / "out.mlmodel"), "--format", "neuralnetwork")
    assert run(*args, "--custom-layers", str(folder / "layers.toml"), code=2)["error"]["code"] == code
