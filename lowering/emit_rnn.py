"""LSTM, GRU and RNN.

Only what MIL's recurrent ops define exactly goes through; the rest is refused with the reason, for a pass to unroll.
A reverse direction is a forward one on the flipped sequence: what MIL's own ``direction="reverse"`` returns,
and in which order, is not documented.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from coregraft.lowering.registry import lower
from coregraft.lowering.shaping import full, slice_axis, to_shape
from coregraft.lowering.sizes import Size, is_known, sizes_of
from coregraft.lowering.vars import cast, np_type, transpose
from coregraft.lowering.windows import text
from coregraft.rewriter.graph import Op
from coregraft.rewriter.types import Array

if TYPE_CHECKING:
    from coregraft.lowering.emitter import Emitter

_COMMON = "activation_alpha activation_beta activations clip direction hidden_size layout"
#: Activations that mean the same in ONNX and in MIL. The others have parameters that MIL's ops do not take.
_ACTIVATIONS = {"sigmoid": "sigmoid", "tanh": "tanh", "relu": "relu"}
_MIL_TYPES = frozenset({"lstm", "gru", "rnn"})
_UNROLL = "run the pass that unrolls it, with a static sequence length"


@dataclass(frozen=True, slots=True)
class _Cell:
    """The operands of a recurrent op, brought to MIL's layout.

    Attributes:
        x: input [sequence, batch, features], fp32 where the target's recurrent ops know nothing else.
        w, r: weights of each direction, gates in MIL's order: [gates * hidden, …].
        bias: the sum of both biases of each direction, gates in MIL's order, or None.
        activations: MIL names, per direction.
        directions: "forward" or "reverse", per direction.
        hidden: size of the hidden state.
        batch_first: whether ``layout`` is 1.
        source: element type of the ONNX values.
    """

    x: Any
    w: list[Array]
    r: list[Array]
    bias: list[Array] | None
    activations: list[list[str]]
    directions: tuple[str, ...]
    hidden: int
    batch_first: bool
    source: np.dtype[Any]


@lower("LSTM", attrs=f"{_COMMON} input_forget")
def lstm(b: Emitter, op: Op) -> Any:
    """``lstm``; ONNX's gates i, o, f, c become MIL's i, f, o, z."""
    if b.attr(op, "input_forget"):
        b.refuse(op, "it couples input and forget gate, which Core ML's LSTM does not", _UNROLL)
    cell = _cell(b, op, gates=(0, 2, 1, 3), defaults=("Sigmoid", "Tanh", "Tanh"))
    peephole = b.need_const(op, 7, "the peephole weights of an LSTM")
    if peephole is not None:
        peephole = _gates(peephole, (0, 2, 1), cell.hidden).astype(np_type(cell.x))
    bidirectional = len(cell.directions) == 2
    if bidirectional and cell.activations[0] != cell.activations[1]:
        b.refuse(op, "its two directions have different activations", _UNROLL)
    reverse = cell.directions == ("reverse",)
    recurrent, cell_activation, activation = cell.activations[0]
    options: dict[str, Any] = {"weight_ih": cell.w[0], "weight_hh": cell.r[0]}
    if bidirectional:
        options |= {"weight_ih_back": cell.w[1], "weight_hh_back": cell.r[1]}
    for key, values in (("bias", cell.bias), ("peephole", peephole)):
        if values is not None:
            options |= dict(zip((key, f"{key}_back"), values, strict=False))
    y, h, c = b.mb.lstm(
        x=_flipped(b, cell.x) if reverse else cell.x,
        initial_h=_initial(b, op, 5, cell),
        initial_c=_initial(b, op, 6, cell),
        direction="bidirectional" if bidirectional else "forward",
        output_sequence=True,
        recurrent_activation=recurrent,
        cell_activation=cell_activation,
        activation=activation,
        **options,
    )
    return _results(b, op, cell, _flipped(b, y) if reverse else y, [h, c])


@lower("GRU", attrs=f"{_COMMON} linear_before_reset")
def gru(b: Emitter, op: Op) -> Any:
    """``gru``, which resets before the product as ``linear_before_reset=0`` does; gates z, r, h become r, o, z."""
    if b.attr(op, "linear_before_reset"):
        b.refuse(op, "Core ML's GRU applies the reset gate before the product (linear_before_reset=0)", _UNROLL)
    cell = _cell(b, op, gates=(1, 2, 0), defaults=("Sigmoid", "Tanh"))
    return _per_direction(b, op, cell, "gru", ("recurrent_activation", "activation"))


@lower("RNN", attrs=_COMMON)
def rnn(b: Emitter, op: Op) -> Any:
    """``rnn``, one per direction."""
    return _per_direction(b, op, _cell(b, op, gates=(0,), defaults=("Tanh",)), "rnn", ("activation",))


def _per_direction(b: Emitter, op: Op, cell: _Cell, kind: str, roles: Sequence[str]) -> Any:
    """A bidirectional GRU or RNN as two, since MIL's have one direction."""
    initial = _initial(b, op, 5, cell)
    sequences, states = [], []
    for i, direction in enumerate(cell.directions):
        start = initial
        if len(cell.directions) == 2:
            start = _columns(b, initial, i * cell.hidden, (i + 1) * cell.hidden)
        reverse = direction == "reverse"
        y, h = getattr(b.mb, kind)(
            x=_flipped(b, cell.x) if reverse else cell.x,
            initial_h=start,
            weight_ih=cell.w[i],
            weight_hh=cell.r[i],
            direction="forward",
            output_sequence=True,
            **({} if cell.bias is None else {"bias": cell.bias[i]}),
            **dict(zip(roles, cell.activations[i], strict=True)),
        )
        sequences.append(_flipped(b, y) if reverse else y)
        states.append(h)
    if len(states) == 1:
        return _results(b, op, cell, sequences[0], states)
    joined = b.mb.concat(values=sequences, axis=2, interleave=False)
    return _results(b, op, cell, joined, [b.mb.concat(values=states, axis=1, interleave=False)])


def _cell(b: Emitter, op: Op, gates: tuple[int, ...], defaults: tuple[str, ...]) -> _Cell:
    if b.attr(op, "clip") is not None:
        b.refuse(op, "it clips the gates; Core ML clips the cell state instead", _UNROLL)
    direction = text(b.attr(op, "direction"))
    directions = ("forward", "reverse") if direction == "bidirectional" else (direction,)
    batch_first = bool(b.attr(op, "layout"))
    w = b.need_const(op, 1, f"the weights of an {op.type}")
    r = b.need_const(op, 2, f"the weights of an {op.type}")
    bias = b.need_const(op, 3, f"the bias of an {op.type}")
    assert w is not None and r is not None  # ONNX requires both
    hidden = r.shape[-1]
    if b.attr(op, "hidden_size") not in (None, hidden):
        b.refuse(op, f"hidden_size is {b.attr(op, 'hidden_size')}, but its weights say {hidden}")
    source = b.var(op.inputs[0])
    x = source if b.since("iOS17") else cast(b, source, np.float32)
    if batch_first:
        x = transpose(b, x, [1, 0, 2])
    if b.target.format == "neuralnetwork" and any(user.op_type in _MIL_TYPES for user in x.child_ops):
        x = b.mb.identity(x=x)  # coremltools names a layer after what a recurrent op reads, and names it once
    _check_lengths(b, op, sizes_of(x)[0])
    if bias is not None:
        halves = bias.astype(np.float64).reshape(len(directions), 2, -1)
        bias = _gates(halves.sum(axis=1), gates, hidden)
    return _Cell(
        x=x,
        w=[v.astype(np_type(x)) for v in _gates(w, gates, hidden)],
        r=[v.astype(np_type(x)) for v in _gates(r, gates, hidden)],
        bias=None if bias is None else [v.astype(np_type(x)) for v in bias],
        activations=_activations(b, op, defaults, len(directions)),
        directions=directions,
        hidden=hidden,
        batch_first=batch_first,
        source=np_type(source),
    )


def _gates(stacked: Array, order: tuple[int, ...], hidden: int) -> Array:
    """[directions, gates * hidden, …] with the gates in another order."""
    split = stacked.reshape(stacked.shape[0], len(order), hidden, *stacked.shape[2:])
    return np.ascontiguousarray(split[:, list(order)].reshape(stacked.shape))


def _activations(b: Emitter, op: Op, defaults: tuple[str, ...], directions: int) -> list[list[str]]:
    """MIL's names of the activations, one list per direction."""
    # The schema default lists two directions whatever the direction is, so only what the op itself says counts.
    names = [text(name) for name in op.attrs.get("activations") or defaults * directions]
    for name in names:
        if name.lower() not in _ACTIVATIONS:
            b.refuse(op, f"Core ML's {op.type} has no {name} activation with ONNX's parameters", _UNROLL)
    if len(names) != len(defaults) * directions:
        b.refuse(op, f"it lists {len(names)} activations where {len(defaults) * directions} are needed")
    found = [_ACTIVATIONS[name.lower()] for name in names]
    return [found[i : i + len(defaults)] for i in range(0, len(found), len(defaults))]


def _check_lengths(b: Emitter, op: Op, steps: Size) -> None:
    """Refuse sequences of different lengths: MIL runs all of a batch to the end."""
    if len(op.inputs) < 5 or not op.inputs[4]:
        return
    lengths = b.const(op.inputs[4])
    if lengths is None:
        b.refuse(op, "its sequence_lens is computed at run time, and Core ML runs every sequence to the end")
    if not is_known(steps) or (lengths != steps).any():
        b.refuse(op, f"its sequences have lengths {lengths.tolist()}; Core ML runs all steps of each", _UNROLL)


def _initial(b: Emitter, op: Op, i: int, cell: _Cell) -> Any:
    """An initial state as MIL has it, [batch, directions * hidden]; zeros where the op has none."""
    batch = sizes_of(cell.x)[1]
    width = len(cell.directions) * cell.hidden
    if i >= len(op.inputs) or not op.inputs[i]:
        dtype = np_type(cell.x)
        return np.zeros((batch, width), dtype) if is_known(batch) else full(b, (batch, width), 0, dtype)
    state = cast(b, b.var(op.inputs[i]), np_type(cell.x))
    if not cell.batch_first and len(cell.directions) == 2:
        state = transpose(b, state, [1, 0, 2])
    return to_shape(b, state, [batch, width])


def _columns(b: Emitter, state: Any, begin: int, end: int) -> Any:
    """Some columns of a state, which may be an array or a var."""
    if isinstance(state, np.ndarray):
        return state[:, begin:end]
    return slice_axis(b, state, 1, begin, end)


def _flipped(b: Emitter, sequence: Any) -> Any:
    return b.mb.reverse(x=sequence, axes=[0])


def _results(b: Emitter, op: Op, cell: _Cell, sequence: Any, states: list[Any]) -> list[Any]:
    """MIL's [sequence, batch, directions * hidden] and final [batch, directions * hidden] in ONNX's shapes.

    Args:
        sequence: becomes Y, [sequence, directions, batch, hidden]; batch first, [batch, sequence, directions, hidden].
        states: become Y_h and Y_c, [directions, batch, hidden], or [batch, directions, hidden].
    """
    steps, batch = sizes_of(cell.x)[:2]
    n = len(cell.directions)
    perms = ([1, 0, 2, 3], [0, 1, 2]) if cell.batch_first else ([0, 2, 1, 3], [1, 0, 2])
    dims = ([steps, batch, n, cell.hidden], [batch, n, cell.hidden])
    results: list[Any] = []
    for i, var in enumerate([sequence, *states]):
        if i >= len(op.outputs) or not op.outputs[i]:
            results.append(None)
            continue
        name = b.name(op, i)
        perm, shape = perms[min(i, 1)], dims[min(i, 1)]
        moved = perm != sorted(perm)
        widened = np_type(var) != cell.source
        var = to_shape(b, var, shape, name if not moved and not widened else None)
        if moved:
            var = transpose(b, var, perm, None if widened else name)
        results.append(cast(b, var, cell.source, name) if widened else var)
    return results
