"""ZipMap at the end of a model."""

from __future__ import annotations

from coregraft.passes.decompose.drop_zip_map import DropZipMap
from coregraft.rewriter.contract import Context
from coregraft.rewriter.onnx_io.text import parse
from coregraft.rewriter.target import Target

BARE = Target("iOS17", "mlprogram", ops={}, max_rank=5)
TEXT = """
opset ai.onnx.ml 3
input x: float[2,3]
p: float[2,3] = Softmax(x, axis=1)
m = ai.onnx.ml.ZipMap(p, classlabels_int64s=[4, 7, 9])
output "probabilities" = m
"""


def test_the_output_becomes_the_matrix() -> None:
    g = parse(TEXT)
    ctx = Context(target=BARE)
    DropZipMap().run(g, ctx)
    assert dict(g.outputs) == {"probabilities": "p"}
    assert [g.op(i).type for i in g.topological()] == ["Softmax"]
    assert ctx.notes == ["the output m is a matrix with a column for each label: 4, 7, 9"]


def test_a_map_that_is_read_stays_and_so_does_one_for_onnx() -> None:
    g = parse(TEXT)
    DropZipMap().run(g, Context())
    assert len(list(g.ops())) == 2
    g = parse(TEXT + "n = SequenceLength(m)\noutput n\n")
    DropZipMap().run(g, Context(target=BARE))
    assert len(list(g.ops())) == 3
