"""All clean-up passes together: what they leave, to what fixed point, and always the same."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coregraft.passes.cleanup.cleanup import Cleanup
from coregraft.passes.cleanup.fold_constants import FoldConstants
from coregraft.passes.cleanup.fuse_transposes import FuseTransposes
from coregraft.passes.cleanup.unroll_loops import UnrollLoops
from coregraft.rewriter.contract import Context
from coregraft.rewriter.execute import run, seeded_inputs
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.onnx_io.text import parse, to_text
from coregraft.rewriter.shapes import infer_shapes
from coregraft.rewriter.verify import verify


def cleaned(g: Graph) -> Graph:
    infer_shapes(g)
    Cleanup().run(g, Context())
    verify(g)
    return g


def kinds(g: Graph) -> list[str]:
    return sorted(op.type for _, op in g.ops())


def test_each_pass_makes_work_for_the_next() -> None:
    text = """
    input x: float["N",4]
    const yes: bool[] = true
    s = Shape(x)
    r = Size(s)
    flat = Equal(r, 2)
    y = If(flat, then_branch={
      a = Mul(r, 2)
      z = Loop(a, yes, x, body={
        input i: int64[]
        input c: bool[]
        input v: float["N",4]
        k = Identity(c)
        p = Add(v, v)
        sq = SequenceConstruct(p, v)
        w = SequenceAt(sq, 0)
        output k
        output w
      })
      output z
    }, else_branch={
      d = Exp(x)
      output d
    })
    output y
    """
    g = cleaned(parse(text))
    assert kinds(g) == ["Add"] * 4
    values = run(g, {"x": np.array([[1, 2, 3, 4]], np.float32)})
    np.testing.assert_array_equal(next(iter(values.values())), np.array([[16, 32, 48, 64]], np.float32))


def test_nothing_is_left_of_an_exporters_reshape() -> None:
    g = cleaned(
        parse("""
        input x: float["N",3,8,8]
        s = Shape(x)
        n = Gather(s, 0)
        n1 = Unsqueeze(n, [0])
        t = Concat(n1, [3, 64], axis=0)
        a = Reshape(x, t)
        b = Transpose(a, perm=[0, 2, 1])
        c = Dropout(b, 0.1)
        d = Transpose(c, perm=[0, 2, 1])
        y = Relu(d)
        output y
        """)
    )
    assert kinds(g) == ["Relu", "Reshape"]


def test_a_second_run_has_no_events() -> None:
    g = cleaned(parse('input x: float["N",4]\ns = Shape(x)\nt = Concat(s, [1], axis=0)\ny = Reshape(x, t)\noutput y'))
    ctx = Context()
    Cleanup().run(g, ctx)
    assert not ctx.events()


def test_rounds_that_do_not_suffice_are_remarked() -> None:
    g = parse("input x: float[2]\na = Neg(1.0)\ny = Add(x, a)\noutput y")
    infer_shapes(g)
    ctx = Context()
    Cleanup(max_rounds=1).run(g, ctx)
    assert any("stopped after 1 rounds" in note for note in ctx.notes)


def test_options_reach_the_passes() -> None:
    fold, *_, unroll = (
        step for step in Cleanup(max_bytes=1, keep_quantised=False, max_trips=2, max_ops=3).passes()
        if isinstance(step, (FoldConstants, UnrollLoops))
    )  # fmt: skip
    assert (fold, unroll) == (FoldConstants(max_bytes=1, keep_quantised=False), UnrollLoops(max_trips=2, max_ops=3))
    assert not any(isinstance(step, UnrollLoops) for step in Cleanup(unroll=False).passes())


LOOP = """
input x: float[2]
input n: int64[]
const on: bool[] = true
s = SequenceConstruct(x, x)
k = SequenceLength(s)
z = Loop(COUNT, on, x, body={
  input i: int64[]
  input c: bool[]
  input t: float[2]
  u = Neg(t)
  d = Identity(c)
  output d
  output u
})
y = Relu(z)
output y
"""


def test_why_a_loop_stays_is_said_once_and_not_of_a_loop_that_goes_later() -> None:
    """The length of the sequence is known only after the first look at the loop."""
    for count, remarks in (("n", 1), ("k", 0)):
        g = parse(LOOP.replace("COUNT", count))
        infer_shapes(g)
        ctx = Context()
        Cleanup().run(g, ctx)
        assert len(ctx.notes) == remarks, ctx.notes
        assert ("Loop" in kinds(g)) == bool(remarks)


def test_the_same_under_every_hash_seed() -> None:
    script = (
        "from coregraft.rewriter.onnx_io.text import parse, to_text\n"
        "from coregraft.rewriter.shapes import infer_shapes\n"
        "from coregraft.rewriter.contract import Context\n"
        "from coregraft.passes.cleanup.cleanup import Cleanup\n"
        "g = parse('''input x: float[2,3,4]\ninput z: float[2,3,4]\n"
        "a = Transpose(x, perm=[0, 2, 1])\nb = Transpose(z, perm=[0, 2, 1])\nc = Add(a, b)\n"
        "d = Mul(c, [1.0, 2.0, 3.0])\n"
        "e = Neg([1.0, 2.0, 3.0])\nf = Neg([1.0, 2.0, 3.0])\nh = Add(d, e)\ni = Mul(h, f)\nj = Relu(c)\n"
        "k = Softmax(j, axis=2)\nl = Transpose(k, perm=[0, 2, 1])\noutput i\noutput l''')\n"
        "infer_shapes(g); Cleanup().run(g, Context()); print(to_text(g))"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", script], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("0", "1", "77")
    }
    assert len(texts) == 1


PERMS = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]]


@st.composite
def layout_graphs(draw: st.DrawFn) -> Graph:
    """Graphs of transposes among ops that can follow them, values and outputs shared at random."""
    lines = ["input v0: float[2,3,4]", "input v1: float[2,3,4]"]
    shapes: list[tuple[int, ...]] = [(2, 3, 4), (2, 3, 4)]
    for i in range(2, draw(st.integers(4, 14))):
        pick = draw(st.integers(0, i - 1))
        kind = draw(st.sampled_from(["Transpose", "Transpose", "Relu", "Softmax", "Add", "Concat", "Slice", "Reduce"]))
        shape = shapes[pick]
        if kind == "Transpose":
            perm = draw(st.sampled_from(PERMS))
            lines.append(f"v{i} = Transpose(v{pick}, perm={perm})")
            shapes.append(tuple(shape[p] for p in perm))
        elif kind == "Relu":
            lines.append(f"v{i} = Relu(v{pick})")
            shapes.append(shape)
        elif kind == "Softmax":
            lines.append(f"v{i} = Softmax(v{pick}, axis={draw(st.integers(-3, 2))})")
            shapes.append(shape)
        elif kind == "Reduce":
            axis = draw(st.integers(0, 2))
            lines.append(f"v{i} = ReduceMax(v{pick}, [{axis}], keepdims=1)")
            shapes.append(tuple(1 if a == axis else d for a, d in enumerate(shape)))
        elif kind == "Slice":
            axis = draw(st.integers(0, 2))
            lines.append(f"v{i} = Slice(v{pick}, [0], [{max(1, shape[axis] - 1)}], [{axis}])")
            shapes.append(tuple(max(1, d - 1) if a == axis else d for a, d in enumerate(shape)))
        else:
            other = draw(st.sampled_from([j for j in range(i) if shapes[j] == shape]))
            axis = draw(st.integers(0, 2))
            attrs = "" if kind == "Add" else f", axis={axis}"
            lines.append(f"v{i} = {kind}(v{pick}, v{other}{attrs})")
            shapes.append(shape if kind == "Add" else tuple(2 * d if a == axis else d for a, d in enumerate(shape)))
    last = len(shapes) - 1
    outputs = sorted({last, draw(st.integers(2, last))})
    return parse("\n".join([*lines, *(f"output v{o}" for o in outputs)]))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(layout_graphs())
def test_moving_transposes_keeps_results_and_never_adds_any(g: Graph) -> None:
    infer_shapes(g)
    feeds = seeded_inputs(g)
    wanted = run(g, feeds)
    before = {name: wanted[value] for name, value in g.outputs.items()}
    count = kinds(g).count("Transpose")
    FuseTransposes().run(g, Context())
    verify(g)
    found = run(g, feeds)
    for name, value in g.outputs.items():
        np.testing.assert_allclose(found[value], before[name], rtol=1e-6, atol=0)
    assert kinds(g).count("Transpose") <= count
    again = Context()
    FuseTransposes().run(g, again)
    assert not again.events(), to_text(g)


def test_transposes_through_a_long_chain_take_one_sweep() -> None:
    lines = ["input x0: float[2,3,4]"]
    for i in range(60):
        lines += [f"t{i} = Transpose(x{i}, perm=[0, 2, 1])", f"r{i} = Relu(t{i})"]
        lines += [f"u{i} = Transpose(r{i}, perm=[0, 2, 1])", f"x{i + 1} = Softmax(u{i}, axis=1)"]
    g = parse("\n".join([*lines, "output x60"]))
    infer_shapes(g)
    FuseTransposes().run(g, Context())
    assert "Transpose" not in kinds(g)


@pytest.mark.parametrize("unroll", [True, False])
def test_unrolling_is_an_option(unroll: bool) -> None:
    g = parse(
        "input x: float[2]\nconst yes: bool[] = true\ny = Loop(2, yes, x, body={\n"
        "  input i: int64[]\n  input c: bool[]\n  input s: float[2]\n"
        "  k = Identity(c)\n  t = Exp(s)\n  output k\n  output t\n})\noutput y"
    )
    infer_shapes(g)
    Cleanup(unroll=unroll).run(g, Context())
    assert kinds(g) == (["Exp", "Exp"] if unroll else ["Loop"])
