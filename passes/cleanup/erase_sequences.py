"""Replace sequences of tensors by the tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.cleanup.scopes import Scope, visit_scopes
from coregraft.rewriter.contract import Context, Pass
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.rewriter import Rewriter
from coregraft.rewriter.schema import attr

#: A tensor of a sequence: a value, or part ``index`` of the split that op ``split`` makes.
_PRODUCERS = ("SequenceEmpty", "SequenceConstruct", "SequenceInsert", "SequenceErase", "SplitToSequence")
_CONSUMERS = ("SequenceAt", "SequenceLength", "ConcatFromSequence")
_MAX_PARTS = 4096


@dataclass(frozen=True)
class Part:
    """A tensor that a ``SplitToSequence`` puts into a sequence."""

    split: int
    index: int


Item = str | Part


@dataclass(frozen=True)
class EraseSequences(Pass):
    """Replace operations on sequences of known length by operations on their tensors.

    What it does
    ------------
    Follows which tensors a sequence holds through SequenceEmpty, SequenceConstruct, SequenceInsert, SequenceErase,
    SplitToSequence and Identity, as long as positions and numbers are constant. ``SequenceAt`` becomes the tensor,
    ``SequenceLength`` a constant, ``ConcatFromSequence`` a ``Concat``, and ``SplitToSequence`` a ``Split``. Sequences
    that are outputs, or that a loop carries, stay.

    Why it matters
    --------------
    Core ML has no sequences. Exporters use them for ``torch.split``, ``chunk``, ``unbind`` and lists in loops.

    Example
    -------
    ``SequenceAt(SplitToSequence(x, 2, axis=1), 0)`` becomes the first result of ``Split(x, axis=1)``.

    Equivalence
    -----------
    Bit-exact.

    Sources
    -------
    Hazard H5.11.
    """

    dissolves: ClassVar[tuple[str, ...]] = (*_PRODUCERS, *_CONSUMERS)

    def run(self, g: Graph, ctx: Context) -> None:
        visit_scopes(ctx.rewriter(g), lambda rw, scope: _Eraser(rw, scope, ctx).run())


class _Eraser:
    def __init__(self, rw: Rewriter, scope: Scope, ctx: Context) -> None:
        self.rw, self.g, self.scope, self.ctx = rw, rw.graph, scope, ctx
        self.items: dict[str, list[Item]] = {}
        self.parts: dict[int, list[str]] = {}

    def run(self) -> None:
        g = self.g
        if not any(op.domain == "" and op.type in _CONSUMERS for _, op in g.ops()):
            return
        made: list[int] = []
        for op_id in g.topological():
            op = g.op(op_id)
            if op.domain:
                continue
            if op.type in _PRODUCERS or (op.type == "Identity" and op.inputs[0] in self.items):
                held = self.held(op_id, op)
                if held is not None:
                    self.items[op.outputs[0]] = held
                    made.append(op_id)
            elif op.type in _CONSUMERS and op.inputs[0] in self.items:
                self.consume(op_id, op, self.items[op.inputs[0]])
        for op_id in reversed(made):
            output = g.op(op_id).outputs[0]
            if not g._succ[output] and not g.public_names(output):
                self.rw.erase(op_id)

    # ------------------------------------------------------------ what a sequence holds

    def held(self, op_id: int, op: Op) -> list[Item] | None:
        if op.type == "SequenceEmpty":
            return []
        if op.type == "SequenceConstruct":
            return list(op.inputs)
        if op.type == "SplitToSequence":
            sizes = self.sizes(op)
            return None if sizes is None else [Part(op_id, i) for i in range(len(sizes))]
        before = self.items.get(op.inputs[0])
        if before is None or op.type == "Identity":
            return before
        items = list(before)
        if op.type == "SequenceInsert":
            at = self.position(op, 2, len(items), len(items) + 1)
            if at is None:
                return None
            items.insert(at, op.inputs[1])
            return items
        at = self.position(op, 1, len(items) - 1, len(items))
        if at is None:
            return None
        del items[at]
        return items

    def position(self, op: Op, index: int, default: int, count: int) -> int | None:
        """A constant position among ``count``, counted from the end when negative; None when not known or not there."""
        if index >= len(op.inputs) or not op.inputs[index]:
            at = default
        else:
            const = self.scope.const(op.inputs[index])
            if const is None or const.size != 1:
                return None
            at = int(const.numpy().reshape(-1)[0])
            # An insertion counts the length of the sequence before it, any other access the same.
            length = count - 1 if op.type == "SequenceInsert" else count
            at = at + length if at < 0 else at
        return at if 0 <= at < count else None

    def sizes(self, op: Op) -> list[int] | None:
        """The lengths of the parts of a ``SplitToSequence`` along its axis."""
        kind = self.scope.type(op.inputs[0])
        if kind is None or not kind.shape:
            return None
        length = kind.shape[attr(op, "axis")]
        if len(op.inputs) < 2 or not op.inputs[1]:
            return [1] * length if isinstance(length, int) and 0 < length <= _MAX_PARTS else None
        split = self.scope.const(op.inputs[1])
        if split is None:
            return None
        if split.shape:
            return [int(n) for n in split.numpy()]
        step = int(split.numpy())
        if not isinstance(length, int) or step < 1 or not 0 < length <= step * _MAX_PARTS:
            return None
        return [min(step, length - start) for start in range(0, length, step)]

    # ------------------------------------------------------------ what becomes of its readers

    def consume(self, op_id: int, op: Op, items: list[Item]) -> None:
        build: Callable[[], Any]
        if op.type == "SequenceLength":
            build = lambda: self.rw.const(np.array(len(items), np.int64))  # noqa: E731
        elif op.type == "SequenceAt":
            at = self.position(op, 1, 0, len(items))
            if at is None:
                return
            build = lambda: self.tensor(items[at])  # noqa: E731
        elif items:
            build = lambda: self.joined(op, [self.tensor(item) for item in items])  # noqa: E731
        else:
            return
        self.rw.at([op_id], "EraseSequences")
        value = build()
        result = op.outputs[0]
        if self.g.public_names(result) and (self.g.producer(value) is None or self.g.public_names(value)):
            value = self.rw.insert("Identity", [value])
        self.rw.replace([op_id], {result: value})
        self.ctx.count(op.type)

    def joined(self, op: Op, values: list[str]) -> str:
        axis = op.attrs["axis"]
        if attr(op, "new_axis"):
            at = self.rw.const(np.array([axis], np.int64))
            values = [self.rw.insert("Unsqueeze", [value, at]) for value in values]
        return values[0] if len(values) == 1 else str(self.rw.insert("Concat", values, {"axis": axis}))

    def tensor(self, item: Item) -> str:
        if isinstance(item, str):
            return item
        if item.split not in self.parts:
            self.parts[item.split] = self.split(self.g.op(item.split))
        return self.parts[item.split][item.index]

    def split(self, op: Op) -> list[str]:
        """The tensors a ``SplitToSequence`` makes, by a ``Split`` (and ``Squeeze`` where it drops the axis)."""
        sizes, axis = self.sizes(op), attr(op, "axis")
        assert sizes is not None
        made = self.rw.insert(
            "Split", [op.inputs[0], np.array(sizes, np.int64)], {"axis": axis}, n_outputs=len(sizes)
        )
        values: list[str] = made if isinstance(made, list) else [made]
        if attr(op, "keepdims") or (len(op.inputs) > 1 and op.inputs[1]):
            return values
        at = self.rw.const(np.array([axis], np.int64))
        return [str(self.rw.insert("Squeeze", [value, at])) for value in values]
