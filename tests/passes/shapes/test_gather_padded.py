"""gather-padded: what is cut out of a tensor that was padded to a size which only the run time knows."""

from __future__ import annotations

import pytest

from coregraft.lowering import targets
from coregraft.rewriter.manager import PassManager
from coregraft.rewriter.onnx_io.text import parse

from .conftest import FLOATS, X, declined, rewritten, vector

#: Pad to at least a size, then cut the middle out: the body of CenterCropPad.
MIDDLE = """input s: int64[2]
const a: int64[2] = [{axes}]
const two: int64[1] = [2]
const have: int64[2] = [{sizes}]
m = Max(have, s)
more = Sub(m, have)
front = Div(more, two)
back = Sub(more, front)
pads = Concat(front, back, axis=0)
p = Pad(x, pads, _, a, mode="{mode}")
whole = Shape(p)
there = Gather(whole, a)
less = Sub(there, s)
begin = Div(less, two)
end = Add(begin, s)
y: float[{shape}] = Slice(p, begin, end, a)
output y
"""


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "wrap"])
@pytest.mark.parametrize(("axes", "sizes", "shape", "wanted"), [
    ("1, 2", "3, 4", "2,2,6", (2, 6)), ("1, 2", "3, 4", "2,5,3", (5, 3)), ("-1, 0", "4, 2", "2,3,7", (7, 2)),
])  # fmt: skip
def test_crop_or_pad(mode: str, axes: str, sizes: str, shape: str, wanted: tuple[int, int]) -> None:
    text = X + MIDDLE.format(axes=axes, sizes=sizes, mode=mode, shape=shape)
    after = rewritten("gather-padded eliminate-dead-code", text, {"x": FLOATS, "s": vector(*wanted)})
    assert "Pad" not in after
    assert "Shape" not in after


def test_pads_and_steps_of_both_signs() -> None:
    text = X + "input a: int64[2]\ninput b: int64[1]\ninput e: int64[1]\n"
    text += "const k: int64[1] = [1]\nconst d: int64[1] = [{}]\n"
    text += "p = Pad(x, a, _, k)\ny: float[2,3,4] = Slice(p, b, e, k, d)\noutput y\n"
    backward = {"x": FLOATS, "a": vector(2, 1), "b": vector(-1), "e": vector(-100)}
    assert "Pad" not in rewritten("gather-padded eliminate-dead-code", text.format(-2), backward)
    feeds = [{"x": FLOATS, "a": vector(p, q), "b": vector(b), "e": vector(e)}
             for p, q, b, e in ((1, 1, 1, 4), (-1, 5, 0, 3), (0, 2, -3, 99), (4, 0, 2, -2))]  # fmt: skip
    assert "Slice" not in rewritten("gather-padded eliminate-dead-code", text.format(1), *feeds)[-6:]


def test_a_part_of_the_shape() -> None:
    text = X + "input a: int64[6]\np = Pad(x, a)\n"
    text += "s = Shape(p, start=-2, end=3)\ne = Shape(p, start=2, end=1)\noutput s\noutput e\n"
    rewritten("gather-padded eliminate-dead-code", text, {"x": FLOATS, "a": vector(0, 1, 2, 0, 0, -1)})


def test_only_what_a_declared_shape_settles_is_told_as_trusted() -> None:
    text = X + "input a: int64[6]\ninput b: int64[1]\np = Pad(x, a)\ns = Shape(p)\n"
    text += "e = Add(b, 2)\ny: float[2,3,4] = Slice(p, b, e, [0])\noutput s\noutput y\n"
    reports = PassManager(["infer-shapes", "gather-padded"], targets.get("iOS17")).run(parse(text)).reports
    assert [note.partition(":")[0] for note in reports[-1].notes] == ['"y"']


@pytest.mark.parametrize("line", [
    "p: float[2,3,6] = Pad(x, a)\ny: float[2,2,2] = Slice(p, b, b)",
    "p = Pad(x, a)\ny: float[2,?,2] = Slice(p, b, b)",
    "p = Pad(x, c)\ny: float[2,2,2] = Slice(p, b, b)",
    "y = Slice(x, b, b)",
])  # fmt: skip
def test_what_is_left_alone(line: str) -> None:
    """A size that is known, a result of unknown shape, constant pads, no Pad at all."""
    consts = "input a: int64[6]\ninput b: int64[3]\nconst c: int64[6] = [0, 0, 0, 0, 1, 1]\n"
    assert declined("gather-padded", X + consts + line + "\noutput y\n")
