"""docs/errors.md lists every error code of the source, and nothing else."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("rewriter", "passes", "lowering", "custom_layers", "verification", "coregraft/cli")
CODE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)+|adjacency|captures")


def codes_of_the_source() -> set[str]:
    found: set[str] = set()
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                    name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                    text = node.args[0].value
                    if (name.endswith("Error") or name == "__init__") and isinstance(text, str):
                        found.update([text] if CODE.fullmatch(text) else [])
    return found


def test_the_page_is_complete() -> None:
    listed = re.findall(r"^\| `([a-z0-9-]+)` \|", (ROOT / "docs" / "errors.md").read_text(), flags=re.M)
    assert len(listed) == len(set(listed)), "a code is listed twice"
    in_source = codes_of_the_source()
    assert in_source - set(listed) == set(), "codes without a line in docs/errors.md"
    # Codes that are passed on in variables do not show in a call; they are few and known.
    assert set(listed) - in_source <= {"pass-failed"}
