"""Unrolling RNN, GRU and LSTM over a number of steps that is known: the cells, written out of plain ops.

All states are [1, batch, hidden] from the first step to the last, so that no step reshapes anything. The input
projection of all steps is one MatMul; a step is one MatMul with the recurrent weights and the cell's arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from coregraft.rewriter.types import Array

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
DEFAULT_ACTIVATIONS = {"RNN": ("Tanh",), "GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh")}
#: Which activations take an alpha and a beta, and what they are when the op does not say. None: ONNX names no operator
#: to take the default from, or onnxruntime takes another one, so there is no telling what the model means.
_ALPHA = {
    "leakyrelu": 0.01,
    "hardsigmoid": 0.2,
    "elu": 1.0,
    "thresholdedrelu": None,
    "scaledtanh": None,
    "affine": None,
}
_BETA = {"hardsigmoid": 0.5, "scaledtanh": None, "affine": None}
_PLAIN = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid", "softsign": "Softsign", "softplus": "Softplus"}
ACTIVATIONS = frozenset(_PLAIN) | frozenset(_ALPHA)


@dataclass(frozen=True)
class Activation:
    """One activation function with its parameters; ``name`` is lower case."""

    name: str
    alpha: float = 0.0
    beta: float = 0.0

    def build(self, op: Any, x: Any, dtype: np.dtype[Any]) -> Any:
        """Insert the function applied to ``x``."""
        if self.name in _PLAIN:
            return getattr(op, _PLAIN[self.name])(x)
        if self.name == "leakyrelu":
            return op.LeakyRelu(x, alpha=self.alpha)
        if self.name == "thresholdedrelu":
            return op.ThresholdedRelu(x, alpha=self.alpha)
        if self.name == "hardsigmoid":
            return op.HardSigmoid(x, alpha=self.alpha, beta=self.beta)
        if self.name == "elu":
            return op.Elu(x, alpha=self.alpha)
        alpha, beta = op.const(np.array(self.alpha, dtype)), op.const(np.array(self.beta, dtype))
        if self.name == "affine":
            return op.Add(op.Mul(x, alpha), beta)
        return op.Mul(op.Tanh(op.Mul(x, beta)), alpha)


@dataclass(frozen=True)
class Cell:
    """The options that are the same for every direction and step."""

    kind: str
    hidden: int
    steps: int
    clip: float | None = None
    linear_before_reset: bool = False
    input_forget: bool = False


@dataclass(frozen=True)
class Weight:
    """A matrix or vector of weights whose first axis is that of the gates: constant, or computed at run time.

    Attributes:
        array: the constant, or None.
        value: the value that is computed, where ``array`` is None.
        dtype: element type.
    """

    array: Array | None
    value: Any
    dtype: np.dtype[Any]

    def part(self, op: Any, begin: int, end: int) -> Any:
        """Rows ``begin … end`` as a value; a matrix comes transposed, ready to be multiplied with."""
        if self.array is not None:
            return op.const(np.ascontiguousarray(self.array[begin:end].T))
        rows = op.Slice(self.value, *(op.const(np.array([n], np.int64)) for n in (begin, end, 0)))
        return op.Transpose(rows, perm=[1, 0]) if self.value.rank == 2 else rows

    def is_zero(self, begin: int, end: int) -> bool:
        """Whether rows ``begin … end`` are known to be zero."""
        return self.array is not None and not self.array[begin:end].any()


@dataclass(frozen=True)
class Direction:
    """One direction: ``w`` [gates*hidden, input], ``r`` [gates*hidden, hidden], ``b`` [2*gates*hidden]."""

    w: Weight
    r: Weight
    b: Weight
    peepholes: Weight | None
    activations: tuple[Activation, ...]
    reverse: bool
    initial: tuple[Any, ...] = field(default=())


def activations_of(
    kind: str, names: Sequence[str], alphas: Sequence[float], betas: Sequence[float], directions: int
) -> list[tuple[Activation, ...]] | str:
    """The activations by direction; a string is the reason why they cannot be built.

    A function that takes no alpha consumes none of ``alphas``, likewise beta.
    """
    default = DEFAULT_ACTIVATIONS[kind]
    given = [name.lower() for name in names] or [name.lower() for name in default * directions]
    if len(given) != len(default) * directions:
        return f"{len(given)} activations for {directions} direction(s)"
    unknown = [name for name in given if name not in ACTIVATIONS]
    if unknown:
        return f'activation "{unknown[0]}" is not known'
    alpha_list, beta_list = list(alphas), list(betas)
    built = []
    for name in given:
        alpha = (alpha_list.pop(0) if alpha_list else _ALPHA[name]) if name in _ALPHA else 0.0
        beta = (beta_list.pop(0) if beta_list else _BETA[name]) if name in _BETA else 0.0
        if alpha is None or beta is None:
            return f'activation "{name}" without its alpha or beta means different things to different runtimes'
        built.append(Activation(name, alpha, beta))
    n = len(default)
    return [tuple(built[i * n : (i + 1) * n]) for i in range(directions)]


def unroll(
    op: Any, cell: Cell, direction: Direction, x: Any, lengths: Sequence[Any | None]
) -> tuple[list[Any], list[Any]]:
    """Insert one direction of the network.

    Args:
        x: the input, [steps, batch, input].
        lengths: by step, a bool [1, batch, 1] that is false where a sequence has ended; None where none can have.

    Returns:
        The hidden state after each step, in the order of time and zero where a sequence has ended; the final states.
    """
    projected = _project(op, cell, direction, x)
    step = _CELLS[cell.kind](op, cell, direction)
    dtype = direction.w.dtype
    zero = op.const(np.array(0, dtype)) if any(mask is not None for mask in lengths) else None
    states = list(direction.initial)
    outputs: dict[int, Any] = {}
    for t in reversed(range(cell.steps)) if direction.reverse else range(cell.steps):
        new = step(projected[t], states)
        if lengths[t] is None:
            states, outputs[t] = new, new[0]
            continue
        outputs[t] = op.Where(lengths[t], new[0], zero)
        states = [op.Where(lengths[t], after, before) for after, before in zip(new, states, strict=True)]
    return [outputs[t] for t in range(cell.steps)], states


_Step = Callable[[Any, list[Any]], list[Any]]


def _project(op: Any, cell: Cell, direction: Direction, x: Any) -> list[Any]:
    """``x @ W.T`` plus every bias that may be added before the recurrence, by step: [1, batch, gates*hidden] each."""
    product = op.MatMul(x, direction.w.part(op, 0, GATES[cell.kind] * cell.hidden))
    bias = _bias(op, cell, direction.b)
    if bias is not None:
        product = op.Add(product, bias)
    return _split(op, product, [1] * cell.steps, axis=0)


def _bias(op: Any, cell: Cell, b: Weight) -> Any:
    """The sum of both biases, but for the one that GRU may add within the recurrence; None when it is zero."""
    n, late = GATES[cell.kind] * cell.hidden, cell.hidden if cell.kind == "GRU" and cell.linear_before_reset else 0
    if b.array is not None:
        total = b.array[:n] + b.array[n:]
        total[n - late :] = b.array[n - late : n]
        return op.const(total) if total.any() else None
    early = op.Add(b.part(op, 0, n - late), b.part(op, n, 2 * n - late))
    return op.Concat(early, b.part(op, n - late, n), axis=0) if late else early


def _split(op: Any, x: Any, sizes: Sequence[int], axis: int) -> list[Any]:
    if len(sizes) == 1:
        return [x]
    parts = op.Split(x, op.const(np.array(sizes, np.int64)), axis=axis, _outputs=len(sizes))
    return list(parts)


def _clipper(op: Any, cell: Cell, dtype: np.dtype[Any]) -> Callable[[Any], Any]:
    """Bounds what goes into the activation of a gate, when the op asks for it."""
    if cell.clip is None:
        return lambda x: x
    low, high = op.const(np.array(-cell.clip, dtype)), op.const(np.array(cell.clip, dtype))
    return lambda x: op.Clip(x, low, high)


def _rnn(op: Any, cell: Cell, direction: Direction) -> _Step:
    clip = _clipper(op, cell, direction.r.dtype)
    r = direction.r.part(op, 0, cell.hidden)
    (f,) = direction.activations

    def step(x: Any, states: list[Any]) -> list[Any]:
        return [f.build(op, clip(op.Add(x, op.MatMul(states[0], r))), direction.r.dtype)]

    return step


def _gru(op: Any, cell: Cell, direction: Direction) -> _Step:
    h, dtype = cell.hidden, direction.r.dtype
    clip = _clipper(op, cell, dtype)
    f, g = direction.activations
    one = op.const(np.array(1, dtype))
    late = cell.linear_before_reset and not direction.b.is_zero(5 * h, 6 * h)
    bias = direction.b.part(op, 5 * h, 6 * h) if late else None
    if cell.linear_before_reset:
        r_all = direction.r.part(op, 0, 3 * h)
    else:
        r_gates = direction.r.part(op, 0, 2 * h)
        r_new = direction.r.part(op, 2 * h, 3 * h)

    def step(x: Any, states: list[Any]) -> list[Any]:
        (before,) = states
        x_gates, x_new = _split(op, x, [2 * h, h], axis=2)
        if cell.linear_before_reset:
            h_gates, h_new = _split(op, op.MatMul(before, r_all), [2 * h, h], axis=2)
        else:
            h_gates = op.MatMul(before, r_gates)
        update, reset = _split(op, f.build(op, clip(op.Add(x_gates, h_gates)), dtype), [h, h], axis=2)
        if cell.linear_before_reset:
            recurrent = op.Mul(reset, op.Add(h_new, bias) if bias is not None else h_new)
        else:
            recurrent = op.MatMul(op.Mul(reset, before), r_new)
        candidate = g.build(op, clip(op.Add(x_new, recurrent)), dtype)
        return [op.Add(op.Mul(op.Sub(one, update), candidate), op.Mul(update, before))]

    return step


def _lstm(op: Any, cell: Cell, direction: Direction) -> _Step:
    h, dtype = cell.hidden, direction.r.dtype
    clip = _clipper(op, cell, dtype)
    f, g, out = direction.activations
    r = direction.r.part(op, 0, 4 * h)
    one = op.const(np.array(1, dtype)) if cell.input_forget else None
    peepholes = direction.peepholes
    p_i, p_o, p_f = (None if peepholes is None else peepholes.part(op, i * h, (i + 1) * h) for i in range(3))

    def step(x: Any, states: list[Any]) -> list[Any]:
        before, memory = states
        gates = op.Add(x, op.MatMul(before, r))
        i, o, forget, c = _split(op, gates, [h] * 4, axis=2)

        def gate(pre: Any, peephole: Any, source: Any) -> Any:
            full = pre if peephole is None else op.Add(pre, op.Mul(peephole, source))
            return f.build(op, clip(full), dtype)

        i = gate(i, p_i, memory)
        forget = op.Sub(one, i) if cell.input_forget else gate(forget, p_f, memory)
        candidate = g.build(op, clip(c), dtype)
        memory = op.Add(op.Mul(forget, memory), op.Mul(i, candidate))
        o = gate(o, p_o, memory)
        return [
            op.Mul(o, out.build(op, memory, dtype)),
            memory,
        ]  # the clip is for the gates: the cell state is left alone

    return step


_CELLS: dict[str, Callable[[Any, Cell, Direction], _Step]] = {"RNN": _rnn, "GRU": _gru, "LSTM": _lstm}
