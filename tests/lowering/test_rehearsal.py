"""What a conversion would refuse is told without converting."""

from __future__ import annotations

import pytest

from coregraft.lowering import targets
from coregraft.lowering.rehearsal import refusals
from coregraft.rewriter.onnx_io.text import parse


def told(text: str, format: str = "mlprogram") -> list[tuple[str, str | None]]:
    return [(e.code, e.node) for e in refusals(parse(text), targets.get("iOS17", format))]


def test_nothing_is_told_of_a_model_that_converts() -> None:
    assert told("input x: float[2,8]\ny = Relu(x)\noutput y\n") == []


def test_each_refusal_is_told() -> None:
    text = (
        "input x: float[2,8]\na = RandomNormalLike(x) @r\nb = RandomNormalLike(a) @s\n"
        "c = Reshape(x, [1,1,2,1,2,4]) @c\nd = Reshape(x, [2,1,1,1,2,4]) @d\noutput b\noutput c\noutput d\n"
    )
    assert told(text) == [
        ("op-no-lowering", 'RandomNormalLike "r"'), ("op-no-lowering", 'RandomNormalLike "s"'),
        ("op-unsupported", 'Reshape "c"'), ("op-unsupported", 'Reshape "d"'),
    ]  # fmt: skip


def test_ops_in_bodies_are_told_once_with_their_reasons() -> None:
    text = (
        "input c: bool[]\ninput x: float[2,8]\n"
        "y = If(c, then_branch={\n  r = RandomNormalLike(x) @r\n  output r\n}, else_branch={\n"
        "  n = RandomUniformLike(x) @u\n  output n\n})\noutput y\n"
    )
    found = refusals(parse(text), targets.get("iOS17"))
    assert [e.node for e in found] == ['RandomNormalLike "r"', 'RandomUniformLike "u"']
    assert "random numbers are others" in found[0].message


def test_an_empty_input_is_told_before_an_emitter_trips_over_it() -> None:
    assert told("input x: float[0,8]\ny = Relu(x)\noutput y\n") == [("empty-tensor", "x")]
    text = "input x: float[3,0,5]\ninput k: bool[1,5]\ny = Where(k, x, x)\noutput y\n"
    assert [(e.code, e.node) for e in refusals(parse(text), targets.get("iOS15"))] == [("empty-tensor", "x")]


@pytest.mark.parametrize("format", ["mlprogram", "neuralnetwork"])
def test_with_open_sizes_only_ops_without_any_lowering_are_told(format: str) -> None:
    text = "input x: float[n,8]\na = RandomNormalLike(x) @r\nb = Relu(x)\noutput a\noutput b\n"
    assert told(text, format) == [("op-no-lowering", 'RandomNormalLike "r"'), ("dims-unpinned", "x")]
