"""Recurrent networks: ``lstm``, ``gru`` and ``rnn``.

MIL and ONNX differ in the order of the gates and in where the direction stands; in the cells themselves only where an
LSTM clips. A reverse pass is a forward one over the flipped sequence, its results left in the order they are computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from coregraft.lowering.lift.operands import scalar
from coregraft.lowering.lift.registry import lifts
from coregraft.rewriter.graph import Floats, Strings
from coregraft.rewriter.types import Array, DType, TensorType

if TYPE_CHECKING:
    from coregraft.lowering.lift.lifter import Lifter
    from coregraft.lowering.lift.spec import MilOp

#: ONNX activation by MIL's name, with the alpha and beta that it takes.
_ACTIVATIONS: dict[str, tuple[str, float | None, float | None]] = {
    "sigmoid": ("Sigmoid", None, None), "tanh": ("Tanh", None, None), "relu": ("Relu", None, None),
    "linear": ("Affine", 1.0, 0.0), "hard_sigmoid": ("HardSigmoid", 0.2, 0.5),
    "sigmoid_hard": ("HardSigmoid", 0.2, 0.5), "scaled_tanh": ("ScaledTanh", 1.0, 1.0),
}  # fmt: skip


@lifts("lstm")
def lstm(l: Lifter, op: MilOp) -> None:
    """``LSTM``; MIL's gates i, f, o, z are ONNX's i, o, f, c. One that clips its cell state is a ``Scan``."""
    names = _activation_names(l, op, ("recurrent_activation", "cell_activation", "activation"), ("sigmoid", "tanh"))
    direction = _direction(l, op, ("forward", "reverse", "bidirectional"))
    suffixes = ("", "_back") if direction == "bidirectional" else ("",)
    if l.has(op, "clip"):
        _clipped_lstm(l, op, direction, suffixes, names)
        return
    order = (0, 2, 1, 3)
    hidden = _hidden(l, op)
    biases = [_vector(l, op, f"bias{s}", 4 * hidden) for s in suffixes]
    peepholes = None
    if any(l.has(op, f"peephole{s}") for s in suffixes):
        peepholes = np.stack([_gates(_vector(l, op, f"peephole{s}", 3 * hidden), (0, 2, 1)) for s in suffixes])
    inputs = [
        _sequence(l, op, direction),
        _stacked(l, op, "weight_ih", suffixes, order),
        _stacked(l, op, "weight_hh", suffixes, order),
        np.stack([np.concatenate([_gates(b, order), np.zeros_like(b)]) for b in biases]),
        None,
        _initial(l, op, "initial_h", suffixes),
        _initial(l, op, "initial_c", suffixes),
        peepholes,
    ]
    _run(l, op, "LSTM", inputs, names, direction)


@lifts("gru")
def gru(l: Lifter, op: MilOp) -> None:
    """``GRU``; MIL's gates r, o, z are ONNX's z, r, h."""
    names = _activation_names(l, op, ("recurrent_activation", "activation"), ("sigmoid",))
    direction = _direction(l, op, ("forward", "reverse"))
    after = bool(scalar(l, op, "reset_after", False))
    if after:
        l.undefined(op, "reset_after is documented against its name; the reset gate scales the product, its bias with "
                        "it, and input_bias stays outside")  # fmt: skip
    order = (2, 0, 1)
    hidden = _hidden(l, op)
    both = [_gates(_vector(l, op, key, 3 * hidden), order) for key in ("input_bias", "bias")]
    inputs = [
        _sequence(l, op, direction),
        _stacked(l, op, "weight_ih", ("",), order),
        _stacked(l, op, "weight_hh", ("",), order),
        np.concatenate(both)[None],
        None,
        _initial(l, op, "initial_h", ("",)),
    ]
    _run(l, op, "GRU", inputs, names, direction, linear_before_reset=int(after))


@lifts("rnn")
def rnn(l: Lifter, op: MilOp) -> None:
    """``RNN``."""
    names = _activation_names(l, op, ("activation",), ())
    direction = _direction(l, op, ("forward", "reverse"))
    bias = _vector(l, op, "bias", _hidden(l, op))
    inputs = [
        _sequence(l, op, direction),
        _stacked(l, op, "weight_ih", ("",), (0,)),
        _stacked(l, op, "weight_hh", ("",), (0,)),
        np.concatenate([bias, np.zeros_like(bias)])[None],
        None,
        _initial(l, op, "initial_h", ("",)),
    ]
    _run(l, op, "RNN", inputs, names, direction)


def _run(
    l: Lifter, op: MilOp, kind: str, inputs: list[Any], names: Sequence[str], direction: str, **attrs: Any
) -> None:
    """Emit the ONNX op and bring its results to MIL's shapes: [sequence, batch, D * H] and [batch, D * H]."""
    both = direction == "bidirectional"
    functions = [_ACTIVATIONS[name] for name in names] * (2 if both else 1)
    attrs |= {
        "hidden_size": _hidden(l, op),
        "direction": "bidirectional" if both else "forward",
        "activations": Strings(name for name, _, _ in functions),
        "activation_alpha": Floats(alpha for _, alpha, _ in functions if alpha is not None) or None,
        "activation_beta": Floats(beta for _, _, beta in functions if beta is not None) or None,
    }
    count = len(op.outputs)
    raw = [l.fresh(f"{kind}_{i}") for i in range(count)]
    l.emit(kind, inputs, attrs, raw)
    joined = [_joined(l, state, [l.out(op, i + 1)]) for i, state in enumerate(raw[1:])]
    if scalar(l, op, "output_sequence", False):
        turned = l.emit("Transpose", [raw[0]], {"perm": (0, 2, 1, 3)})
        l.emit("Reshape", [turned, np.array([0, 0, -1], np.int64)], None, [l.out(op)])
    else:
        l.emit("Unsqueeze", [joined[0], np.array([0], np.int64)], None, [l.out(op)])


def _joined(l: Lifter, state: str, outputs: list[str]) -> str:
    """[D, batch, H] as [batch, D * H]."""
    turned = l.emit("Transpose", [state], {"perm": (1, 0, 2)})
    return l.emit("Reshape", [turned, np.array([0, -1], np.int64)], None, outputs)


def _sequence(l: Lifter, op: MilOp, direction: str) -> str:
    """The input in the order in which it is processed."""
    x = l.operand(op, "x")
    return _flipped(l, x) if direction == "reverse" else x


def _flipped(l: Lifter, x: str) -> str:
    first, last = np.array([-1], np.int64), np.array([np.iinfo(np.int64).min], np.int64)
    return l.emit("Slice", [x, first, last, np.array([0], np.int64), first])


def _initial(l: Lifter, op: MilOp, key: str, suffixes: Sequence[str]) -> str:
    """[batch, D * H] as [D, batch, H]."""
    shape = np.array([0, len(suffixes), _hidden(l, op)], np.int64)
    return l.emit("Transpose", [l.emit("Reshape", [l.operand(op, key), shape])], {"perm": (1, 0, 2)})


def _direction(l: Lifter, op: MilOp, known: Sequence[str]) -> str:
    direction = str(scalar(l, op, "direction", "forward"))
    if direction not in known:
        l.refuse(op, f"its direction is {direction!r}")
    if direction == "reverse" and scalar(l, op, "output_sequence", False):
        l.undefined(op, "the order in which a reverse pass returns its steps is not documented; it is that of the pass")
    return direction


def _activation_names(l: Lifter, op: MilOp, keys: Sequence[str], gates: Sequence[str]) -> list[str]:
    """The activations by parameter; those after the ``gates`` default to tanh."""
    defaults = [*gates, *["tanh"] * (len(keys) - len(gates))]
    names = [str(scalar(l, op, key, default)).lower() for key, default in zip(keys, defaults, strict=True)]
    for name in names:
        if name not in _ACTIVATIONS:
            l.refuse(op, f"its activation is {name!r}")
    if "scaled_tanh" in names:
        l.undefined(op, "the factors of scaled_tanh are documented two ways; both are taken as 1, which makes it tanh")
    return names


def _hidden(l: Lifter, op: MilOp) -> int:
    return l.shape(op, "weight_hh")[1]


def _vector(l: Lifter, op: MilOp, key: str, size: int) -> Array:
    """A vector of parameters; zeros when the op has none."""
    return np.asarray(l.need(op, key)) if l.has(op, key) else np.zeros(size, np.float32)


def _stacked(l: Lifter, op: MilOp, key: str, suffixes: Sequence[str], order: Sequence[int]) -> Array:
    """The matrices of each direction, gates in ONNX's order."""
    return np.stack([_gates(np.asarray(l.need(op, f"{key}{s}")), order) for s in suffixes])


def _gates(stacked: Array, order: Sequence[int]) -> Array:
    parts = np.split(stacked, len(order))
    return np.concatenate([parts[i] for i in order])


def _clipped_lstm(l: Lifter, op: MilOp, direction: str, suffixes: Sequence[str], names: Sequence[str]) -> None:
    """An LSTM whose cell state stays within ``clip``: ONNX's own clips what goes into the activations instead."""
    l.undefined(op, 'clip is documented for "the cell gate"; the new cell state is clipped, as coremltools expects')
    x, (h, c) = l.operand(op, "x"), (l.operand(op, key) for key in ("initial_h", "initial_c"))
    n = len(suffixes)
    starts = [l.emit_many("Split", [s], n, {"axis": 1, "num_outputs": n}) for s in (h, c)]
    columns: list[list[str]] = [[], [], []]
    for i, suffix in enumerate(suffixes):
        body = _clipped_step(l, op, suffix, names)
        backward = direction == "reverse" or suffix == "_back"
        raw = [l.fresh(f"scan{suffix}_{k}") for k in ("h", "c", "y")]
        attrs = {"body": body, "num_scan_inputs": 1, "scan_input_directions": (int(backward),)}
        if suffix == "_back":
            attrs["scan_output_directions"] = (1,)
        l.emit("Scan", [starts[0][i], starts[1][i], x], attrs, raw)
        sequence = raw[2] if scalar(l, op, "output_sequence", False) else None
        last = sequence or l.emit("Unsqueeze", [raw[0], np.array([0], np.int64)])
        for column, value in zip(columns, (last, raw[0], raw[1]), strict=True):
            column.append(value)
    for i, column in enumerate(columns[: len(op.outputs)]):
        l.emit("Concat", column, {"axis": 2 if i == 0 else 1}, [l.out(op, i)])


def _clipped_step(l: Lifter, op: MilOp, suffix: str, names: Sequence[str]) -> Any:
    """The body of the scan: h, c and one step of the input to h, c and the step's result."""
    hidden = _hidden(l, op)
    clip = np.float32(scalar(l, op, "clip"))
    b = l.child()
    state = TensorType(DType.FLOAT, (None, hidden))
    h, c = b.input("h", state), b.input("c", state)
    x = b.input("x", TensorType(DType.FLOAT, (None, l.shape(op, f"weight_ih{suffix}")[1])))
    w, r = (np.asarray(l.need(op, f"{key}{suffix}")).T for key in ("weight_ih", "weight_hh"))
    total = b.emit("Add", [b.emit("MatMul", [x, w]), b.emit("MatMul", [h, r])])
    total = b.emit("Add", [total, _vector(l, op, f"bias{suffix}", 4 * hidden)])
    i, f, o, z = b.emit_many("Split", [total], 4, {"axis": 1, "num_outputs": 4})
    pi, pf, po = np.split(_vector(l, op, f"peephole{suffix}", 3 * hidden), 3)

    def gate(value: str, cell: str, peephole: Array) -> str:
        return _activated(b, b.emit("Add", [value, b.emit("Mul", [cell, peephole])]), names[0])

    kept = b.emit("Mul", [gate(f, c, pf), c])
    added = b.emit("Mul", [gate(i, c, pi), _activated(b, z, names[1])])
    cell = b.emit("Clip", [b.emit("Add", [kept, added]), -clip, clip])
    result = b.emit("Mul", [gate(o, cell, po), _activated(b, cell, names[2])])
    b.graph.set_outputs({"h_next": result, "c_next": cell, "y": b.emit("Identity", [result])})
    return b.graph


def _activated(b: Lifter, value: str, name: str) -> str:
    kind, alpha, beta = _ACTIVATIONS[name]
    if name == "linear":
        return value
    if name == "scaled_tanh":
        return b.emit("Tanh", [value])
    return b.emit(kind, [value], {"alpha": alpha, "beta": beta})
