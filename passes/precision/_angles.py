"""Angles that are made of positions or times."""

from __future__ import annotations

from coregraft.rewriter.graph import Graph

#: Half precision has steps of 1 from 1024 on: there, the sine of an angle is noise (H3.18).
_OF_ANGLES = frozenset({"Cos", "Sin", "Tan"})
#: What an angle is made by: arithmetic of positions and frequencies, and data movement.
_OF_POSITIONS = frozenset({
    "Add", "Cast", "Concat", "Div", "Expand", "Flatten", "Gather", "Identity", "MatMul", "Mul", "Neg", "Range",
    "Reshape", "Slice", "Split", "Squeeze", "Sub", "Tile", "Transpose", "Unsqueeze",
})  # fmt: skip


def angles_of_positions(g: Graph) -> set[int]:
    """The ops Sin, Cos and Tan whose angle is made of integers, inputs and constants alone, and those that make it.

    The angle of an activation is another matter: networks keep those small.
    """
    found: set[int] = set()
    for op_id, op in g.ops():
        if op.type in _OF_ANGLES and not op.domain:
            found |= _made_of_positions(g, op_id)
    return found


def _made_of_positions(g: Graph, op_id: int) -> set[int]:
    """The op and those that compute its operand, back to integers and inputs; none if another kind of op is there."""
    way, todo = {op_id}, [op_id]
    while todo:
        for value in g.op(todo.pop()).inputs:
            kind, producer = (g.tensor_type(value), g.producer(value)) if value else (None, None)
            if producer is None or producer in way or kind is None or not kind.dtype.is_float:
                continue
            op = g.op(producer)
            if op.domain or op.type not in _OF_POSITIONS:
                return set()
            way.add(producer)
            todo.append(producer)
    return way
