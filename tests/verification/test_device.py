"""Running in Core ML itself: the child process is replaced, since nothing here has one."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import coregraft as cg
from coregraft.rewriter.errors import CoregraftError
from coregraft.rewriter.onnx_io.text import parse
from coregraft.verification import device
from coregraft.verification.verify import verify

#: Stands in for Core ML: doubles its input, the output called y.
DOUBLES = """
import sys, numpy, pathlib
for path in sorted(pathlib.Path(sys.argv[2]).glob("in*.npz")):
    feed = numpy.load(path)
    assert sys.argv[3] == "CPU_AND_NE"
    numpy.savez(path.with_name(path.name.replace("in", "out", 1)), y={factor} * feed["x"])
"""
DIES = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
REFUSES = "import sys; sys.exit('Core ML: no such layer')"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    g = parse("input x: float[2,3]\ny = Mul(x, 2.0)\noutput y\n")
    cg.save(g, tmp_path / "m.onnx")
    cg.convert(tmp_path / "m.onnx", precision="fp32").save(tmp_path / "m.mlpackage")
    return tmp_path / "m.mlpackage"


def replace_child(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    (folder / "child.py").write_text(script)
    monkeypatch.setattr(device, "CHILD", (sys.executable, str(folder / "child.py")))
    monkeypatch.setattr(sys, "platform", "darwin")


@pytest.mark.parametrize(("factor", "ok"), [(2.0, True), (2.1, False)])
def test_a_device_stands_beside_the_estimate(
    package: Path, monkeypatch: pytest.MonkeyPatch, factor: float, ok: bool
) -> None:
    replace_child(monkeypatch, package.parent, DOUBLES.format(factor=factor))
    done = verify(package.parent / "m.onnx", package, devices=["ane"], layers=False)
    assert done.outputs[0].ok
    assert done.devices["ane"][0].ok is ok
    assert done.ok is ok
    assert done.as_dict()["devices"]["ane"][0]["name"] == "y"


@pytest.mark.parametrize(("script", "why"), [(DIES, "SIGKILL"), (REFUSES, "no such layer")])
def test_a_child_that_fails_is_an_error(
    package: Path, monkeypatch: pytest.MonkeyPatch, script: str, why: str
) -> None:
    replace_child(monkeypatch, package.parent, script)
    with pytest.raises(CoregraftError, match=why) as caught:
        verify(package.parent / "m.onnx", package, devices=["all"])
    assert caught.value.code == "device-failed"


def test_unknown_and_unavailable_devices(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CoregraftError) as caught:
        device.predict(package, [{"x": np.zeros((2, 3), np.float32)}], "tpu")
    assert caught.value.code == "device-unknown"
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(CoregraftError) as caught:
        device.predict(package, [{"x": np.zeros((2, 3), np.float32)}], "cpu")
    assert caught.value.code == "device-unavailable"


@pytest.mark.parametrize(("format", "suffix"), [("mlprogram", ".mlpackage"), ("neuralnetwork", ".mlmodel")])
def test_what_needs_the_app_s_classes_runs_on_no_device(
    format: str, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(device, "predict", lambda *_: pytest.fail("it has begun"))
    g = parse("opset com.acme 1\ninput x: float[2,3]\na: float[2,3] = com.acme.Op(x)\ny = Mul(a, 2.0)\noutput y\n")
    (package, *_) = cg.convert(g, format=format).save(tmp_path / f"m{suffix}")
    assert verify_code(g, package, ["ane"]) == "device-unavailable"
    assert verify_code(g, package, []) == "reference-missing"


def verify_code(g: cg.Graph, package: Path, devices: list[str]) -> str:
    with pytest.raises(CoregraftError) as caught:
        verify(g, package, devices=devices)
    return caught.value.code
