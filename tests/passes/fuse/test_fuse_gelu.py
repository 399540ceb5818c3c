"""Every spelling of GELU in every grouping of its half, and what is no GELU though it looks like one."""

import itertools

import pytest

from coregraft.rewriter.graph import Graph
from coregraft.rewriter.manager import PassManager
from coregraft.rewriter.onnx_io.text import parse

#: ``h``, half of ``x`` times ``s``, in every grouping.
HALVES = {
    "(x s) 0.5": "t = Mul(x, s)\ny = Mul(t, 0.5)",
    "(s x) 0.5": "t = Mul(s, x)\ny = Mul(0.5, t)",
    "(x s) / 2": "t = Mul(s, x)\ny = Div(t, 2.0)",
    "(x 0.5) s": "t = Mul(x, 0.5)\ny = Mul(t, s)",
    "(x / 2) s": "t = Div(x, 2.0)\ny = Mul(s, t)",
    "x (s 0.5)": "t = Mul(s, 0.5)\ny = Mul(x, t)",
    "x (s / 2)": "t = Div(s, 2.0)\ny = Mul(t, x)",
}
#: ``s``, one plus the error function.
ERFS = {
    "erf(x / r)": "a = Div(x, 1.4142135)\nb = Erf(a)\ns = Add(b, 1.0)",
    "erf(x * r)": "a = Mul(x, 0.70710677)\nb = Erf(a)\ns = Add(1.0, b)",
    "1 - erf(x / -r)": "a = Div(x, -1.4142135)\nb = Erf(a)\ns = Sub(1.0, b)",
    "1 - erf(x * -r)": "a = Mul(x, -0.70710677)\nb = Erf(a)\ns = Sub(1.0, b)",
    "1 - erf(-(x / r))": "a = Div(x, 1.4142135)\nn = Neg(a)\nb = Erf(n)\ns = Sub(1.0, b)",
}
#: ``c``, 0.044715 times the cube, and ``s``, one plus the hyperbolic tangent.
CUBES = {
    "Pow": "p = Pow(x, 3.0)\nc = Mul(p, 0.044715)",
    "(x x) x": "p = Mul(x, x)\nq = Mul(p, x)\nc = Mul(0.044715, q)",
    "x^2 x": "p = Pow(x, 2.0)\nq = Mul(x, p)\nc = Mul(q, 0.044715)",
    "(k x) x^2": "p = Mul(x, x)\nq = Mul(x, 0.044715)\nc = Mul(q, p)",
    "x (k x^2)": "p = Mul(x, x)\nq = Mul(p, 0.044715)\nc = Mul(x, q)",
}
SUM = "{cube}\nd = Add(x, c)\ne = Mul(d, 0.7978846)\nb = Tanh(e)\ns = Add(b, 1.0)"
FACTORED = {
    "(g x) f": "d = Mul(x, 0.7978846)\ne = Mul(d, f)",
    "(x f) g": "d = Mul(x, f)\ne = Mul(d, 0.7978846)",
    "x (f g)": "d = Mul(f, 0.7978846)\ne = Mul(x, d)",
}
SQUARES = {
    "k x^2": "p = Mul(x, x)\nq = Mul(p, 0.044715)",
    "(k x) x": "p = Mul(x, 0.044715)\nq = Mul(p, x)",
}
TANHS = {cube: SUM.format(cube=text) for cube, text in CUBES.items()}
TANHS |= {
    f"{name}, {order}": f"{square}\nf = Add(q, 1.0)\n{product}\nb = Tanh(e)\ns = Add(b, 1.0)"
    for name, product in FACTORED.items()
    for order, square in SQUARES.items()
}


def fused(body: str) -> Graph:
    g = parse(f"input x: float[2,5]\n{body}\noutput y")
    return PassManager("fuse-gelu", checked=True).run(g).graph


@pytest.mark.parametrize(("s", "half"), list(itertools.product(ERFS, HALVES)))
def test_erf(s: str, half: str) -> None:
    (op,) = (op for _, op in fused(f"{ERFS[s]}\n{HALVES[half]}").ops())
    assert op.type == "Gelu" and "approximate" not in op.attrs


@pytest.mark.parametrize("s", TANHS)
def test_tanh(s: str) -> None:
    for half in HALVES.values():
        (op,) = (op for _, op in fused(f"{TANHS[s]}\n{half}").ops())
        assert op.type == "Gelu" and op.attrs["approximate"] == "tanh"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Div(t, 2.0)", "Div(2.0, t)"), ("Div(t, 2.0)", "Div(t, 3.0)"), ("Add(b, 1.0)", "Sub(b, 1.0)"),
        ("Add(b, 1.0)", "Add(b, 0.99)"), ("1.4142135", "-1.4142135"), ("1.4142135", "1.41"), ("Erf", "Tanh"),
        ("Mul(s, x)", "Mul(s, a)"),
    ],
)  # fmt: skip
def test_no_gelu_by_erf(old: str, new: str) -> None:
    text = f"{ERFS['erf(x / r)']}\n{HALVES['(x s) / 2']}"
    assert old in text
    assert not [op for _, op in fused(text.replace(old, new)).ops() if op.type == "Gelu"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Pow(x, 3.0)", "Pow(x, 2.0)"), ("0.044715", "0.0447"), ("0.7978846", "0.79"), ("Tanh", "Erf"),
        ("Add(x, c)", "Sub(x, c)"), ("Mul(d,", "Mul(x,"),
    ],
)  # fmt: skip
def test_no_gelu_by_tanh(old: str, new: str) -> None:
    text = f"{TANHS['Pow']}\n{HALVES['(x s) 0.5']}"
    assert old in text
    assert not [op for _, op in fused(text.replace(old, new)).ops() if op.type == "Gelu"]
