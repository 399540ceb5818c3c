"""Formulas of custom layers: what they can say, and that NumPy and the generated Swift give the same."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coregraft.custom_layers.computation import Values, compute
from coregraft.custom_layers.expressions import Scope, parse
from coregraft.custom_layers.formulas import FUNCTIONS
from coregraft.custom_layers.spelling import metal, swift
from coregraft.rewriter.errors import UsageError
from tests.custom_layers.swift_tree import SWIFT, evaluate

KINDS = {"a": "real", "n": "int", "flag": "bool", "steps": "ints", "scales": "reals"}
SCOPE = Scope(("x", "w"), elements=True, parameters=KINDS)
PARAMETERS: dict[str, Any] = {"a": 1.5, "n": 3, "flag": True, "steps": (4, -2), "scales": (0.5, 2.0)}


def spell(what: str, name: str) -> str:
    return {"parameter": f"attributes.{name}", "shape": f"{name}.shape"}.get(what, name)


def both(text: str, x: float, w: float, kind: str = "real") -> tuple[Any, Any]:
    """A formula's value by NumPy, and by its Swift."""
    node = parse(text, SCOPE, "here", kind=kind)
    shapes = {"x": (2, 3, 4), "w": (5,)}
    elements = {"x": np.array(x), "w": np.array(w)}
    names: dict[str, Any] = {f"attributes.{k}": v for k, v in PARAMETERS.items()}
    names |= {"x": x, "w": w, "x.shape": shapes["x"], "w.shape": shapes["w"]}
    names |= {"attributes.steps.count": 2, "attributes.scales.count": 2, "x.shape.count": 3, "w.shape.count": 1}
    names |= {"Double.pi": math.pi, ".toNearestOrEven": "even"}
    functions = {**SWIFT, "rounded": lambda value, _: SWIFT["rounded"](value)}
    return compute(node, Values(PARAMETERS, shapes, elements), kind), evaluate(
        swift(node, spell, kind), names, functions
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x * 2 + 1", -4.0), ("x ** 2", 6.25), ("-x / 2", 1.25), ("x // 1", -3.0), ("x % 2", 1.5), ("w % -2", -0.5),
        ("max(x, w, 0)", 3.5), ("min(x, a)", -2.5), ("abs(x)", 2.5), ("where(x > 0, x, w)", 3.5),
        ("w if flag and not x > 0 else x", 3.5), ("x if x == w or n != 3 else a", 1.5), ("floor(x) + 0.5", -2.5),
        ("ceil(x)", -2.0), ("round(x)", -2.0), ("int(x)", -2.0), ("n // 2 * a", 1.5), ("steps[1] * scales[-1]", -4.0),
        ("len(steps) + len(x.shape)", 5.0), ("x.shape[-1] * w.shape[0]", 20.0), ("sign(x) * pi", -math.pi),
        ("sigmoid(0 * x)", 0.5), ("erf(0 * x)", 0.0), ("7 // n - -7 // n", 5.0), ("+x", -2.5),
    ],
)  # fmt: skip
def test_values(text: str, value: float) -> None:
    by_numpy, by_swift = both(text, -2.5, 3.5)
    assert by_numpy == pytest.approx(value) and by_swift == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [("x.shape[2] // 3", 1), ("-7 // 2", -4), ("floor(x.shape[1] * a)", 4), ("x.shape[steps[1]] + 1", 4), ("-7 % n", 2),
     ("n if n < 2 else max(n, 4, x.shape[0])", 4)],
)  # fmt: skip
def test_whole_numbers(text: str, value: int) -> None:
    by_numpy, by_swift = both(text, 0.0, 0.0, "int")
    assert (by_numpy, by_swift) == (value, value)
    assert isinstance(by_swift, int)


_UNARY = sorted(
    k for k, f in FUNCTIONS.items() if f.args == 1 and f.takes in ("real", "same") and k.isidentifier() and k != "neg"
)
_FORMULAS = st.recursive(
    st.sampled_from(["x", "w", "a", "n", "2", "0.5", "steps[0]", "scales[1]", "x.shape[0]"]),
    lambda below: st.one_of(
        st.tuples(below, st.sampled_from(["+", "-", "*", "/", "//", "%"]), below).map(lambda t: f"({' '.join(t)})"),
        st.tuples(st.sampled_from(_UNARY), below).map(lambda t: f"{t[0]}({t[1]})"),
        st.tuples(below, below, below).map(lambda t: f"where({t[0]} < {t[1]}, {t[2]}, {t[0]})"),
        st.tuples(below, below).map(lambda t: f"max({t[0]}, {t[1]})"),
        below.map(lambda t: f"(-{t})"),
    ),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None)
@given(_FORMULAS, st.floats(-4, 4, width=32), st.floats(-4, 4, width=32))
def test_numpy_and_swift_agree(text: str, x: float, w: float) -> None:
    if len(text) > 400:
        return
    by_numpy, by_swift = both(text, x, w)
    np.testing.assert_allclose(by_numpy, by_swift, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x +", "not an expression"), ("y", "unknown"), ("__import__('os')", "not something"), ("x.T", "not something"),
        ("nosuch(x)", "not something"), ("open('f')", "not something"),
        ("(lambda: x)()", "not something"), ("x[0]", "not something"),
        ("exp(x, w)", "arguments"), ("max(x)", "arguments"), ("x > 0", "gives a bool"), ("x + (x > 0)", "mixes"),
        ("where(x, x, w)", "mixes"), ("flag + 1", "mixes"), ("True", "not a number"), ("'s'", "not something"),
        ("2 ** 999 * 1e999", "too large"), ("99999999999", "too large"), ("x < w < 1", "not something"),
        ("steps", "unknown"), ("steps[0.5]", "how to round"), ("y.shape[0]", "no operand"), ("x" * 500, "longer"),
        ("[x for x in x]", "not something"), ("neg(x", "not an"), ("-" * 300 + "x", "nested"),
        ("(" * 190 + "x" + ")" * 190 + "(", "not an expression"), ("x" + "+x" * 150, "nested"),
    ],
)  # fmt: skip
def test_what_a_formula_cannot_say(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as error:
        parse(text, SCOPE, "here")
    assert error.value.code == "custom-layer-expression"


def test_a_dim_has_to_be_whole() -> None:
    with pytest.raises(UsageError, match="how to round"):
        parse("x.shape[0] / 2", SCOPE, "here", kind="int")


def test_metal_is_written_only_where_it_can_be() -> None:
    def name(what: str, key: str) -> str:
        return f"arguments.{key}" if what == "parameter" else key

    scope = Scope(("x",), elements=True, parameters=KINDS)
    assert metal(parse("x * sigmoid(a * x)", scope, ""), name) == (
        "(x * (1.0f / (1.0f + exp(-((float4(arguments.a) * x))))))"
    )
    for text in ("erf(x)", "x * steps[0]", "where(x > 0, x, 0)", "max(x, 0)", "x.shape[0] * x"):
        assert metal(parse(text, scope, ""), name) is None
