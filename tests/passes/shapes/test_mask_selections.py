"""mask-selections: the same numbers, for every number of rows, with all sizes fixed up to the outputs."""

from __future__ import annotations

import numpy as np
import pytest

from coregraft.lowering import targets
from coregraft.rewriter.execute import run
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.manager import PassManager
from coregraft.rewriter.onnx_io.text import parse
from coregraft.rewriter.types import Array

RNG = np.random.default_rng(8)
ROWS = 6
FLAGS = [np.array(f, bool) for f in ([1, 0, 1, 1, 0, 0], [1] * 6, [0] * 6, [0, 0, 0, 0, 0, 1], [0, 1, 1, 1, 1, 1])]
#: r: the selected rows of x; s: the same of a vector; n: how many they are; t: their numbers.
HEAD = """
input x: float[6,4]
input v: float[6]
input c: bool[6]
k = NonZero(c)
t = Squeeze(k, [0])
r = Gather(x, t)
s = Gather(v, t)
h = Shape(s)
n = Squeeze(h, [0])
"""


def feeds(flags: Array) -> dict[str, Array]:
    rows, values = RNG.standard_normal((ROWS, 4)), RNG.random(ROWS)
    return {"x": rows.astype(np.float32), "v": values.astype(np.float32), "c": flags}


def masked(text: str) -> Graph:
    return PassManager(["infer-shapes", "mask-selections", "cleanup"], targets.get("iOS17")).run(parse(text)).graph


def open_ops(g: Graph) -> list[str]:
    """The ops with a result of unknown size."""
    kinds = [[g.tensor_type(v) for v in g.op(i).outputs if v] for i in g.topological()]
    unknown = [any(k is None or k.static_shape is None for k in kind) for kind in kinds]
    return [g.op(i).type for i, is_open in zip(g.topological(), unknown, strict=True) if is_open]


def same(text: str, given: list[dict[str, Array]]) -> Graph:
    before, after = parse(text), masked(text)
    for feed in given:
        want, have = run(before, feed), run(after, feed)
        for (name, a), (_, b) in zip(want.items(), have.items(), strict=True):
            assert a.dtype == b.dtype and a.shape == b.shape, (name, a.shape, b.shape)
            np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-6)
    return after


@pytest.mark.parametrize("lines", [
    "y = Relu(r)",
    "y = Add(r, [1.0, 2.0, 3.0, 4.0])",
    "u = Unsqueeze(s, [1])\ny = Mul(r, u)",
    "u = Mul(s, 9.0)\ni = Cast(u, to=7)\nj = Add(i, 1)\ny = Div(7, j)",
    "q = Transpose(r, perm=[1, 0])\nz = Exp(q)\ny = Transpose(z, perm=[1, 0])",
    "q = Reshape(r, [-1, 2, 2])\nz = Neg(q)\ny = Reshape(z, [-1])",
    "q = Reshape(r, [1, -1, 4])\nz = Neg(q)\ny = Squeeze(z, [0])",
    "q = Reshape(r, [-1])\ny = Neg(q)",
    "p = Concat(h, [2, 2], axis=0)\nq = Reshape(r, p)\ny = Neg(q)",
    "y = Flatten(r, axis=1)\n",
    "y = Concat(r, r, axis=1)",
    "y = Concat(r, x, r, axis=0)",
    "a, b = Split(r, [1, 3], axis=1)\ny = Add(a, b)",
    "y = Slice(r, [1], [3], [1])",
    "y = Slice(r, [0], [2], [0])",
    "y = Slice(r, [0, 3], [2, 0], [0, 1], [1, -1])",
    "y = Slice(r, [0], [9223372036854775807], [0])",
    "y = Slice(r, [0], h, [0])",
    "y = Gather(r, [3, 0, 3], axis=1)",
    "y = Gather(r, 2, axis=1)",
    "y = Softmax(r, axis=1)",
    "y = Softmax(r, axis=0)",
    "y = LogSoftmax(s, axis=0)",
    "y = ReduceMax(r, [1])",
    "y = ReduceMean(r, [1], keepdims=0)",
    "q = Reshape(r, [1, -1, 4])\ny = ReduceSum(q, [0], keepdims=0)",
    "y = ArgMax(r, axis=1, keepdims=0)",
    "q = Transpose(r, perm=[1, 0])\ny = ArgMax(q, axis=0, keepdims=0)",
    "y = ConstantOfShape(h)",
    "p = Concat(h, [3], axis=0)\ny = Expand(1.5, p)",
    "u = Unsqueeze(s, [1])\np = Concat(h, [3], axis=0)\ny = Expand(u, p)",
    "y = Range(0, n, 1)",
    "a, b = TopK(s, h)\nq = Reshape(b, [-1])\ny = Gather(r, q)",
    "y = Clip(r, _, 0.5)",
    "z = Range(0, n, 1)\ny = Gather(r, z)",
    "g = Greater(r, 0.0)\ny = Where(g, r, [0.0, 0.0, 0.0, 0.0])",
])  # fmt: skip
def test_row_by_row(lines: str) -> None:
    after = same(HEAD + lines + "\noutput y\n", [feeds(f) for f in FLAGS])
    assert set(open_ops(after)) <= {"NonZero", "Squeeze", "Gather"}, open_ops(after)


@pytest.mark.parametrize("lines", [
    "y = ReduceSum(r, [0])",
    "y = ReduceMax(r, [0], keepdims=0)",
    "y = ReduceMin(r)",
    "y = ReduceL2(s, keepdims=0)",
    "y = ReduceProd(r, [0])",
    "y = ReduceSumSquare(r, [0, 1])",
    "i = Cast(s, to=7)\ny = ReduceMax(i)",
    "y = Shape(r)",
    "y = Shape(r, start=1)",
    "y = Shape(r, end=1)",
    "y = Size(r)",
    "z = Add(s, 1.0)\nu = ScatterElements(v, t, z, axis=0)\ny = Relu(u)",
    "z = Add(r, 1.0)\nq = Transpose(k, perm=[1, 0])\ny = ScatterND(x, q, z)",
])  # fmt: skip
def test_what_has_a_size_again(lines: str) -> None:
    after = same(HEAD + lines + "\noutput y\n", [feeds(f) for f in FLAGS])
    assert open_ops(after) == []


@pytest.mark.parametrize("lines", [
    "const w: float[4,3] = normal(seed=1)\ny = MatMul(r, w)",
    "const w: float[3,6] = normal(seed=1)\nu = Unsqueeze(s, [1])\nz = Concat(u, u, axis=1)\n"
    "const a: float[2,2,3] = normal(seed=2)\nq = Unsqueeze(z, [0])\ny = MatMul(q, a)",
    "const w: float[3,4] = normal(seed=1)\nconst b: float[3] = [1.0, 2.0, 3.0]\ny = Gemm(r, w, b, transB=1)",
    "const w: float[3,1,2,2] = normal(seed=1)\nq = Reshape(r, [-1, 1, 2, 2])\nz = Conv(q, w)\ny = Flatten(z)",
    "q = Reshape(r, [-1, 1, 2, 2])\ny = MaxPool(q, kernel_shape=[2, 2])",
    "const w: float[4] = [1.0, 2.0, 3.0, 4.0]\ny = LayerNormalization(r, w, axis=-1)",
    "q = Reshape(r, [-1, 2, 2])\ny = MatMul(q, q)",
])  # fmt: skip
def test_computing(lines: str) -> None:
    some = [f for f in FLAGS if f.any()]  # onnxruntime has no convolution of nothing
    after = same(HEAD + lines + "\noutput y\n", [feeds(f) for f in some])
    assert set(open_ops(after)) <= {"NonZero", "Squeeze", "Gather"}, open_ops(after)


@pytest.mark.parametrize("largest", [0, 1])
@pytest.mark.parametrize("values", ["s", "i"])
def test_top_k(largest: int, values: str) -> None:
    text = HEAD + f"""
w = Mul(s, 10.0)
i = Cast(w, to=7)
z = Min(n, 3)
q = Reshape(z, [1])
a, b = TopK({values}, q, largest={largest})
y = Gather(r, b)
output a
output b
output y
"""
    after = same(text, [feeds(f) for f in FLAGS])
    assert set(open_ops(after)) <= {"NonZero", "Squeeze", "Gather"}, open_ops(after)


def test_top_k_of_the_worst_scores() -> None:
    text = HEAD + "a, b = TopK(s, h)\noutput a\noutput b\n"
    feed = feeds(FLAGS[0]) | {"v": np.full(ROWS, -np.inf, np.float32)}
    same(text, [feed])


def test_a_constant_k_and_another_axis() -> None:
    text = HEAD + "a, b = TopK(s, [2], largest=1)\nd, e = TopK(r, [3], axis=1)\n"
    text += "output a\noutput b\noutput d\noutput e\n"
    same(text, [feeds(f) for f in FLAGS if f.sum() > 1])


def test_selected_from_what_was_selected() -> None:
    text = HEAD + """
g = Greater(s, 0.4)
l = NonZero(g)
m = Transpose(l, perm=[1, 0])
p = GatherND(r, m)
e = Squeeze(m, [1])
f = Gather(t, e)
y = Relu(p)
z = Gather(x, f)
w = Neg(z)
u = Add(f, 1)
output y
output w
output u
output l
"""
    after = same(text, [feeds(f) for f in FLAGS])
    assert set(open_ops(after)) <= {"NonZero", "Squeeze", "Gather"}


def test_elements_of_a_matrix() -> None:
    text = """
input x: float[3,4]
g = Greater(x, 0.5)
k = NonZero(g)
q = Transpose(k, perm=[1, 0])
v = GatherND(x, q)
y = Exp(v)
a, b = Split(q, [1, 1], axis=1)
d = Add(a, b)
output y
output d
"""
    given = [{"x": RNG.random((3, 4)).astype(np.float32) + low} for low in (0.0, 1.0, -1.0)]
    after = same(text, given)
    assert open_ops(after).count("NonZero") == 1


@pytest.mark.parametrize(("lines", "sized"), [
    ("p = Sub([9], h)\nq = Concat([0], p, axis=0)\ny = Pad(s, q, 7.0)", True),
    ("p = Sub([9], h)\nq = Concat([0, 0], p, [0], axis=0)\ny = Pad(r, q)", True),
    ("p = Sub([9], h)\nq = Concat([0], p, axis=0)\ny = Pad(r, q, 1.0, [0])", True),
    ("p = Sub([9], h)\nq = Concat([0], p, axis=0)\nu = Add(t, 0)\ny = Pad(u, q, -1)", True),
    ("p = Sub([4], h)\nm = Max(p, [0])\nq = Concat([0], m, axis=0)\nz = Pad(s, q, 7.0)\ny = Slice(z, [0], [4])", False),
    ("y = Pad(r, [0, 0, 2, 0], 7.0)\n", False),
    ("z = Min(h, [2])\na, b = TopK(s, z)\np = Sub([2], z)\nq = Concat([0], p, axis=0)\ny = Pad(a, q)", True),
])  # fmt: skip
def test_padding_after_the_rows(lines: str, sized: bool) -> None:
    after = same(HEAD + lines + "\noutput y\n", [feeds(f) for f in FLAGS])
    assert set(open_ops(after)) <= (set() if sized else {"NonZero", "Squeeze", "Gather"})
    assert "Pad" not in [after.op(i).type for i in after.topological()]


@pytest.mark.parametrize("lines", [
    "p = Sub([4], h)\nq = Concat([0], p, axis=0)\ny = Pad(s, q)",  # fewer rows where there are more than 4
    "p = Sub([9], h)\nq = Concat(p, [0], axis=0)\ny = Pad(s, q)",
    "y = Pad(r, [0, 1, 1, 0])",
    "y = Pad(r, [0, 1], 0.0, [1])",
    "y = Pad(s, [0, 1], mode='edge')",
    "a = Sub(h, h)\nq = Concat(a, a, axis=0)\ny = Pad(s, q)",
    "f = ReduceMax(v, keepdims=0)\nq = Sub([9], h)\np = Concat([0], q, axis=0)\ny = Pad(s, p, f)",
])  # fmt: skip
def test_other_padding_is_left(lines: str) -> None:
    text = HEAD + lines.replace("(r", "(z").replace("(s,", "(o,").replace("'", '"') + "\noutput y\n"
    text = text.replace("h = Shape(s)\n", "h = Shape(s)\nz = Relu(r)\no = Relu(s)\n")
    after = same(text, [feeds(f) for f in FLAGS if f.any()])
    assert "Pad" in open_ops(after) and "Relu" not in open_ops(after)


def test_boxes_to_align() -> None:
    text = """
input x: float[2,3,8,8]
input b: float[5,4]
input i: int64[5]
input c: bool[5]
k = NonZero(c)
t = Squeeze(k, [0])
r = Gather(b, t)
j = Gather(i, t)
z = Log(r)
e = Exp(z)
y = RoiAlign(x, e, j, output_height=2, output_width=2)
output y
"""
    images = RNG.random((2, 3, 8, 8)).astype(np.float32)
    chosen = np.array([1, 0, 1, 1, 0], bool)
    corners = np.where(chosen[:, None], boxes(5)[0], -np.inf).astype(np.float32)
    feed = {"x": images, "b": corners, "i": np.array([0, 9, 1, 1, -9]), "c": chosen}
    found = []
    for first in ("infer-shapes", "mask-selections"):
        passes = ["infer-shapes", first, "decompose-roi-align", "infer-shapes"]
        after = PassManager(passes, targets.get("iOS17")).run(parse(text)).graph
        found.append(run(after, feed)["y"])
    assert set(open_ops(after)) <= {"NonZero", "Squeeze", "Gather"}
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5, atol=1e-6)


def test_bools() -> None:
    text = HEAD + "g = Greater(r, 0.0)\ny = ReduceMax(g, [0])\nz = ReduceMin(g, [0])\noutput y\noutput z\n"
    same(text, [feeds(f) for f in FLAGS if f.any()])


def boxes(count: int) -> Array:
    corner = RNG.random((1, count, 2)) * 3
    return np.concatenate([corner, corner + RNG.random((1, count, 2)) + 0.5], 2).astype(np.float32)


NMS = """
n = NonMaxSuppression(b, s, [9], [0.3], [0.2])
j = Gather(n, 2, axis=1)
l = Gather(n, [1], axis=1)
i = Slice(n, [0], [1], [1])
z = Gather(flat, j)
y = Relu(z)
m = Cast(l, to=1)
o = Add(i, j2)
output y
output m
output o
output n
"""


def test_non_max_suppression() -> None:
    text = "input b: float[1,8,4]\ninput s: float[1,2,8]\nflat = Reshape(b, [8, 4])\n" + NMS.replace("j2", "0")
    given = [{"b": boxes(8), "s": RNG.random((1, 2, 8)).astype(np.float32) * top} for top in (1, 0.1, 10)]
    after = same(text, given)
    assert "NonMaxSuppression" not in open_ops(after)
    assert set(open_ops(after)) <= {"NonZero", "Squeeze", "Gather"}


@pytest.mark.parametrize("least", [", [0.2]", ""])
def test_non_max_suppression_of_what_is_selected(least: str) -> None:
    text = f"""
input x: float[8,4]
input v: float[8]
g = Greater(v, 0.3)
k = NonZero(g)
t = Squeeze(k, [0])
r = Gather(x, t)
e = Gather(v, t)
b = Unsqueeze(r, [0])
s = Reshape(e, [1, 1, -1])
n = NonMaxSuppression(b, s, [9223372036854775807], [0.3]{least})
q = Gather(n, [2], axis=1)
w = Squeeze(q, [1])
f = Slice(w, [0], [3], [0])
y = Gather(r, f)
z = Gather(e, f)
output y
output z
output w
output n
"""
    given = [{"x": boxes(8)[0], "v": RNG.random(8).astype(np.float32) * top} for top in (1, 0.1, 10)]
    after = same(text, given)
    assert set(open_ops(after)) <= {"NonZero", "Squeeze", "Gather"}


@pytest.mark.parametrize("lines", [
    "y = Slice(r, [1], [3], [0])",  # which rows these are depends on how many there are
    "y = Slice(r, [0], [-1], [0])",
    "y = Slice(r, [0], [0], [0])",
    "y = Gather(r, [0], axis=0)",
    "y = Split(r, h, axis=0)",
    "q = Div(h, h)\ny = Slice(r, [1], [3], [1], q)",
    "q = Where(some, [-1], [3])\ny = Slice(r, [0], q, [0])",
    "y = CumSum(r, 0)",
    "d, _ = Unique(s)\ny = Neg(d)",
    "const w: float[4] = [1.0, 2.0, 3.0, 4.0]\ny, d = LayerNormalization(r, w, axis=-1)\noutput d",
    "y = If(some, then_branch={\n  a = Neg(r)\n  output a\n}, else_branch={\n  b = Exp(r)\n  output b\n})",
])  # fmt: skip
def test_what_needs_the_rows_alone(lines: str) -> None:
    extra = "z = Relu(r)\nf = ReduceMax(v, keepdims=0)\nsome = Greater(f, 0.5)\n"
    after = same(HEAD + extra + lines.replace("(r", "(z") + "\noutput y\n", [feeds(f) for f in FLAGS if f.sum() > 2])
    assert "Relu" not in open_ops(after), "what comes before still has fixed sizes"


@pytest.mark.parametrize("lines", [
    "y = Add(s, g)", "y = Concat(s, g, axis=0)",
    "u = Unsqueeze(s, [1])\nw = Unsqueeze(g, [1])\ny = Concat(u, w, axis=1)",
    "u = Reshape(s, [-1, 1, 1])\nw = Reshape(g, [-1, 1, 1])\ny = MatMul(u, w)",
    "y = ScatterElements(v, t, g, axis=0)",
])  # fmt: skip
def test_different_selections_do_not_mix(lines: str) -> None:
    text = HEAD + "l = NonZero(o)\nm = Squeeze(l, [0])\ng = Gather(v, m)\n" + lines + "\noutput y\n"
    given = [feeds(f) | {"o": f[::-1].copy()} for f in FLAGS]
    same("input o: bool[6]\n" + text.lstrip(), given)


@pytest.mark.parametrize("text", [
    "input c: bool[6]\ny = NonZero(c)\noutput y\n",
    "input c: bool[6]\ninput x: float[6,4]\nk = NonZero(c)\nt = Squeeze(k, [0])\ny = Gather(x, t)\noutput y\n",
    "input c: bool[n]\nk = NonZero(c)\ny = Neg(k)\noutput y\n",
])  # fmt: skip
def test_what_is_left_as_it_is(text: str) -> None:
    before = PassManager(["infer-shapes"], targets.get("iOS17")).run(parse(text)).graph
    after = PassManager(["infer-shapes", "mask-selections"], targets.get("iOS17")).run(parse(text)).graph
    assert [after.op(i) for i in after.topological()] == [before.op(i) for i in before.topological()]


def test_too_many_rows_are_left_as_they_are() -> None:
    text = HEAD + "y = Relu(r)\noutput y\n"
    after = PassManager(["infer-shapes", "mask-selections{max-rows=5}"], targets.get("iOS17")).run(parse(text)).graph
    assert "Relu" in open_ops(after)


def test_a_second_run_changes_nothing() -> None:
    text = HEAD + "y = Relu(r)\nz = CumSum(y, 0)\noutput y\noutput z\noutput t\n"
    once = masked(text)
    again = PassManager(["mask-selections"], targets.get("iOS17")).run(once)
    assert not again.reports[-1].events
