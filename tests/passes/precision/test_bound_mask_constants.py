"""Ways from a mask to a softmax, one op each; and what the report says of a mask that is left alone."""

import pytest

from coregraft.passes.precision.bound_mask_constants import BoundMaskConstants
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.manager import PassManager
from coregraft.rewriter.onnx_io.text import parse
from coregraft.rewriter.passes import Context

#: What is done to a mask ``k: float[3,3]`` that is added to scores in the end.
WAYS = {
    "Add": "m = Add(s, k)", "Sub": "m = Sub(k, s)", "Mul": "m = Mul(k, p)", "Max": "m = Max(k, s)",
    "Min": "m = Min(k, s)", "Where": "m = Where(b, s, k)", "Where, first": "m = Where(b, k, s)",
    "Cast": "h = Cast(k, to=11)\nm = Cast(h, to=1)", "Identity": "m = Identity(k)", "Expand": "m = Expand(k, [3,3])",
    "Tile": "m = Tile(k, [1,1])", "Reshape": "m = Reshape(k, [3,3])", "Unsqueeze": "m = Unsqueeze(k, [0])",
    "Squeeze": "u = Unsqueeze(k, [0])\nm = Squeeze(u, [0])", "Transpose": "m = Transpose(k)",
    "Slice": "m = Slice(k, [0], [3])", "Concat": "c = Concat(k, k, axis=1)\nm = Slice(c, [0], [3], [1])",
    "Gather": "m = Gather(k, [2,1,0], axis=1)",
}  # fmt: skip
#: What ends the way: there the mask is not merely added to scores.
ENDS = ("Abs(k)", "Exp(k)", "Neg(k)", "MatMul(k, s)", "Div(k, s)", "ReduceMax(k, keepdims=1)", "Relu(k)")
HEAD = """input s: float[3,3]
input p: float[3,3]
input b: bool[3,3]
const c0: bool[3,3] = [true, false, false, true, true, false, true, true, true]
k = Where(c0, 0.0, -1e9) @mask
"""


def model(way: str) -> Graph:
    return parse(f"{HEAD}{way}\nt = Add(s, m)\ny = Softmax(t, axis=-1)\noutput y")


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_ways_to_a_softmax(way: str) -> None:
    result = PassManager("bound-mask-constants").run(model(way))
    lowest = min(float(c.numpy().min()) for v in result.graph.values() if (c := result.graph.const(v)) is not None)
    assert -40000 <= lowest < -1
    assert result.reports[-1].counts["masks"] == 1


@pytest.mark.parametrize("end", ENDS)
def test_other_ways(end: str) -> None:
    result = PassManager("bound-mask-constants").run(model(f"m = {end}"))
    assert not result.reports[-1].changed
    kind = end.partition("(")[0]
    assert any("is left alone: it reaches " + kind in note for note in result.reports[-1].notes)


@pytest.mark.parametrize("start", ["Div(s, -1e9)", "PRelu(s, -1e9)", "mine.Add(s, -1e9)", "Concat(s, e, axis=0)"])
def test_constants_that_are_no_masks(start: str) -> None:
    """A divisor, a slope, an operand of who knows what, and no number at all."""
    text = f"opset 24\nopset mine 1\ninput s: float[3,3]\nconst e: float[0,3] = []\nm: float[3,3] = {start}\n"
    result = PassManager("bound-mask-constants").run(parse(f"{text}y = Softmax(m, axis=-1)\noutput y"))
    assert not result.reports[-1].changed


@pytest.mark.parametrize(
    ("lines", "lowest"),
    [
        ("a = Add(s, [0.0, -1e9, 0.0])\nb = Add(a, [0.0, 0.0, -1e30])", [-20000.0] * 2),
        ("a = Add(s, [-1e9])\nb0 = Add([-1e9], a)\nc = Add(b0, [-1e9])\nb = Add(c, [-1e9])", [-10000.0] * 4),
        ("a = Where(c0, s, -1e9)\nb = Where(c1, -1e9, a)", [-40000.0] * 2),  # one or the other
        ("a = Where(c0, 0.0, -1e9)\nd = Where(c1, a, -1e9)\nb = Add(s, d)", [-40000.0] * 2),
        ("a = Where(c0, 0.0, -1e9)\nd = Where(c1, a, -1e9)\ne = Add(s, d)\nb = Add(e, a)", [-20000.0] * 2),
    ],
)
def test_masks_that_add_up_share_the_limit(lines: str, lowest: list[float]) -> None:
    head = "input s: float[3]\ninput c0: bool[3]\ninput c1: bool[3]\n"
    g = PassManager("bound-mask-constants").run(parse(f"{head}{lines}\ny = Softmax(b, axis=-1)\noutput y")).graph
    bounded = [float(c.numpy().min()) for v in g.values() if (c := g.const(v)) is not None]
    assert [low for low in bounded if low] == lowest


def test_the_finding_names_the_op_and_the_constant() -> None:
    g = PassManager("infer-shapes").run(model("m = Identity(k)")).graph
    (found,) = BoundMaskConstants().check(g, Context())
    assert (found.code, found.node) == ("CG301", 'Where "mask"')
    assert found.message.startswith("mask constant ") and found.message.endswith("overflows half precision")
