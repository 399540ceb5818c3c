"""One reshape for a chain of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from coregraft.rewriter.match import NoMatch
from coregraft.rewriter.rewriter import Rewriter
from coregraft.rewriter.rule import Rule
from coregraft.rewriter.schema import attr
from coregraft.rewriter.types import Dim

_KINDS = ("Flatten", "Reshape", "Squeeze", "Unsqueeze")


@dataclass(frozen=True)
class FuseReshapes(Rule):
    """Fuse a chain of Reshape, Flatten, Squeeze and Unsqueeze into one Reshape, or into nothing.

    What it does
    ------------
    Two such ops in a row, the first without another reader, become one ``Reshape`` from the first operand to the last
    shape, which must be known up to one dim. When that is the shape the chain started from, both go; so
    does an ``Unsqueeze`` followed by the ``Squeeze`` that undoes it, whatever the other dims are.

    Why it matters
    --------------
    A reshape can be a copy on the Neural Engine, and each of these ops is a barrier to fusions that look past one.

    Example
    -------
    ``Squeeze(Reshape(x, [1, 6, 4]), [0])`` becomes ``Reshape(x, [6, 4])``.

    Equivalence
    -----------
    Bit-exact.

    Sources
    -------
    ONNX operator definitions: all four keep the elements in order. Hazard H5.07.
    """

    roots = _KINDS

    def match_and_rewrite(self, op_id: int, rw: Rewriter) -> Any:
        g, op = rw.graph, rw.graph.op(op_id)
        middle, result = op.inputs[0], op.outputs[0]
        inner_id = g.producer(middle)
        if inner_id is None or g.op(inner_id).domain or g.op(inner_id).type not in _KINDS:
            return NoMatch("its operand is no reshape")
        inner = g.op(inner_id)
        source = inner.inputs[0]
        before, after = g.tensor_type(source), g.tensor_type(result)
        shape = after.shape if after is not None else None
        undone = _undoes(rw, inner.type, inner.inputs, op.type, op.inputs) or (
            before is not None and shape is not None and before.shape == shape and None not in shape
        )
        if undone:
            if g.public_names(result) and (g.producer(source) is None or g.public_names(source)):
                return NoMatch("an output needs an op of its own")
            rw.replace([op_id, inner_id], {result: source})
            return True
        if len(g.users(middle)) > 1 or g.public_names(middle):
            return NoMatch("the tensor between has another reader")
        target = _target(shape)
        if target is None:
            target = _own_target(rw, op.type, op.inputs, bool(attr(op, "allowzero")))
        if target is None:
            return NoMatch("the final shape has more than one unknown dim")
        rw.update(op_id, type="Reshape", inputs=[source, np.array(target, np.int64)], attrs={})
        if inner_id in g and not g.users(middle):
            rw.erase(inner_id)
        return True


def _target(shape: tuple[Dim, ...] | None) -> list[int] | None:
    """A shape as the target of a Reshape: at most one dim unknown, and none zero (which would mean to copy one)."""
    if shape is None or 0 in shape or sum(1 for d in shape if not isinstance(d, int)) > 1:
        return None
    return [d if isinstance(d, int) else -1 for d in shape]


def _own_target(rw: Rewriter, kind: str, inputs: tuple[str, ...], allowzero: bool) -> list[int] | None:
    """The constant target of an outer Reshape, which does not depend on what it is given unless it copies dims."""
    if kind != "Reshape":
        return None
    const = rw.graph.const(inputs[1])
    if const is None or allowzero or not math.prod(const.numpy().tolist()):
        return None
    return [int(d) for d in const.numpy()]


def _undoes(rw: Rewriter, first: str, a: tuple[str, ...], second: str, b: tuple[str, ...]) -> bool:
    """Whether an Unsqueeze is followed by the Squeeze of the same axes, or a Squeeze by such an Unsqueeze."""
    if {first, second} != {"Squeeze", "Unsqueeze"} or len(a) < 2 or len(b) < 2:
        return False
    left, right = rw.graph.const(a[1]), rw.graph.const(b[1])
    if left is None or right is None:
        return False
    one, other = sorted(left.numpy().ravel().tolist()), sorted(right.numpy().ravel().tolist())
    return bool(one) and one == other  # both are axes of the longer shape
