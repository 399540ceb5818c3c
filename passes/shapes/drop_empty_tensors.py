"""Empty pieces of Split and empty operands of Concat, left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.passes.decompose._base import Decomposition, ints
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView, ValueView


@dataclass(frozen=True)
class DropEmptyTensors(Decomposition):
    """Leave out operands of Concat, and unread pieces of Split, that have no elements.

    What it does
    ------------
    A Concat loses its empty operands; with one left it is an Identity. A Split loses the empty pieces that nobody
    reads, which are often those that a Concat has lost. An op with nothing else left stays as it is.

    Why it matters
    --------------
    Core ML has no empty tensors. Functions that split off a part which may be nothing, RotaryEmbedding's for one,
    make them on the way.

    Example
    -------
    ``a, e = Split(x, [8, 0])``, ``y = Concat(a, e)`` becomes ``y = Identity(Identity(x))``.

    Equivalence
    -----------
    Bit-exact.

    Sources
    -------
    H4.04.
    """

    code: ClassVar[str] = "CG404"
    equivalence: ClassVar[Equivalence] = Equivalence.BIT_EXACT
    roots: ClassVar[tuple[str, ...]] = ("Concat", "Split")

    def match_and_rewrite(self, op_id: int, rw: Any) -> bool | NoMatch:
        node = OpView(rw.graph, op_id)
        if node.type == "Concat":
            return super().match_and_rewrite(op_id, rw)
        kept = [o for o in node.outputs if o is not None and not (_is_empty(o) and _is_unread(o))]
        sizes = [o.static_shape for o in kept]
        if len(kept) == len(node.outputs) or None in node.outputs or not kept or None in sizes:
            return NoMatch("it has no empty piece that can be left out")
        rw.at((op_id,), type(self).__name__)

        def build() -> Any:
            op, x = OpBuilder(rw), node.inputs[0]
            if len(kept) == 1:
                return op.Identity(x)
            axis = node.attr("axis")
            pieces = ints(op, [shape[axis] for shape in sizes if shape is not None])
            return list(op.Split(x, pieces, axis=axis, _outputs=len(kept)))

        result = rw.commit((op_id,), [o.name for o in kept], build)
        return result if isinstance(result, NoMatch) else True

    def build(self, op: OpBuilder, node: OpView) -> Any:
        kept = [v for v in node.inputs if v is not None and not _is_empty(v)]
        if len(kept) == len(node.inputs) or not kept:
            return NoMatch("it has no empty operand that can be left out")
        return op.Identity(kept[0]) if len(kept) == 1 else op.Concat(*kept, axis=node.attr("axis"))


def _is_empty(value: ValueView) -> bool:
    return value.shape is not None and 0 in value.shape


def _is_unread(value: ValueView) -> bool:
    return not value.is_output and not value.graph.users(value.name)
