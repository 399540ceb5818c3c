"""Branches that cannot run, and names after inlining."""

from __future__ import annotations

from coregraft.passes.cleanup.fold_if import FoldIf
from coregraft.rewriter.contract import Context
from coregraft.rewriter.onnx_io.text import parse
from coregraft.rewriter.shapes import infer_shapes
from coregraft.rewriter.verify import verify

BRANCHES = """
input c: bool[]
input x: float[1,4,{last}]
y = If(c, then_branch={{
  a = Reshape(x, [1, 8])
  b = Squeeze(a, [0])
  output b
}}, else_branch={{
  d = Reshape(x, [12])
  output d
}})
output y
"""


def test_a_branch_that_the_shapes_rule_out_is_dropped() -> None:
    g = parse(BRANCHES.format(last=3))
    infer_shapes(g)
    ctx = Context()
    FoldIf().run(g, ctx)
    assert [op.type for _, op in g.ops()] == ["Reshape"]
    assert any("then branch cannot run" in note for note in ctx.notes)
    verify(g)


def test_both_branches_possible_or_both_impossible() -> None:
    for last in ('"N"', "5"):
        g = parse(BRANCHES.format(last=last))
        infer_shapes(g)
        FoldIf().run(g, Context())
        assert [op.type for _, op in g.ops()] == ["If"]


def test_dropping_impossible_branches_can_be_switched_off() -> None:
    g = parse(BRANCHES.format(last=3))
    infer_shapes(g)
    FoldIf(drop_impossible=False).run(g, Context())
    assert [op.type for _, op in g.ops()] == ["If"]


def test_op_and_value_names_of_sibling_branches_stay_unique() -> None:
    branch = "{\n  a = Neg(x) @neg\n  output a\n}"
    g = parse(
        "input x: float[2]\nconst yes: bool[] = true\n"
        f"p = If(yes, then_branch={branch}, else_branch={branch})\n"
        f"q = If(yes, then_branch={branch}, else_branch={branch})\n"
        "y = Add(p, q)\noutput y"
    )
    infer_shapes(g)
    FoldIf().run(g, Context())
    names = [op.name for _, op in g.ops() if op.name]
    assert len(names) == len(set(names)) == 2
    verify(g)
