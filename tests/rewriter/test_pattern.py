"""The pattern language: what each construct matches, and what it must not match."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from coregraft.rewriter.driver import explain
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.match import Match
from coregraft.rewriter.onnx_io.text import parse
from coregraft.rewriter.passes import Rule
from coregraft.rewriter.pattern import show, trace


def rule_of(function: Callable[..., Any], where: Callable[[Any], Any] | None = None) -> Rule:
    """A rule with a given pattern function ``(self, op, ...)``."""

    @dataclass(frozen=True)
    class Probe(Rule):
        """Probe."""

        pattern = function

        def where(self, m: Any) -> Any:
            return True if where is None else where(m)

    return Probe()


def match_at(g: Graph, output: str, function: Callable[..., Any], where: Callable[[Any], Any] | None = None) -> Any:
    op_id = g.producer(output)
    assert op_id is not None
    return rule_of(function, where).match(g, op_id)


GRAPH = """
input x: float[2,3]
input z: float[2,3]
const c: float[3] = [1.0, 2.0, 3.0]
const k: float[] = 0.1
a = Mul(c, x) @a
b = Add(a, z) @b
d = Mul(b, b) @d
e = Mul(d, k) @e
s, t = Split(e, num_outputs=2, axis=1) @split
n = Concat(s, t, z, axis=1) @concat
w = Clip(n, _, 3.0) @clip
output w
"""


@pytest.fixture
def g() -> Graph:
    return parse(GRAPH)


def test_parameters_are_captures(g: Graph) -> None:
    m = match_at(g, "b", lambda self, op, x, y: op.Add(x, y))
    assert isinstance(m, Match)
    assert (m.x.name, m.y.name) == ("a", "z")


def test_commutative_operands_are_tried_both_ways(g: Graph) -> None:
    m = match_at(g, "b", lambda self, op, x, y, w: op.Add(w, op.Mul(x, y)))
    assert isinstance(m, Match)
    assert m.w.name == "z"


def test_where_sees_every_order(g: Graph) -> None:
    m = match_at(g, "a", lambda self, op, x, k: op.Mul(x, k), lambda m: m.k.is_const)
    assert isinstance(m, Match)
    assert m.k.name == "c"
    m = match_at(g, "a", lambda self, op, x, k: op.Mul(x, k), lambda m: m.x.is_const)
    assert isinstance(m, Match)
    assert m.x.name == "c"


def test_non_commutative_operands_are_not_swapped() -> None:
    g = parse("input x: float[2]\nconst c: float[2] = [1.0, 2.0]\ny = Sub(c, x)\noutput y\n")
    assert not match_at(g, "y", lambda self, op, a, b: op.Sub(a, b), lambda m: m.b.is_const)


def test_the_same_parameter_is_the_same_value(g: Graph) -> None:
    assert match_at(g, "d", lambda self, op, x: op.Mul(x, x))
    assert not match_at(g, "b", lambda self, op, x: op.Add(x, x))


def test_a_repeated_operand_needs_no_two_values(g: Graph) -> None:
    m = match_at(g, "d", lambda self, op, x, y: op.Mul(x, y))
    assert isinstance(m, Match)
    assert m.x == m.y


@pytest.mark.parametrize(("number", "fits"), [(0.1, True), (0.1000001, False), (1.0, False)])
def test_a_number_is_a_scalar_constant_within_one_ulp(g: Graph, number: float, fits: bool) -> None:
    assert bool(match_at(g, "e", lambda self, op, x: op.Mul(x, number))) is fits


def test_a_vector_is_no_scalar() -> None:
    g = parse("input x: float[2]\nconst c: float[2] = [2.0, 2.0]\ny = Mul(x, c)\noutput y\n")
    assert not match_at(g, "y", lambda self, op, x: op.Mul(x, 2.0))


def test_arithmetic_on_patterns(g: Graph) -> None:
    assert match_at(g, "b", lambda self, op, x, c, z: x * c + z)


def test_attributes_equal_predicate_capture_and_default(g: Graph) -> None:
    assert match_at(g, "n", lambda self, op: op.Concat(op.rest("xs"), axis=1))
    assert not match_at(g, "n", lambda self, op: op.Concat(op.rest("xs"), axis=0))
    assert match_at(g, "n", lambda self, op: op.Concat(op.rest("xs"), axis=lambda a: a > 0))
    m = match_at(g, "n", lambda self, op: op.Concat(op.rest("xs"), axis=op.attr("axis")))
    assert isinstance(m, Match)
    assert m.axis == 1
    conv = parse("input x: float[1,1,3]\nconst w: float[1,1,1] = ones\ny = Conv(x, w)\noutput y\n")
    assert match_at(conv, "y", lambda self, op, x, w: op.Conv(x, w, group=1))


def test_a_captured_string_attribute_is_the_string() -> None:
    g = parse('input x: float[1,1,3]\nconst x2: float[1,1,1] = ones\ny = Conv(x, x2, auto_pad="VALID")\noutput y\n')
    m = match_at(g, "y", lambda self, op, x, w: op.Conv(x, w, auto_pad=op.attr("pad")))
    assert isinstance(m, Match)
    assert m.pad == "VALID"


def test_rest_takes_all_remaining_operands(g: Graph) -> None:
    m = match_at(g, "n", lambda self, op, first: op.Concat(first, op.rest("others")))
    assert isinstance(m, Match)
    assert [v.name for v in m.others] == ["t", "z"]


def test_omitted_operands_match_parameters_with_default_none(g: Graph) -> None:
    m = match_at(g, "w", lambda self, op, x, high, low=None: op.Clip(x, low, high))
    assert isinstance(m, Match)
    assert m.low is None
    assert m.high.name == "const"
    assert not match_at(g, "w", lambda self, op, x, low, high: op.Clip(x, low, high))


def test_more_operands_than_the_pattern_has_do_not_match(g: Graph) -> None:
    assert not match_at(g, "n", lambda self, op, a, b: op.Concat(a, b))


def test_optional_prefers_the_op() -> None:
    pattern = lambda self, op, x: op.Relu(op.optional("Cast", x))  # noqa: E731
    with_cast = parse("input x: float16[2]\nc = Cast(x, to=1)\ny = Relu(c)\noutput y\n")
    m = match_at(with_cast, "y", pattern)
    assert isinstance(m, Match)
    assert m.x.name == "x"
    without = parse("input x: float[2]\ny = Relu(x)\noutput y\n")
    assert match_at(without, "y", pattern)


def test_alternatives_of_types_and_of_patterns(g: Graph) -> None:
    assert match_at(g, "b", lambda self, op, a, b: op.any_of(("Sub", "Add"), a, b))
    assert match_at(g, "b", lambda self, op, a, b: op.any_of(op.Sub(a, b), op.Add(a, b)))
    assert match_at(g, "d", lambda self, op, x, y: op.Mul(op.any_of(op.Sub(x, y), op.Add(x, y)), op.any_of(x, y + x)))


def test_one_op_may_stand_for_two_equal_ones_of_the_pattern(g: Graph) -> None:
    assert match_at(g, "d", lambda self, op, x, y: op.Mul(op.Add(x, y), op.Add(x, y)))


def test_several_outputs_of_one_op() -> None:
    g = parse("input x: float[4]\na, b = Split(x, num_outputs=2)\ny = Add(b, a)\nz = Sub(a, b)\noutput y\noutput z\n")
    both = lambda self, op, x: op.Split(x, _outputs=2, num_outputs=2)  # noqa: E731
    m = match_at(g, "a", both)
    assert isinstance(m, Match)
    assert m.outputs == ("a", "b")

    def second(self: Any, op: Any, x: Any) -> Any:
        first, other = op.Split(x, _outputs=2, _shared=True)
        return op.Sub(first, other)

    assert match_at(g, "z", second)
    swapped = parse("input x: float[4]\na, b = Split(x, num_outputs=2)\nz = Sub(b, a)\noutput z\n")
    assert not match_at(swapped, "z", second)


def test_named_ops_are_views(g: Graph) -> None:
    m = match_at(g, "n", lambda self, op: op.Concat(op.rest("xs"), _name="joined"))
    assert isinstance(m, Match)
    assert m.joined.label == 'Concat "concat"'
    assert m.joined.attr("axis") == 1


def test_another_domain_does_not_match() -> None:
    g = parse("opset 24\nopset com.example 1\ninput x: float[2]\ny: float[2] = com.example.Relu(x)\noutput y\n")
    assert not match_at(g, "y", lambda self, op, x: op.Relu(x))
    assert match_at(g, "y", lambda self, op, x: op.domain("com.example").Relu(x))


@pytest.mark.parametrize("extra", ["output a", "r = Relu(a)\noutput r"])
def test_a_match_is_closed(extra: str) -> None:
    g = parse(f"input x: float[2]\na = Neg(x)\ny = Relu(a)\noutput y\n{extra}\n")
    reason = match_at(g, "y", lambda self, op, x: op.Relu(op.Neg(x)))
    assert not reason
    assert "used outside the match" in str(reason)
    assert match_at(g, "y", lambda self, op, x: op.Relu(op.Neg(x, _shared=True)))


def test_a_value_captured_by_a_body_escapes() -> None:
    g = parse(
        """
        input x: float[2]
        input p: bool[]
        a = Neg(x)
        y = Relu(a)
        i = If(p, then_branch={
            t = Abs(a)
            output t
        }, else_branch={
            e = Exp(x)
            output e
        })
        output y
        output i
        """
    )
    assert not match_at(g, "y", lambda self, op, x: op.Relu(op.Neg(x)))


def test_explain_names_the_deepest_failure(g: Graph) -> None:
    rule = rule_of(lambda self, op, x, y: op.Mul(op.Add(op.Neg(x), y), op.Add(op.Neg(x), y)))
    op_id = g.producer("d")
    assert op_id is not None
    assert "not a Neg" in explain(rule, g, op_id)
    other = g.producer("w")
    assert other is not None
    assert "not a root" in explain(rule, g, other)


def test_patterns_print() -> None:
    (compiled,) = trace(lambda self, op, x, w, b=None: op.Relu(op.Conv(x, w, b, group=1) + 1.0))
    assert show(compiled.outputs[0]) == "Relu(Add(Conv(x, w, b?, group=1), 1))"
    assert compiled.roots == (("", "Relu"),)


def test_a_pattern_must_return_ops() -> None:
    with pytest.raises(TypeError, match="must return the outputs of ops"):
        trace(lambda self, op, x: x)
