"""Sizes that only the results of a model tell, worked out from there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from coregraft.passes.shapes import _relations, _relations_of_parts  # noqa: F401  # they register relations
from coregraft.passes.shapes._arithmetic import RELATIONS
from coregraft.passes.shapes._sizes import ContradictionError, Place, Shapes
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.passes import Context, Fact, Pass
from coregraft.rewriter.shapes import infer_shapes
from coregraft.rewriter.types import TensorType

_MAX_ROUNDS = 16  # of relating sizes and inferring types: each needs something that only the other could tell


@dataclass(frozen=True)
class CompleteShapes(Pass):
    """Give values whose shape is not known the one that follows from the shapes of results further on.

    What it does
    ------------
    Relates the sizes around every op in both directions: equal dims of elementwise ops and of those that move
    elements, the one that broadcasting leaves, sums of a Concat, products of a Reshape, windows of stride 1, and the
    numbers that become dims. Sizes that are not known but equal are one unknown. Says what has to be so, together with
    inference, until neither finds more; where two answers are possible, nothing. Only dims that are open are filled in.

    Why it matters
    --------------
    Where a parameter is computed at run time, inference gives up, although the model declares what comes out in the
    end. With the shapes in between, ``bind-parameters`` and its like know what the parameter must be.

    Example
    -------
    ``t = ReduceSum(x, axes)``, ``y: float[2,1] = Log(t)``: ``t`` becomes ``float[2,1]``.

    Equivalence
    -----------
    Bit-exact: only types change.

    Sources
    -------
    H5.08; ONNX's operator schemas and its broadcasting rules.
    """

    requires: ClassVar[frozenset[Fact]] = frozenset({Fact.TYPED})

    def run(self, g: Graph, ctx: Context) -> None:
        rw = ctx.rewriter(g)
        for _ in range(_MAX_ROUNDS):
            completed = _completed(g)
            if not completed:
                break
            for value, kind in completed.items():
                rw.set_type(value, kind)
            infer_shapes(g, rw)


def related(g: Graph) -> Shapes:
    """All that the sizes in a graph say of each other."""
    shapes = Shapes(g)
    places = [Place(shapes, op, i) for i in g.topological() if (op := g.op(i)).domain == "" and op.type in RELATIONS]
    before = -1
    while shapes.unknowns.progress != before:
        before = shapes.unknowns.progress
        for place in (*places, *reversed(places)):
            try:
                RELATIONS[place.op.type](place)
            except ContradictionError:
                continue  # what is declared there is not what the op does: it tells nothing
    return shapes


def _completed(g: Graph) -> dict[str, TensorType]:
    """The types of values that become known, or known better, from the sizes of all others."""
    inputs = frozenset(g.inputs)
    unknown = [v for v in g.values() if g.const(v) is None and v not in inputs and _is_open(g, v)]
    if not unknown:
        return {}
    shapes = related(g)
    return {v: kind for v in unknown if (kind := shapes.completed(v)) is not None}


def _is_open(g: Graph, value: str) -> bool:
    kind = g.tensor_type(value)
    return kind is not None and (kind.shape is None or None in kind.shape)
