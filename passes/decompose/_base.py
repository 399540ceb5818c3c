"""What the rules of this folder share: one op is taken apart into simpler ones that the target has."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.rewriter.passes import NoMatch, OpBuilder, OpView, Rewriter, Rule, ValueView
from coregraft.rewriter.target import Target
from coregraft.rewriter.types import Array


class MissingOperandError(Exception):
    """An op lacks an operand that it cannot do without; only ops of domains without schemas get as far as that."""

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.index = index


@dataclass(frozen=True)
class Decomposition(Rule):
    """A rule that replaces one op, whatever is around it, by the values that :meth:`build` returns.

    Class attributes:
        roots: the op types it takes apart.
        when_unsupported: only fire where the target has no lowering for the op as it stands; else fire always.
        ranks: those that the first operand may have, where it is known; an op with any other is declined.
    """

    when_unsupported: ClassVar[bool] = False
    ranks: ClassVar[range] = range(65)

    def build(self, op: OpBuilder, node: OpView) -> Any:
        """The values of the outputs to replace, in order; or a :class:`NoMatch` (what was built is undone)."""
        raise NotImplementedError

    def replaced(self, node: OpView) -> list[int]:
        """The outputs that :meth:`build` gives values for: all that the node has. Any others must be unread."""
        return [i for i, name in enumerate(node.op.outputs) if name]

    def wanted(self, node: OpView, target: Target) -> bool:
        """Whether the target is better off without the op."""
        return not (self.when_unsupported and target.supports(node.op))

    def finding(self, m: Any) -> str:
        """What is wrong with the op as it stands: the first sentence of why the rule matters."""
        why = (inspect.getdoc(type(self)) or "").partition("Why it matters\n--------------\n")[2].partition("\n\n")[0]
        return re.split(r"(?<=[.;:]) ", " ".join(why.split()), maxsplit=1)[0].rstrip(".;:") + "."

    def match_and_rewrite(self, op_id: int, rw: Rewriter) -> bool | NoMatch:
        node = OpView(rw.graph, op_id)
        if not self.wanted(node, rw.target):
            return NoMatch("{} has a lowering for {}", rw.target, node.label)
        first = operand(node, 0)
        if first is not None and first.rank is not None and first.rank not in self.ranks:
            return NoMatch("its first operand has {} axes", first.rank)
        rw.at((op_id,), type(self).__name__)
        outputs = [node.op.outputs[i] for i in self.replaced(node)]
        result = rw.commit((op_id,), outputs, lambda: self._built(OpBuilder(rw), node))
        return result if isinstance(result, NoMatch) else True

    def _built(self, op: OpBuilder, node: OpView) -> Any:
        try:
            return self.build(op, node)
        except MissingOperandError as error:
            return NoMatch("it has no operand {}", error.index)


def operand(node: OpView, index: int) -> ValueView | None:
    """Operand ``index`` of an op, or None when it is omitted."""
    inputs = node.inputs
    return inputs[index] if index < len(inputs) else None


def need(node: OpView, index: int) -> ValueView:
    """Operand ``index``, which the op cannot do without.

    Raises:
        MissingOperandError: it is not there; the rule declines.
    """
    found = operand(node, index)
    if found is None:
        raise MissingOperandError(index)
    return found


def constant(node: OpView, index: int) -> Array | None:
    """The content of operand ``index`` when it is there and constant, else None."""
    found = operand(node, index)
    return found.array() if found is not None and found.is_const else None


def computed(node: OpView, index: int) -> bool:
    """Whether operand ``index`` is there and computed at run time."""
    found = operand(node, index)
    return found is not None and not found.is_const


def computed_weights(node: OpView, index: int) -> bool:
    """Whether weights are computed at run time: a dequantised constant is none, Core ML expands it when it compiles
    the package."""
    if not computed(node, index):
        return False
    producer = need(node, index).producer
    if producer is None or producer.type != "DequantizeLinear":
        return True
    return any(v is not None and not v.is_const for v in producer.inputs)


def wants(node: OpView, index: int) -> bool:
    """Whether anything reads output ``index``."""
    outputs = node.outputs
    if index >= len(outputs):
        return False
    value = outputs[index]
    return value is not None and (value.is_output or bool(value.graph.users(value.name)))


def ints(op: OpBuilder, values: Sequence[int] | Array) -> ValueView:
    """An int64 constant of rank 1, as axes, shapes and pads are given."""
    return op.const(np.asarray(values, np.int64).reshape(-1))


def scalar(op: OpBuilder, value: float, like: ValueView) -> ValueView:
    """A constant of rank 0 with the element type of ``like``."""
    assert like.dtype is not None
    return op.const(np.asarray(value, like.dtype.numpy))
