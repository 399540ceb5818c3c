"""Numbers that are computed at run time, bound to the only values with which the shapes of results come out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from coregraft.passes.cleanup.fold_constants import FoldConstants
from coregraft.passes.cleanup.fold_if import FoldIf
from coregraft.passes.shapes.complete_shapes import CompleteShapes, related
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.passes import Context, Equivalence, Finding, Pass

#: Where ops take numbers that decide the size of their result.
_SIZES = {
    "ConstantOfShape": (0,), "Expand": (1,), "OneHot": (1,), "Pad": (1,), "Range": (0, 1, 2), "Reshape": (1,),
    "Slice": (1, 2), "Split": (1,), "Tile": (1,), "TopK": (1,),
}  # fmt: skip


@dataclass(frozen=True)
class BindSizes(Pass):
    """Replace integers that are computed at run time by constants, where the shapes of results settle them.

    What it does
    ------------
    Relates the numbers that make sizes with the sizes of all tensors, as complete-shapes does, and replaces a vector
    or a single number by a constant where every element has become known: the limit of a Range whose length is
    declared, the elements of a target shape, what is computed with them. Then folds what has become constant, Ifs
    included. Each such number is named in the report. Fires for Core ML targets only.

    Why it matters
    --------------
    Shapes are fixed when Core ML compiles a model: a size that arrives at run time can only be what it was then.

    Example
    -------
    ``y: float[2,5] = ConstantOfShape(Concat(n, m))`` becomes ``y = ConstantOfShape([2, 5])``.

    Equivalence
    -----------
    Bit-exact where the run-time values agree with the declared shapes, as ONNX demands.

    Sources
    -------
    H5.08; ONNX's operator schemas.
    """

    code: ClassVar[str] = "CG508"
    equivalence: ClassVar[Equivalence] = Equivalence.BIT_EXACT

    def run(self, g: Graph, ctx: Context) -> None:
        while ctx.target.ops is not None and _bind(g, ctx):
            for pass_ in (FoldConstants(), FoldIf(), CompleteShapes()):
                ctx.run(pass_, g)

    def check(self, g: Graph, ctx: Context) -> list[Finding]:
        if ctx.target.ops is None:
            return []
        message = "can only be {} with the shapes that the model declares."
        return [Finding(self.code, self.name, value, message.format(numbers)) for value, numbers in _settled(g).items()]


def _bind(g: Graph, ctx: Context) -> bool:
    """Replace what is settled; whether anything was."""
    rw, found = ctx.rewriter(g), _settled(g)
    for value, numbers in found.items():
        producer = g.producer(value)
        if producer is None or found.keys().isdisjoint(g.op(producer).inputs):  # else it follows from what is named
            ctx.note(f'"{value}" is taken to be {numbers}: the shapes that the model declares allow nothing else')
    for value, numbers in found.items():
        kind = g.tensor_type(value)
        assert kind is not None and kind.static_shape is not None
        rw.replace_uses(value, rw.const(np.array(numbers, kind.dtype.numpy).reshape(kind.static_shape), value))
    return bool(found)


def _settled(g: Graph) -> dict[str, list[int]]:
    """The numbers that have one value, of those that anything reads: inputs, then results in order."""
    if not any(_is_computed(g, op) for _, op in g.ops()):
        return {}
    shapes, outputs = related(g), set(g.outputs.values())
    results = [v for op_id in g.topological() for v in g.op(op_id).outputs if v]
    return {
        value: numbers
        for value in (*g.inputs, *results)
        if g.users(value) and value not in outputs and (numbers := shapes.constant(value)) is not None
    }


def _is_computed(g: Graph, op: Op) -> bool:
    """Whether a size of the op's result is given at run time."""
    given = [op.inputs[i] for i in _SIZES.get(op.type, ()) if i < len(op.inputs)] if op.domain == "" else []
    return any(v and g.const(v) is None for v in given)
