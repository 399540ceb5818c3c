"""Drift per layer: where the error starts, what only looks like one, and how much it grows."""

from __future__ import annotations

import pytest

from coregraft.rewriter.graph import Graph
from coregraft.rewriter.onnx_io.text import parse
from coregraft.verification.compare import Comparison
from coregraft.verification.drift import Drift, drift, in_chunks, match_values

CHAIN = (
    "input x: float[2]\na: float[2] = Tanh(x) @one\nb: float[2] = Neg(a) @two\nc: float[2] = Exp(b) @three\noutput c\n"
)


def found(**errors: float) -> dict[str, Comparison]:
    """Comparisons by value: in tolerance up to 0.01."""
    return {name: Comparison(name, error <= 0.01, relative_l2=error) for name, error in errors.items()}


def first(done: Drift) -> str | None:
    return None if done.first is None else done.first.value


@pytest.mark.parametrize(
    ("errors", "where"),
    [
        ({"a": 0.0, "b": 0.0, "c": 0.0}, None),
        ({"a": 0.0, "b": 0.5, "c": 0.5}, "b"),
        ({"a": 0.5, "b": 0.0, "c": 0.0}, None),  # moved under its old name: what is computed from it is right
        ({"a": 0.5, "c": 0.0}, None),
        ({"a": 0.5, "c": 0.5}, "a"),
        ({"a": 0.5}, "a"),  # nothing that is computed from it has been compared: nobody says that it is right
        ({"c": 0.5}, "c"),  # an output
    ],
)
def test_the_first_layer_whose_error_goes_on(errors: dict[str, float], where: str | None) -> None:
    assert first(drift(parse(CHAIN), found(**errors))) == where


def test_an_output_that_others_read_is_never_isolated() -> None:
    g = parse(CHAIN + "output a\n")
    assert first(drift(g, found(a=0.5, b=0.0))) == "a"


def test_growth_is_told_from_the_nearest_compared_values() -> None:
    done = drift(parse(CHAIN), found(a=1e-3, c=4e-3))
    assert [(x.value, x.op, x.growth) for x in done.layers] == [("a", 'Tanh "one"', None), ("c", 'Exp "three"', 4.0)]
    assert done.unmatched == 1
    joined = parse("input x: float[2]\na = Tanh(x)\nb = Neg(x)\nc = Add(a, b)\noutput c\n")
    assert drift(joined, found(a=1e-3, b=2e-3, c=4e-3)).layers[-1].growth == 2.0
    assert drift(joined, found(a=0.0, b=0.0, c=1e-6)).layers[-1].growth == pytest.approx(10.0), "from fp32's rounding"


def test_values_of_the_same_spelling_shape_and_kind_belong_together() -> None:
    def matched(theirs: str, ours: str = CHAIN) -> list[tuple[str, str]]:
        return match_values(parse(ours), parse(theirs))

    one = "input x: float[2]\n{} = Tanh(x)\noutput {}\n"
    assert matched(one.format("a: float[2]", "a")) == [("a", "a")]
    assert matched(one.format("a_cast_fp16: float[2]", "a_cast_fp16")) == [("a", "a_cast_fp16")]
    assert matched(one.format("other: float[2]", "other")) == []
    assert matched(one.format("a: float[1,2]", "a")) == []
    assert matched("input x: float[2]\na: int64[2] = Cast(x, to=7)\noutput a\n") == []
    twice = "input x: float[2]\na_b: float[2] = Tanh(x)\n\"a.b\": float[2] = Neg(a_b)\noutput \"a.b\"\n"
    assert matched("input x: float[2]\na_b: float[2] = Tanh(x)\noutput a_b\n", twice) == [], "two of ours are spelt so"


def test_values_are_compared_as_many_at_a_time_as_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    g: Graph = parse(CHAIN)
    pairs = [(v, v) for v in "abc"]
    for limit, sizes in ((8, [1, 1, 1]), (15, [1, 1, 1]), (16, [2, 1]), (24, [3]), (1, [1, 1, 1])):
        monkeypatch.setattr("coregraft.verification.drift.CHUNK", limit)
        assert [len(chunk) for chunk in in_chunks(g, pairs)] == sizes
    assert in_chunks(g, []) == [[]]
