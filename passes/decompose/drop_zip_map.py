"""ZipMap at the end of a model, left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from coregraft.passes.decompose._classes import listed
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.passes import LOSSY, Context, Equivalence, Pass


@dataclass(frozen=True)
class DropZipMap(Pass):
    """Return the tensor of probabilities in the place of a list of maps.

    What it does
    ------------
    A ZipMap whose result is an output of the model and nothing else is left out: the output becomes its operand, a
    matrix with one column for each label, in the order of the labels. The report notes it, with the labels. A ZipMap
    that another op reads stays. Does nothing where the target takes maps.

    Why it matters
    --------------
    Core ML's networks return tensors, not maps from labels to numbers; every classifier that scikit-learn's converter
    writes ends with one.

    Example
    -------
    ``y = ai.onnx.ml.ZipMap <classlabels_int64s = [4, 7]> (p)`` as an output becomes the output ``p``.

    Equivalence
    -----------
    Lossy: the numbers are the same, the labels they stand for are no longer with them.

    Sources
    -------
    H4.26; ONNX ai.onnx.ml ZipMap-1.
    """

    code: ClassVar[str] = "CG426"
    equivalence: ClassVar[Equivalence] = LOSSY

    def run(self, g: Graph, ctx: Context) -> None:
        rw = ctx.rewriter(g)
        for op_id in [i for i in g.topological() if g.op(i).key == ("ai.onnx.ml", "ZipMap")]:
            op = g.op(op_id)
            value, source = op.outputs[0], op.inputs[0]
            if ctx.target.supports(op) or g.users(value) or not g.public_names(value):
                continue
            labels = op.attrs.get("classlabels_int64s") or op.attrs.get("classlabels_strings") or ()
            ctx.note(f"the output {value} is a matrix with a column for each label: {listed(labels)}")
            rw.at((op_id,), type(self).__name__)
            rw.set_outputs({name: source if old == value else old for name, old in g.outputs.items()})
            rw.erase(op_id)
            ctx.count("dropped")
