"""Every pass is catalogued, documented under fixed headings, and has a fixture of its own."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

from coregraft.passes.catalogue import PASSES
from coregraft.rewriter.contract import Pass
from coregraft.rewriter.registry import pass_class

ROOT = Path(__file__).parents[2]
HEADINGS = ("What it does", "Why it matters", "Example", "Equivalence", "Options", "Sources")
PUBLIC = sorted(PASSES)


@pytest.mark.parametrize("name", PUBLIC)
def test_the_docstring_has_the_fixed_headings(name: str) -> None:
    import dataclasses

    cls = pass_class(name)
    text = inspect.cleandoc(cls.__doc__ or "")
    assert text.splitlines()[0].endswith("."), "the summary is one sentence"
    found = [h for h, line in re.findall(r"^(\w[\w ]+)\n(-+)$", text, flags=re.M) if len(line) == len(h)]
    wanted = [h for h in HEADINGS if h != "Options" or dataclasses.fields(cls)]
    assert found == wanted
    for field in dataclasses.fields(cls):
        assert field.name.replace("_", "-") in text, f"option {field.name} is not explained"


@pytest.mark.parametrize("name", PUBLIC)
def test_one_pass_one_file_one_fixture(name: str) -> None:
    folder, stem = PASSES[name].partition(":")[0].split(".")[-2:]
    assert stem == name.replace("-", "_")
    group = folder if folder != "passes" else ""
    assert (ROOT / "tests" / "passes" / group / f"{stem}.txt").is_file(), f"no fixture of {name}"


def test_the_catalogue_is_complete_and_sorted() -> None:
    assert list(PASSES) == sorted(PASSES)
    classes = {}
    for path in sorted((ROOT / "passes").rglob("[!_]*.py")):  # what starts with an underscore is shared, not a pass
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                classes[node.name] = path
    listed = {reference.partition(":")[2] for reference in PASSES.values()}
    for class_name, path in classes.items():
        module = "coregraft." + ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found = getattr(__import__(module, fromlist=[class_name]), class_name)
        if isinstance(found, type) and issubclass(found, Pass) and found.run is not Pass.run:
            assert class_name in listed, class_name
