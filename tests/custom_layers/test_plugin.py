"""A plugin package adds a custom layer: installed, found, typed, converted, run; nothing of coregraft is touched."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from coregraft.custom_layers.registry import registered, temporarily
from coregraft.rewriter import registry
from coregraft.rewriter.registry import Plugin

EXAMPLE = Path(__file__).parent.parent / "example_plugin"

SCRIPT = """
import json, sys
import numpy as np
from coregraft.custom_layers.lifted import LiftedNetwork
from coregraft.lowering.convert import convert
from coregraft.rewriter.onnx_io.text import parse
assert "coregraft_example.layers" not in sys.modules
g = parse('''opset 17
opset org.example 1
input x: float[2,3]
a = org.example.Squash(x, steepness=2.0) @squash
y = Relu(a)
output y
''')
done = convert(g, format="neuralnetwork")
written = done.save("net.mlmodel")
x = np.array([[1.0, -2.0, 0.0], [3.0, 0.5, -0.5]], np.float32)
found = LiftedNetwork("net.mlmodel").run({"x": x})["y"]
np.testing.assert_allclose(found, np.maximum(x / (1 + abs(2 * x)), 0), rtol=1e-6)
print(json.dumps({"classes": [e["class"] for e in done.report.fallbacks], "written": [str(p) for p in written]}))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example plugin installed in it."""
    work = tmp_path_factory.mktemp("plugin")
    shutil.copytree(EXAMPLE, work / "source")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    where = ["--target", str(work / "site"), str(work / "source")]
    subprocess.run([*pip, "--disable-pip-version-check", *where], check=True)
    return work / "site"


def test_an_installed_plugin_adds_a_layer(site: Path, tmp_path: Path) -> None:
    path = [str(site), str(Path(__file__).parents[2])]
    script = f"import sys; sys.path[:0] = {path!r}\n{SCRIPT}"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["classes"] == ["ExampleSquash"]
    swift = tmp_path / "NetCustomLayers/Sources/NetCustomLayers/ExampleSquash.swift"
    assert str(swift.relative_to(tmp_path)) in found["written"]
    assert "TODO" not in swift.read_text()


def test_layers_of_a_plugin_are_loaded_when_they_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    plugin = Plugin("mine", custom_layers={"squash": "coregraft_example.layers:register"})
    with temporarily(), registry.temporarily(plugin):
        assert "mine:squash" not in registry._loaded
        layer = registered("org.example", "Squash")
        assert layer is not None and layer.owner == "coregraft-example"
        assert registered("org.example", "Squash") is layer, "its function is called once"
    assert registered("org.example", "Squash") is None
