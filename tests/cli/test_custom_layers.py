"""Custom layers on the command line: ``stubs``, ``--custom-layers`` and ``--own``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from coregraft.cli import main
from coregraft.custom_layers.registry import temporarily
from coregraft.rewriter.onnx_io.load import load
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


def test_every_command_that_reads_a_model_takes_the_file(folder: Path) -> None:
    """Each of them needs the layer: its type, or what it computes."""
    net, layers = str(folder / "net.onnx"), ("--custom-layers", str(folder / "layers.toml"))
    parts, network = str(folder / "net.parts"), str(folder / "net.mlmodel")
    assert run("cut", net, "-o", parts, code=4)["error"]["code"] == "type-unknown"
    with temporarily():
        assert run("cut", net, "-o", parts, *layers)["result"]["verification"]["ok"]
    assert run("verify", net, parts, code=4)["error"]["code"] == "reference-missing"
    with temporarily():
        assert run("verify", net, parts, *layers)["result"]["ok"]
    with temporarily():
        run("convert", net, "-o", network, "--format", "neuralnetwork", *layers)
    assert run("verify", net, network, code=4)["error"]["code"] == "reference-missing"
    with temporarily():
        found = run("verify", net, network, *layers)["result"]
    assert found["ok"] and found["drift"] is None
    with temporarily():
        plot = run("verify", net, network, *layers, "--plot", str(folder / "drift.svg"), code=2)["error"]
    assert plot["code"] == "plot-unavailable"


def test_a_layer_s_type_lets_rules_see_past_it(folder: Path) -> None:
    text = MODEL.replace("y = Softmax(a, axis=1) @soft\n", "y = Expand(a, [2, 3]) @same\n")
    save(parse(text), folder / "net.onnx")
    args = ("rewrite", str(folder / "net.onnx"), "-o", str(folder / "better.onnx"))
    layers = ("--custom-layers", str(folder / "layers.toml"))
    with temporarily():
        run(*args, *layers)
    assert [op.type for _, op in load(folder / "better.onnx").ops()] == ["Swish"]
    run(*args)
    assert [op.type for _, op in load(folder / "better.onnx").ops()] == ["Swish", "Expand"]


def test_check_says_what_becomes_of_the_op(folder: Path) -> None:
    for format_, says in (("neuralnetwork", "makes custom layers"), ("mlprogram", "cuts the model")):
        result = CliRunner().invoke(main, ["check", str(folder / "net.onnx"), "--format", format_])
        assert result.exit_code == 1 and says in result.stderr


def test_reduce_runs_the_layer_by_its_reference(folder: Path) -> None:
    (folder / "check.py").write_text(
        "import sys, onnx\nsys.exit(any(n.op_type == 'Softmax' for n in onnx.load(sys.argv[1]).graph.node))\n"
    )
    args = ("reduce", str(folder / "net.onnx"), "-o", str(folder / "bundle"))
    check = ("--check", f"{sys.executable} {folder / 'check.py'} {{model}}")
    assert run(*args, *check, code=4)["error"]["code"] == "reference-missing"
    layers = ("--custom-layers", str(folder / "layers.toml"))
    assert run(*args, *check, *layers)["result"]["ops"] == ['Softmax "soft"']
    with np.load(folder / "bundle" / "inputs.npz") as feeds:
        assert feeds.files == ["a"]


@pytest.mark.parametrize("options", [("--format", "neuralnetwork"), ("--format", "mlprogram", "--own", "Softmax")])
def test_reduce_converts_with_layers_and_islands(
    folder: Path, options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    from coremltools.converters.mil.mil import Builder

    text = MODEL.replace("output y\n", "z = Sin(y) @sine\noutput z\n")
    save(parse(text), folder / "net.onnx")
    layers = ("--custom-layers", str(folder / "layers.toml"))
    args = ("reduce", str(folder / "net.onnx"), "-o", str(folder / "bundle"), *layers, *options)
    assert run(*args, code=2)["error"]["code"] == "reduce-passes"
    monkeypatch.setattr(Builder, "sin", Builder.cos)
    assert run(*args)["result"]["ops"] == ['Sin "sine"']
