"""Numbers that are computed at run time, bound to the only values with which the shapes of results come out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from coregraft.passes.cleanup.fold_constants import FoldConstants
from coregraft.passes.cleanup.fold_if import FoldIf
from coregraft.passes.shapes.complete_shapes import CompleteShapes, related
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.passes import Context, Equivalence, Pass

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
        if ctx.target.ops is None:
            return
        while _is_wanted(g) and _bind(g, ctx):
            for pass_ in (FoldConstants(), FoldIf(), CompleteShapes()):
                ctx.run(pass_, g)


def _is_wanted(g: Graph) -> bool:
    """Whether a size is computed at run time at all."""
    return any(
        i < len(op.inputs) and op.inputs[i] and g.const(op.inputs[i]) is None
        for _, op in g.ops()
        for i in (_SIZES.get(op.type, ()) if op.domain == "" else ())
    )


def _bind(g: Graph, ctx: Context) -> bool:
    """Replace what is known; whether anything was."""
    rw, shapes = ctx.rewriter(g), related(g)
    bound: set[str] = set()
    for value, op in list(_computed(g)):
        numbers, kind = shapes.constant(value), g.tensor_type(value)
        if numbers is None or kind is None or kind.static_shape is None or g.public_names(value):
            continue
        if g.users(value):
            rw.replace_uses(value, rw.const(np.array(numbers, kind.dtype.numpy).reshape(kind.static_shape), value))
            if op is None or bound.isdisjoint(op.inputs):
                ctx.note(f'"{value}" is taken to be {numbers}: the shapes that the model declares allow nothing else')
            bound.add(value)
    return bool(bound)


def _computed(g: Graph) -> Iterator[tuple[str, Op | None]]:
    """The values that are no constants, each with the op that defines it: inputs, then results in order."""
    for value in g.inputs:
        yield value, None
    for op_id in g.topological():
        op = g.op(op_id)
        for value in op.outputs:
            if value:
                yield value, op
