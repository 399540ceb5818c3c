"""Sequences whose length is known, dissolved into their elements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose._base import Decomposition, computed, constant, ints, need, operand
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView, ValueView


@dataclass(frozen=True)
class DissolveSequences(Decomposition):
    """Replace sequences of known length by the tensors in them.

    What it does
    ------------
    Follows a sequence from where it is made (SequenceConstruct, SequenceEmpty, SplitToSequence) through SequenceInsert
    and SequenceErase at constant places to where it is read: SequenceAt at a constant place becomes the element,
    SequenceLength a constant, ConcatFromSequence a Concat. SplitToSequence becomes a Split, for which the size of the
    axis must be known. What builds a sequence that nobody reads any more is dead code. Fires for every target.

    Why it matters
    --------------
    Core ML has no sequences; most of those in real models are lists of a fixed length that an exporter wrote down.

    Example
    -------
    ``s = SplitToSequence(x, [2, 3])``, ``y = SequenceAt(s, 1)`` becomes ``_, y = Split(x, [2, 3])``.

    Equivalence
    -----------
    Bit-exact: elements are moved.

    Sources
    -------
    H5.11; ONNX SequenceAt-11, SplitToSequence-24, ConcatFromSequence-11.
    """

    code: ClassVar[str] = "CG511"
    equivalence: ClassVar[Equivalence] = Equivalence.BIT_EXACT
    roots: ClassVar[tuple[str, ...]] = (
        "ConcatFromSequence",
        "SequenceAt",
        "SequenceLength",
        "SplitToSequence",
    )

    def build(self, op: OpBuilder, node: OpView) -> Any:
        if node.type == "SplitToSequence":
            return _split(op, node)
        elements = _elements(need(node, 0))
        if isinstance(elements, NoMatch):
            return elements
        if node.type == "SequenceLength":
            return op.const(np.array(len(elements), np.int64))
        if node.type == "ConcatFromSequence":
            return _concat(op, node, elements)
        place = _place(node, 1, len(elements), default=None)
        return place if isinstance(place, NoMatch) else elements[place]


def _elements(sequence: ValueView) -> list[ValueView] | NoMatch:
    """The tensors of a sequence, or why they are not known."""
    changes: list[OpView] = []
    maker = sequence.producer
    while maker is not None and maker.type in ("SequenceInsert", "SequenceErase"):
        changes.append(maker)
        maker = need(maker, 0).producer
    if maker is None or maker.type not in ("SequenceConstruct", "SequenceEmpty"):
        return NoMatch("what is in the sequence is not known")
    found = [v for v in maker.inputs if v is not None]
    for node in reversed(changes):
        if node.type == "SequenceInsert":
            place = _place(node, 2, len(found) + 1, default=len(found))
            if isinstance(place, NoMatch):
                return place
            found.insert(place, need(node, 1))
        else:
            place = _place(node, 1, len(found), default=len(found) - 1)
            if isinstance(place, NoMatch):
                return place
            del found[place]
    return found


def _place(node: OpView, index: int, count: int, default: int | None) -> int | NoMatch:
    """A constant place among ``count`` (-1 is the last element there is); ``default`` where none is given."""
    if computed(node, index):
        return NoMatch("the place is computed at run time")
    given = constant(node, index)
    place = int(given.reshape(())) if given is not None else default
    assert place is not None  # optional only where there is a default
    if given is not None and place < 0:
        place += count - (node.type == "SequenceInsert")
    return place if 0 <= place < count else NoMatch("place {} does not exist", place)


def _concat(op: OpBuilder, node: OpView, elements: list[ValueView]) -> Any:
    axis = node.attr("axis")
    if not elements:
        return NoMatch("the sequence is empty")
    if node.attr("new_axis") == 1:
        place = ints(op, [axis])
        return op.Concat(*(op.Unsqueeze(e, place) for e in elements), axis=axis)
    return op.Concat(*elements, axis=axis)


def _split(op: OpBuilder, node: OpView) -> Any:
    x = need(node, 0)
    if not x.shape or computed(node, 1):
        return NoMatch("the sizes of the parts are computed at run time, or the rank of the input is not known")
    axis, given = node.attr("axis") % len(x.shape), constant(node, 1)
    size = x.shape[axis]
    if given is not None and given.ndim == 1:
        sizes = [int(n) for n in given]
    elif not isinstance(size, int):
        return NoMatch("the size of the axis is not known")
    else:
        step = 1 if given is None else int(given.reshape(()))
        sizes = [min(step, size - start) for start in range(0, size, step)]
    if not sizes:
        return NoMatch("there is nothing to split")
    parts = op.Split(x, ints(op, sizes), axis=axis, _outputs=len(sizes)) if len(sizes) > 1 else (x,)
    if operand(node, 1) is None and node.attr("keepdims") == 0:
        parts = [op.Squeeze(part, ints(op, [axis])) for part in parts]
    return op.SequenceConstruct(*parts)
