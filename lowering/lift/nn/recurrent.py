"""Recurrent layers, on sequences [S, B, C, 1, 1]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from coregraft.lowering.lift.nn.registry import layers
from coregraft.rewriter.types import Array, DType

if TYPE_CHECKING:
    from coregraft.lowering.lift.nn.network import Blob, Layer, Network

_ACTIVATIONS = {
    "linear": "linear", "ReLU": "relu", "tanh": "tanh", "sigmoid": "sigmoid", "sigmoidHard": "sigmoid_hard",
    "scaledTanh": "scaled_tanh",
}  # fmt: skip
#: What goes into an activation is clipped to this by Core ML.
_CLIP = 50
_SATURATING = ("tanh", "sigmoid", "sigmoid_hard")


@layers("simpleRecurrent")
def simple_recurrent(n: Network, layer: Layer) -> None:
    p = layer.params
    hidden, features = int(p.outputVectorSize), int(p.inputVectorSize)
    options: dict[str, Any] = {
        "weight_ih": n.weights(layer, p.weightMatrix, (hidden, features)),
        "weight_hh": n.weights(layer, p.recursionMatrix, (hidden, hidden)),
        "activation": _activation(n, layer, p.activation),
    }
    if p.hasBiasVector:
        options["bias"] = n.weights(layer, p.biasVector, (hidden,))
    _run(n, layer, "rnn", [hidden], p.sequenceOutput, direction=_direction(layer), **options)


@layers("gru")
def gru(n: Network, layer: Layer) -> None:
    p = layer.params
    hidden, features = int(p.outputVectorSize), int(p.inputVectorSize)
    gates = ("resetGate", "outputGate", "updateGate")
    names = [_activation(n, layer, a) for a in p.activations]
    options: dict[str, Any] = {
        "weight_ih": _joined(n, layer, p, gates, "WeightMatrix", (hidden, features)),
        "weight_hh": _joined(n, layer, p, gates, "RecursionMatrix", (hidden, hidden)),
        "recurrent_activation": names[0],
        "activation": names[1],
    }
    if p.hasBiasVectors:
        options["bias"] = _joined(n, layer, p, gates, "BiasVector", (hidden,))
    _run(n, layer, "gru", [hidden], p.sequenceOutput, direction=_direction(layer), **options)


@layers("uniDirectionalLSTM", "biDirectionalLSTM")
def lstm(n: Network, layer: Layer) -> None:
    p = layer.params
    both = layer.kind == "biDirectionalLSTM"
    hidden, features = int(p.outputVectorSize), int(p.inputVectorSize)
    listed = p.activationsForwardLSTM if both else p.activations
    names = [_activation(n, layer, a) for a in listed]
    if both and [_activation(n, layer, a) for a in p.activationsBackwardLSTM] not in (names, []):
        n.refuse(layer, "its two directions have different activations")
    if p.params.coupledInputAndForgetGate:
        n.refuse(layer, "it couples its input and forget gates")
    options: dict[str, Any] = dict(zip(("recurrent_activation", "cell_activation", "activation"), names, strict=True))
    for message, suffix in zip(p.weightParams if both else [p.weightParams], ("", "_back"), strict=False):
        options |= {f"{key}{suffix}": value for key, value in _lstm(n, layer, message, hidden, features).items()}
    limit = float(p.params.cellClipThreshold or _CLIP)
    steps = n.sizes(layer, n.x(layer))[0]
    # Each step adds less than 1 to the cell state when its gates saturate, so a high limit is never met.
    if names[1] not in _SATURATING or names[0] not in _SATURATING or steps + _CLIP > limit:
        options["clip"] = np.float32(limit)
    direction = "bidirectional" if both else _direction(layer)
    _run(n, layer, "lstm", [hidden, hidden], p.params.sequenceOutput, direction=direction, **options)


def _lstm(n: Network, layer: Layer, message: Any, hidden: int, features: int) -> dict[str, Array]:
    """The parameters of one direction, gates i, f, o, z."""
    flags = layer.params.params
    gates = ("inputGate", "forgetGate", "outputGate", "blockInput")
    found = {
        "weight_ih": _joined(n, layer, message, gates, "WeightMatrix", (hidden, features)),
        "weight_hh": _joined(n, layer, message, gates, "RecursionMatrix", (hidden, hidden)),
    }
    if flags.hasBiasVectors:
        found["bias"] = _joined(n, layer, message, gates, "BiasVector", (hidden,))
    if flags.forgetBias:
        bias = found.get("bias", np.zeros(4 * hidden, np.float32)).copy()
        bias[hidden : 2 * hidden] += 1
        found["bias"] = bias
    if flags.hasPeepholeVectors:
        found["peephole"] = _joined(n, layer, message, gates[:3], "PeepholeVector", (hidden,))
    return found


def _joined(
    n: Network, layer: Layer, message: Any, gates: Sequence[str], what: str, shape: tuple[int, ...]
) -> Array:
    return np.concatenate([n.weights(layer, getattr(message, f"{gate}{what}"), shape).numpy() for gate in gates])


def _activation(n: Network, layer: Layer, message: Any) -> str:
    kind = message.WhichOneof("NonlinearityType")
    if kind not in _ACTIVATIONS:
        n.refuse(layer, f"its activation is {kind}")
    name = _ACTIVATIONS[kind]
    if name not in (*_SATURATING, "scaled_tanh"):
        n.warn(layer, f"what goes into its {name} is clipped to +-{_CLIP} by Core ML, and not here")
    return name


def _direction(layer: Layer) -> str:
    return "reverse" if layer.params.reverseInput else "forward"


def _run(n: Network, layer: Layer, kind: str, states: list[int], sequence: bool, **options: Any) -> None:
    """Run the op on [S, B, C], and give [S, B, H, 1, 1] and the last states as [1, B, H, 1, 1], by direction."""
    x = n.op(layer, "squeeze", x=n.x(layer), axes=[3, 4])
    batch = n.shape(layer, x)[1]
    both = options["direction"] == "bidirectional"
    hidden = states[0]
    given = n.xs(layer)[1:]
    keys = ("initial_h", "initial_c")[: len(states)]
    if given:
        flat = [n.op(layer, "reshape", x=blob, shape=[-1, hidden]) for blob in given]
        halves = [flat[i :: len(states)] for i in range(len(states))]
        initial: dict[str, Any] = {
            key: n.op(layer, "concat", values=parts, axis=1, interleave=False) if both else parts[0]
            for key, parts in zip(keys, halves, strict=True)
        }
    elif isinstance(batch, int):
        initial = {key: np.zeros((batch, hidden * (2 if both else 1)), np.float32) for key in keys}
    else:
        n.refuse(layer, "it has no initial state, and the size of its batch is not fixed")
    results = n.ops(layer, kind, [DType.FLOAT] * (1 + len(states)), x=x, output_sequence=bool(sequence),
                    **initial, **options)  # fmt: skip
    wide = [n.op(layer, "expand_dims", x=results[0], axes=[3, 4])]
    parts = [_halves(n, layer, state) if both else [state] for state in results[1:]]
    for i in range(2 if both else 1):
        wide += [n.op(layer, "expand_dims", x=part[i], axes=[0, 3, 4]) for part in parts]
    for i, blob in enumerate(wide[: len(layer.outputs)]):
        n.write(layer, blob, i)


def _halves(n: Network, layer: Layer, state: Blob) -> list[Blob]:
    return n.ops(layer, "split", [DType.FLOAT, DType.FLOAT], x=state, num_splits=2, axis=1)
