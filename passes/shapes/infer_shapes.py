"""The pass around :func:`coregraft.rewriter.shapes.infer_shapes`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from coregraft.rewriter.graph import Graph
from coregraft.rewriter.passes import Context, Fact, Pass
from coregraft.rewriter.shapes import infer_shapes


@dataclass(frozen=True)
class InferShapes(Pass):
    """Give every value its element type and shape.

    What it does
    ------------
    Infers the type of every value, in bodies and through model-local functions, with symbolic dims kept and computed
    with: a stride of 2 over ``width`` gives ``(width + 1)//2``, and the target of a Reshape is followed back through
    the Shape, Gather, Mul and Concat that made it. Declared types are completed, and corrected where they contradict
    what follows from the inputs. Weights are not read.

    Why it matters
    --------------
    Core ML compiles for shapes. Rewrites, emitters and cost models ask for them everywhere, and exporters often write
    none, or stale ones, for the values inside the graph.

    Example
    -------
    ``y: ? = Conv<strides=[2,2], pads=[1,1,1,1]>(x: float[batch,3,height,width], w: float[8,3,3,3])`` becomes
    ``y: float[batch,8,(height + 1)//2,(width + 1)//2]``.

    Equivalence
    -----------
    Bit-exact: only types change.

    Sources
    -------
    ONNX operator schemas and their inference functions. With ``ceil_mode``, onnxruntime's rule for the last pooling
    window, which opset 22 made the written one.
    """

    requires: ClassVar[frozenset[Fact]] = frozenset({Fact.INTERNAL_OPSET})
    ensures: ClassVar[frozenset[Fact]] = frozenset({Fact.TYPED})

    def run(self, g: Graph, ctx: Context) -> None:
        infer_shapes(g, ctx.rewriter(g))
