"""From an ONNX RNN, GRU or LSTM op to its unrolled form: reading it, putting directions and layouts together."""

from __future__ import annotations

from typing import Any

import numpy as np

from coregraft.passes.decompose._base import computed, constant, ints, need, operand
from coregraft.passes.decompose._recurrent import GATES, Activation, Cell, Direction, Weight, activations_of, unroll
from coregraft.rewriter.passes import NoMatch, OpBuilder, OpView, ValueView


def unroll_op(op: OpBuilder, node: OpView, max_steps: int) -> tuple[Any, ...] | NoMatch:
    """The values of the outputs the op has; or why it cannot be unrolled."""
    found = _read(node, max_steps)
    if isinstance(found, NoMatch):
        return found
    cell, activations = found
    batch_first = node.attr("layout") == 1
    x = need(node, 0)
    if batch_first:
        x = op.Transpose(x, perm=[1, 0, 2])
    lengths = _masks(op, node, cell.steps)
    outputs, finals = [], []
    for index, functions in enumerate(activations):
        direction = _direction(op, node, cell, x, index, functions, batch_first)
        steps, states = unroll(op, cell, direction, x, lengths)
        outputs.append(steps)
        finals.append(states)
    wanted = [bool(name) for name in node.op.outputs] + [False] * 3
    results = [_sequence(op, outputs, batch_first)] if wanted[0] else []
    for i, final in enumerate(zip(*finals, strict=True)):
        if wanted[i + 1]:
            joined = op.Concat(*final, axis=0) if len(final) > 1 else final[0]
            results.append(op.Transpose(joined, perm=[1, 0, 2]) if batch_first else joined)
    return tuple(results)


def is_native(node: OpView) -> bool:
    """Whether Core ML's own recurrent op computes the same: what the lowering would take."""
    names = [str(name).lower() for name in node.op.attrs.get("activations") or ()]
    half = len(names) // 2
    same = node.type != "LSTM" or node.attr("direction") != "bidirectional" or names[:half] == names[half:]
    plain = same and all(name in ("sigmoid", "tanh", "relu") for name in names)
    options = (node.attr("clip"), node.attr("linear_before_reset") or None, node.attr("input_forget") or None)
    weights_known = not any(computed(node, i) for i in (1, 2, 3, 7))
    return plain and weights_known and options == (None, None, None) and not _has_own_lengths(node)


def _has_own_lengths(node: OpView) -> bool:
    """Whether some sequence of the batch may be shorter than the input."""
    lengths = constant(node, 4)
    shape = need(node, 0).shape
    steps = shape[1 if node.attr("layout") == 1 else 0] if shape is not None else None
    return computed(node, 4) or (lengths is not None and bool((lengths != steps).any()))


def _read(node: OpView, max_steps: int) -> tuple[Cell, list[tuple[Activation, ...]]] | NoMatch:
    kind = node.type
    x = need(node, 0)
    if x.shape is None or x.dtype is None or not x.dtype.is_float:
        return NoMatch("the type of the input is not known")
    steps = x.shape[1 if node.attr("layout") == 1 else 0]
    if not isinstance(steps, int):
        return NoMatch("the number of steps is not known")
    if not 0 < steps <= max_steps:
        return NoMatch("{} steps are more than max-steps={}", steps, max_steps)
    shape = need(node, 2).static_shape
    if shape is None or any(w is not None and w.static_shape is None for w in (operand(node, i) for i in (1, 3, 7))):
        return NoMatch("the shapes of the weights are not known")
    directions = 2 if node.attr("direction") == "bidirectional" else 1
    activations = activations_of(
        kind,
        node.op.attrs.get("activations") or (),  # the schema default of RNN is for two directions
        node.attr("activation_alpha") or (),
        node.attr("activation_beta") or (),
        directions,
    )
    if isinstance(activations, str):
        return NoMatch("{}", activations)
    cell = Cell(
        kind,
        hidden=shape[-1],
        steps=steps,
        clip=node.attr("clip"),
        linear_before_reset=node.attr("linear_before_reset") == 1,
        input_forget=node.attr("input_forget") == 1,
    )
    return cell, activations


def _direction(
    op: OpBuilder,
    node: OpView,
    cell: Cell,
    x: ValueView,
    index: int,
    functions: tuple[Activation, ...],
    batch_first: bool,
) -> Direction:
    w, r = _weight(op, need(node, 1), index), _weight(op, need(node, 2), index)
    b, p = operand(node, 3), operand(node, 7)
    initial = tuple(
        _initial(op, operand(node, i), cell, x, index, batch_first) for i in ((5, 6) if cell.kind == "LSTM" else (5,))
    )
    reverse = node.attr("direction") == "reverse" or index == 1
    none = Weight(np.zeros(2 * GATES[cell.kind] * cell.hidden, w.dtype), None, w.dtype)
    bias = none if b is None else _weight(op, b, index)
    return Direction(w, r, bias, None if p is None else _weight(op, p, index), functions, reverse, initial)


def _weight(op: OpBuilder, value: ValueView, index: int) -> Weight:
    """The weights of one direction."""
    assert value.dtype is not None
    if value.is_const:
        return Weight(value.array()[index], None, value.dtype.numpy)
    return Weight(None, op.Gather(value, op.const(np.array(index, np.int64)), axis=0), value.dtype.numpy)


def _initial(
    op: OpBuilder, given: ValueView | None, cell: Cell, x: ValueView, index: int, batch_first: bool
) -> ValueView:
    """The state before the first step, [1, batch, hidden]; [1, 1, hidden] of zeros stands for any batch."""
    assert x.dtype is not None
    if given is None:
        batch = x.shape[1] if x.shape is not None and isinstance(x.shape[1], int) else 1
        return op.const(np.zeros((1, batch, cell.hidden), x.dtype.numpy))
    if batch_first:
        given = op.Transpose(given, perm=[1, 0, 2])
    if given.shape is not None and given.shape[0] == 1:
        return given
    return op.Slice(given, ints(op, [index]), ints(op, [index + 1]), ints(op, [0]))  # type: ignore[no-any-return]


def _masks(op: OpBuilder, node: OpView, steps: int) -> list[ValueView | None]:
    """By step, whether each sequence is still going on: bool [1, batch, 1]. None where all are."""
    lengths = operand(node, 4)
    if lengths is None:
        return [None] * steps
    if lengths.is_const:
        values = lengths.array().astype(np.int64)
        return [None if (values > t).all() else op.const((values > t)[None, :, None]) for t in range(steps)]
    column = op.Unsqueeze(lengths, ints(op, [0, 2]))
    return [op.Greater(column, op.const(np.array(t, np.int32))) for t in range(steps)]


def _sequence(op: OpBuilder, outputs: list[list[Any]], batch_first: bool) -> Any:
    """All hidden states as ONNX lays them out: [steps, directions, batch, hidden], or batch first."""
    columns = [
        op.Unsqueeze(op.Concat(*steps, axis=0) if len(steps) > 1 else steps[0], ints(op, [1])) for steps in outputs
    ]
    joined = op.Concat(*columns, axis=1) if len(columns) > 1 else columns[0]
    return op.Transpose(joined, perm=[2, 0, 1, 3]) if batch_first else joined
