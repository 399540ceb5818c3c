"""What the README and the pages beside it say can be done as written."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from coregraft.cli import main
from coregraft.rewriter.onnx_io.save import save
from coregraft.rewriter.onnx_io.text import parse

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
MODEL = (
    "opset 17\ninput x: float[1,2,40,40]\nconst w: float[2,2,3,3] = normal(seed=1)\n"
    "y = Conv(x, w, dilations=[16,16], pads=[16,16,16,16])\ns = Sigmoid(y)\nz = Mul(y, s)\noutput z\n"
)


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a model in it."""
    save(parse(MODEL), tmp_path / "model.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_run_in_their_order(here: Path) -> None:
    lines = [line for line in _blocks("console")[0].splitlines() if line.startswith("$ coregraft ")]
    assert len(lines) >= 6
    for line in lines:
        words = shlex.split(line.removeprefix("$ coregraft "), comments=True)
        result = CliRunner().invoke(main, words)
        assert result.exit_code == (1 if words[0] == "check" else 0), f"{line}\n{result.output}"
    assert {p.name for p in here.iterdir()} >= {"model.mlpackage", "lifted.onnx", "better.onnx"}


def test_the_python_session_runs(here: Path) -> None:
    (session,) = (block for block in _blocks("python") if block.startswith("import coregraft"))
    exec(compile(session, "README.md", "exec"), {})  # our own text
    assert (here / "model.mlpackage").is_dir()


def test_the_rule_is_complete(here: Path) -> None:
    (rule,) = (block for block in _blocks("python") if block.startswith("@dataclass"))
    names: dict[str, object] = {}
    exec("from dataclasses import dataclass\nfrom typing import ClassVar\n"
         "from coregraft import Equivalence, Rule\n" + rule, names)  # fmt: skip
    from coregraft import PassManager, load

    cls = names["FuseSwish"]
    assert isinstance(cls, type)
    done = PassManager([cls()]).run(load("model.onnx")).graph
    assert [op.type for _, op in sorted(done.ops())] == ["Conv", "Swish"]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [t for t in targets if not (page.parent / t).exists()] == []
