"""Every spelling of HardSwish and HardSigmoid, and what looks like one of them."""

import itertools

import pytest

from coregraft.rewriter.manager import PassManager
from coregraft.rewriter.onnx_io.text import parse

#: ``c``, x + 3 between 0 and 6.
CLIPS = {
    "Clip": "a = Add(x, 3.0)\nc = Clip(a, 0.0, 6.0)",
    "Min": "a = Add(3.0, x)\nr = Relu(a)\nc = Min(r, 6.0)",
}
SIGMOIDS = {"c / 6": "y = Div(c, 6.0)", "c * sixth": "y = Mul(c, 0.16666667)"}
SWISHES = {
    "(x c) / 6": "p = Mul(x, c)\ny = Div(p, 6.0)",
    "(x c) sixth": "p = Mul(c, x)\ny = Mul(p, 0.16666667)",
    "(x / 6) c": "p = Div(x, 6.0)\ny = Mul(p, c)",
    "(x sixth) c": "p = Mul(x, 0.16666667)\ny = Mul(c, p)",
    "x (c / 6)": "p = Div(c, 6.0)\ny = Mul(p, x)",
    "x (c sixth)": "p = Mul(c, 0.16666667)\ny = Mul(x, p)",
}


def fused(*lines: str) -> list[str]:
    """The types of the ops that are left."""
    text = "\n".join(("input x: float[2,50]", *lines, "output y"))
    return [op.type for _, op in PassManager("fuse-hard-swish", checked=True).run(parse(text)).graph.ops()]


@pytest.mark.parametrize(("clip", "product"), list(itertools.product(CLIPS, SWISHES)))
def test_hard_swish(clip: str, product: str) -> None:
    assert fused(CLIPS[clip], SWISHES[product]) == ["HardSwish"]


@pytest.mark.parametrize(("clip", "quotient"), list(itertools.product(CLIPS, SIGMOIDS)))
def test_hard_sigmoid(clip: str, quotient: str) -> None:
    assert fused(CLIPS[clip], SIGMOIDS[quotient]) == ["HardSigmoid"]


def test_the_hard_sigmoid_of_another_value_stays_a_factor() -> None:
    left = fused(CLIPS["Clip"], "p = Div(c, 6.0)\nz = Abs(x)\ny = Mul(z, p)")
    assert sorted(left) == ["Abs", "HardSigmoid", "Mul"]


@pytest.mark.parametrize(
    ("old", "new"),
    [("3.0", "2.0"), ("6.0)\np", "5.0)\np"), ("0.0", "-1.0"), ("(p, 6.0)", "(p, 5.0)"), ("Div(p, 6.0)", "Div(6.0, p)")],
)
def test_near_misses(old: str, new: str) -> None:
    text = f"{CLIPS['Clip']}\n{SWISHES['(x c) / 6']}"
    assert old in text
    assert not {"HardSwish", "HardSigmoid"} & set(fused(text.replace(old, new)))


@pytest.mark.parametrize("attrs", ["alpha=0.16667, beta=0.5", "alpha=0.16666667, beta=0.6"])
def test_a_hard_sigmoid_of_another_slope_or_height(attrs: str) -> None:
    assert fused(f"h = HardSigmoid(x, {attrs})", "y = Mul(x, h)") == ["HardSigmoid", "Mul"]
