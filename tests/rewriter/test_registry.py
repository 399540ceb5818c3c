"""Plugins: a real package installed by the test, conflicts, and what is broken."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from coregraft.rewriter.errors import UsageError
from coregraft.rewriter.registry import API, Plugin, Registry, pass_class, registry, temporarily

EXAMPLE = Path(__file__).parent.parent / "example_plugin"


def test_names_of_a_plugin_carry_its_owner() -> None:
    with temporarily(Plugin("mine", passes={"gelu": "coregraft.passes.fuse.fuse_gelu:FuseGelu"})):
        assert pass_class("mine:gelu").__name__ == "FuseGelu"
    assert "mine:gelu" not in registry().items["passes"]


def test_a_conflict_names_both_distributions() -> None:
    known = Registry()
    known.add(Plugin("mine", passes={"a": "x:A"}), "first 1.0")
    known.add(Plugin("mine", passes={"a": "x:A"}), "first 1.0")  # the same thing twice is no conflict
    with pytest.raises(UsageError, match=r"both first 1.0 and second 2.0"):
        known.add(Plugin("mine", passes={"a": "y:A"}), "second 2.0")


def test_another_api_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        Registry().add(Plugin("mine", api=API + 1), "future 1.0")
    assert caught.value.code == "plugin-api"


@pytest.mark.parametrize("reference", ["no_such_module:X", "json:no_such_thing", "json:JSONDecoder"])
def test_a_broken_reference_is_an_error_only_when_used(reference: str) -> None:
    with temporarily(Plugin("mine", passes={"x": reference})), pytest.raises(UsageError) as caught:
        pass_class("mine:x")
    assert caught.value.code == "plugin-broken"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example plugin installed in it, and a broken one beside it."""
    work = tmp_path_factory.mktemp("plugin")
    shutil.copytree(EXAMPLE, work / "source")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    where = ["--target", str(work / "site"), str(work / "source")]
    subprocess.run([*pip, "--disable-pip-version-check", *where], check=True)
    broken = work / "site" / "broken-1.0.dist-info"
    broken.mkdir()
    (broken / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (broken / "entry_points.txt").write_text("[coregraft.plugins]\nbroken = not_there:PLUGIN\n")
    return work / "site"


def run(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = f"import sys; sys.path[:0] = [{str(site)!r}]; from coregraft.cli import main; main()"
    return subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True)


def test_an_installed_plugin_adds_passes_and_a_broken_one_is_a_diagnostic(site: Path) -> None:
    done = run(site, "passes", "--json")
    assert done.returncode == 0, done.stderr
    envelope = json.loads(done.stdout)
    names = {row["name"]: row for row in envelope["result"]["passes"]}
    assert names["example:square-to-mul"]["provider"] == "coregraft-example 1.0"
    assert any("broken 1.0" in warning for warning in envelope["warnings"])


def test_a_plugin_rule_rewrites_a_model(site: Path, tmp_path: Path) -> None:
    from coregraft.rewriter.onnx_io.load import load
    from coregraft.rewriter.onnx_io.save import save
    from coregraft.rewriter.onnx_io.text import parse

    save(parse("input x: float[2]\ny = Pow(x, 2.0)\noutput y\n"), tmp_path / "in.onnx")
    done = run(site, "rewrite", str(tmp_path / "in.onnx"), "-o", str(tmp_path / "out.onnx"),
               "--passes", "example:square-to-mul", "--checked")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [op.type for _, op in load(tmp_path / "out.onnx").ops()] == ["Mul"]
