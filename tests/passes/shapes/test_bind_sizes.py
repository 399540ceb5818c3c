"""bind-sizes: numbers that only one value can have, what is folded with them, and what stays open."""

from __future__ import annotations

import numpy as np
import pytest

from coregraft.lowering import targets
from coregraft.rewriter.execute import run
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.manager import PassManager, PipelineResult
from coregraft.rewriter.onnx_io.text import parse
from coregraft.rewriter.target import Target

from .conftest import FLOATS, X, declined, rewritten, vector


def bound(text: str, target: Target | None = None) -> PipelineResult:
    passes = ["infer-shapes", "complete-shapes", "bind-sizes", "eliminate-dead-code"]
    return PassManager(passes, target or targets.get("iOS17")).run(parse(text))


def reads(g: Graph) -> set[str]:
    return {v for _, op in g.ops() for v in op.operands} & set(g.inputs)


@pytest.mark.parametrize(("line", "numbers"), [
    ("y: float[2,6,4] = Tile(x, p)", (1, 2, 1)),
    ("y: float[4,5,6] = ConstantOfShape(p)", (4, 5, 6)),
    ("const a: int64[1] = [0]\nk = Gather(p, a)\nv, i: int64[2,1,4] = TopK(x, k, axis=1)\noutput i", (1, 7, 7)),
    ("const n: int64[] = 3\ne: float[2,6,4] = Expand(f, p)\ny = Neg(e)", (2, 6, 4)),
    ("y: float[2,1,4], z: float[2,0,4], w: float[2,2,4] = Split(x, p, axis=1)\noutput z\noutput w", (1, 0, 2)),
])  # fmt: skip
def test_numbers_are_settled(line: str, numbers: tuple[int, ...]) -> None:
    text = X + "input p: int64[3]\nconst f: float[] = 1.5\n" + line + ("" if "output" in line else "\noutput y") + "\n"
    after = bound(text).graph
    assert "p" not in reads(after)
    feeds = {"x": FLOATS, "p": vector(*numbers)}
    have, want = run(after, feeds), run(parse(text), feeds)
    for value in want:
        np.testing.assert_array_equal(have[value], want[value])


def test_what_is_computed_with_them_is_folded_and_the_report_names_them() -> None:
    """The limit of a Range is the length of another tensor too; an If on it is decided."""
    text = "input n: int64[1]\ninput x: float[5]\nconst a: int64[] = 0\nconst b: int64[] = 1\nl = Squeeze(n)\n"
    text += "r = Range(a, l, b)\nf = Cast(r, to=1)\nc = Equal(l, b)\n"
    text += "s = If(c, then_branch={\n  t = Neg(x)\n  output t\n}, else_branch={\n  e = Abs(x)\n  output e\n})\n"
    text += "y: float[5] = Add(f, f)\noutput y\noutput s\n"
    result = bound(text)
    assert sorted(op.type for _, op in result.graph.ops()) == ["Abs"]
    notes = [note for report in result.reports for note in report.notes]
    assert notes == ['"n" is taken to be [5]: the shapes that the model declares allow nothing else']


@pytest.mark.parametrize("text", [
    X + "input p: int64[3]\ny: float[2,12] = Reshape(x, p)\noutput y\n",
    X + "input p: int64[3]\ny: float[2,3,4] = Expand(x, p)\noutput y\n",
    "input n: int64[]\nconst a: int64[] = 0\nconst b: int64[] = 1\ny: int64[0] = Range(a, n, b)\noutput y\n",
    "input n: int64[]\nconst a: int64[] = 0\nconst b: int64[] = 2\ny: int64[3] = Range(a, n, b)\noutput y\n",
    X + "const p: int64[3] = [1, 2, 1]\ny = Tile(x, p)\noutput y\n",
])  # fmt: skip
def test_what_stays_open(text: str) -> None:
    """-1 and 0 mean something in a target, 1 is as good as the dim, a limit may be odd or negative."""
    assert declined("bind-sizes", text)


def test_only_for_core_ml() -> None:
    text = X + "input p: int64[3]\ny: float[2,6,4] = Tile(x, p)\noutput y\n"
    assert reads(bound(text, Target.any()).graph) == {"x", "p"}
    assert rewritten("bind-sizes", text, {"x": FLOATS, "p": vector(1, 2, 1)}) == ["Tile"]


def test_check_says_so_and_changes_nothing() -> None:
    g = parse(X + "input p: int64[3]\ny: float[2,6,4] = Tile(x, p)\noutput y\n")
    found = PassManager(["infer-shapes", "bind-sizes"], targets.get("iOS17")).check(g)
    assert [(f.code, f.node, f.message) for f in found] == [
        ("CG508", "p", "can only be [1, 2, 1] with the shapes that the model declares.")
    ]
    assert reads(g) == {"x", "p"}
