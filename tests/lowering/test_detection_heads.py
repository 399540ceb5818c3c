"""What detectors do with their boxes, in the ways of several exporters, all the way to a package and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import coregraft
from coregraft.lowering.lift import lift
from coregraft.rewriter.execute import run
from coregraft.rewriter.onnx_io.text import parse
from coregraft.rewriter.types import Array

RNG = np.random.default_rng(4)
BOXES, CLASSES = 40, 3
#: One tensor of centres, sizes and scores, as YOLO gives it: corners [1, n, 4], scores [1, classes, n].
YOLO = """
input p: float[1,7,40]
q = Transpose(p, perm=[0, 2, 1])
xy, wh, cls = Split(q, [2, 2, 3], axis=2)
h = Mul(wh, 0.5)
a = Sub(xy, h)
b = Add(xy, h)
box = Concat(a, b, axis=2)
scores = Transpose(cls, perm=[0, 2, 1])
"""
HEADS = {
    "rows of seven": YOLO + """
n = NonMaxSuppression(box, scores, [100], [0.45], [0.25])
i, c, k = Split(n, [1, 1, 1], axis=1)
at = Concat(i, k, axis=1)
corners = GatherND(box, at)
s = GatherND(scores, n)
score = Unsqueeze(s, [1])
image = Cast(i, to=1)
label = Cast(c, to=1)
y = Concat(image, corners, label, score, axis=1)
output y
""",
    "classes kept apart by an offset": YOLO + """
best = ReduceMax(cls, [2], keepdims=1)
which = ArgMax(cls, axis=2, keepdims=1)
label = Cast(which, to=1)
far = Mul(label, 1000.0)
apart = Add(box, far)
s = Transpose(best, perm=[0, 2, 1])
n = NonMaxSuppression(apart, s, [9223372036854775807], [0.45], [0.25])
k = Gather(n, [2], axis=1)
at = Squeeze(k, [1])
rows = Concat(box, best, label, axis=2)
flat = Squeeze(rows, [0])
y = Gather(flat, at, axis=0)
output y
""",
    "the best of all classes": YOLO + """
n = NonMaxSuppression(box, scores, [30], [0.45], [0.25])
s = GatherND(scores, n)
count = Shape(s)
k = Min(count, [10])
y, order = TopK(s, k, axis=0)
chosen = Gather(n, order, axis=0)
at = Gather(chosen, 2, axis=1)
flat = Squeeze(box, [0])
corners = Gather(flat, at, axis=0)
output y
output corners
""",
    "padded to a fixed size": YOLO + """
n = NonMaxSuppression(box, scores, [30], [0.45], [0.25])
s = GatherND(scores, n)
count = Shape(s)
k = Min(count, [20])
best, order = TopK(s, k, axis=0)
chosen = Gather(n, order, axis=0)
at = Gather(chosen, 2, axis=1)
flat = Squeeze(box, [0])
corners = Gather(flat, at, axis=0)
left = Sub([20], k)
none = Sub(k, k)
rows = Concat(none, none, left, none, axis=0)
padded = Pad(corners, rows)
y = Reshape(padded, [1, 20, 4])
tail = Concat(none, left, axis=0)
values = Pad(best, tail, -1.0)
found = Cast(k, to=6)
output found
output y
output values
""",
    "cut to a fixed size": """
input box: float[1,40,4]
input scores: float[1,3,40]
n = NonMaxSuppression(box, scores, [20], [0.5], [0.3])
c = Slice(n, [2], [3], [1])
k = Squeeze(c, [1])
count = Shape(k)
missing = Sub([30], count)
more = Max(missing, [0])
pads = Concat([0], more, axis=0)
padded = Pad(k, pads)
at = Slice(padded, [0], [30], [0])
flat = Squeeze(box, [0])
y = Gather(flat, at, axis=0)
output y
""",
    "above a threshold, then suppressed, unless there are none": """
input box: float[40,4]
input score: float[40]
g = Greater(score, 0.4)
z = NonZero(g)
t = Transpose(z, perm=[1, 0])
b = GatherND(box, t)
s = GatherND(score, t)
count = Shape(s)
least = Concat([25], count, axis=0)
k = ReduceMin(least)
best, order = TopK(s, k, axis=0)
chosen = Gather(b, order, axis=0)
size = Size(chosen)
none = Equal(size, 0)
keep = If(none, then_branch={
  const e: int64[0] = []
  output e
}, else_branch={
  m = ReduceMax(chosen, keepdims=0)
  d = Add(chosen, m)
  u = Unsqueeze(d, [0])
  w = Reshape(best, [1, 1, -1])
  n = NonMaxSuppression(u, w, [9223372036854775807], [0.5])
  c = Gather(n, [2], axis=1)
  q = Squeeze(c, [1])
  output q
})
first = Slice(keep, [0], [8], [0])
y = Gather(chosen, first, axis=0)
v = Gather(best, first, axis=0)
output y
output v
""",
}


def drawn(top: float) -> dict[str, Array]:
    """Inputs of all heads: boxes of a picture of 100 by 100, scores up to ``top``."""
    centres, sizes = RNG.random((1, BOXES, 2)) * 100, RNG.random((1, BOXES, 2)) * 40 + 2
    scores = RNG.random((1, BOXES, CLASSES)) * top
    corners = np.concatenate([centres - sizes / 2, centres + sizes / 2], 2).astype(np.float32)
    whole = np.concatenate([centres, sizes, scores], 2).transpose(0, 2, 1).astype(np.float32)
    named = {"p": whole, "box": corners, "scores": scores.transpose(0, 2, 1).astype(np.float32)}
    return named | {"score": scores[0, :, 0].astype(np.float32)}


@pytest.mark.parametrize("format", ["mlprogram", "neuralnetwork"])
@pytest.mark.parametrize("head", HEADS)
def test_head(head: str, format: str, tmp_path: Path) -> None:
    g = parse(HEADS[head])
    done = coregraft.convert(g, format=format, precision="fp32", fallback="error")
    named = [w for w in done.report.warnings if "depends on the data" in w]
    is_open = any(f.shape is None for f in done.report.outputs)
    assert len(named) == is_open, "only what leaves the model has no fixed size"
    path = tmp_path / ("m.mlpackage" if format == "mlprogram" else "m.mlmodel")
    done.save(path)
    lifted = lift(path)
    for top in (1.0, 0.6, 0.1):
        given = drawn(top)
        want = run(g, {name: given["box"][0] if g.tensor_type(name).rank == 2 else given[name] for name in g.inputs})  # type: ignore[union-attr]
        fed = {f.feature: given[f.name].reshape(f.shape) for f in done.report.inputs if f.shape is not None}
        found = run(lifted, fed)
        for feature in done.report.outputs:
            right, value = want[feature.name], found[lifted.outputs[feature.feature]]
            assert value.shape == right.shape
            np.testing.assert_allclose(value, right, rtol=1e-5, atol=1e-5)
