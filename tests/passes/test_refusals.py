"""The reason that a user reads for an op that no pass took apart."""

from __future__ import annotations

import pytest

from coregraft.passes.refusals import MACHINE_DOMAINS, REFUSED, REFUSED_ML, REFUSED_ONNX, why_kept
from coregraft.rewriter.onnx_io.text import parse, to_text
from coregraft.rewriter.target import Target

BARE = Target("iOS17", "mlprogram", ops={}, max_rank=5)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("opset com.microsoft 1\ninput x: float[2]\ny = com.microsoft.QOrderedGelu(x)\noutput y\n", "one GPU library"),
        ("opset com.microsoft 1\ninput x: float[17,17]\ny = com.microsoft.Inverse(x)\noutput y\n", "max-size=16"),
        (
            "opset com.microsoft 1\ninput x: float[5]\ny = com.microsoft.Gelu(x, kind=1)\noutput y\n",
            "attribute kind is not known",
        ),
        ("opset com.microsoft.nchwc 1\ninput x: float[5]\ny = com.microsoft.nchwc.Conv(x)\noutput y\n", "EXTENDED"),
        ("opset com.microsoft 1\ninput x: float[5]\ny = com.microsoft.MoE(x)\noutput y\n", "no rule writes this op"),
        ("opset ai.onnx.ml 3\ninput x: float[2,2]\ny = ai.onnx.ml.CastMap(x)\noutput y\n", "has no maps"),
    ],
)
def test_the_reason(text: str, reason: str) -> None:
    g = parse(text)
    before = to_text(g)
    (op_id,) = g.topological()
    assert reason in (why_kept(g, op_id, BARE) or "")
    assert to_text(g) == before


def test_nobody_can_say() -> None:
    g = parse("opset my.own 1\ninput x: float[2]\ny = my.own.Thing(x)\noutput y\n")
    (op_id,) = g.topological()
    assert why_kept(g, op_id, BARE) is None


def test_what_is_refused_has_no_rule() -> None:
    from coregraft.passes.catalogue import PASSES
    from coregraft.rewriter.registry import pass_class
    from coregraft.rewriter.rule import Rule

    rules = [cls() for name in PASSES if issubclass(cls := pass_class(name), Rule)]
    taken = {key for rule in rules for key in rule.root_keys()}
    for domain, table in (("", REFUSED_ONNX), ("com.microsoft", REFUSED), ("ai.onnx.ml", REFUSED_ML)):
        assert not {(domain, op_type) for op_type in table} & taken
    assert not set(MACHINE_DOMAINS) & {domain for domain, _ in taken}
