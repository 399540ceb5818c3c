"""RNN, GRU and LSTM: directions, activations, clipping, lengths, initial states, peepholes, and which results."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from coregraft.rewriter.types import Array
from tests.conformance.variants.variant import Variant, data, family, some, versions

_GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
_STEPS, _BATCH, _FEATURES, _HIDDEN = 4, 2, 3, 2
_DIRECTIONS = ("forward", "reverse", "bidirectional")
#: Activations of ONNX that need no parameter, and those that take some, with their parameters.
_PLAIN = ("Relu", "Tanh", "Sigmoid", "Softsign", "Softplus")
_SET = {
    "Affine": (0.5, 0.25), "LeakyRelu": (0.1, None), "ThresholdedRelu": (0.3, None), "ScaledTanh": (1.5, 0.5),
    "HardSigmoid": (0.25, 0.4), "Elu": (0.7, None),
}  # fmt: skip
_LAST = {"RNN": 1, "GRU": 2, "LSTM": 3}
_WEIGHTS = (1, 2, 3)


def _operands(op: str, count: int = 1, batch: int = _BATCH, steps: int = _STEPS, dtype: Any = np.float32) -> list[Any]:
    """Data, weights, recurrent weights, bias, no lengths, initial states, and an LSTM's peepholes."""
    gates = _GATES[op]
    operands: list[Array | None] = [
        data(steps, batch, _FEATURES, dtype=dtype, seed=1),
        data(count, gates * _HIDDEN, _FEATURES, dtype=dtype, seed=2, low=-1, high=1),
        data(count, gates * _HIDDEN, _HIDDEN, dtype=dtype, seed=3, low=-1, high=1),
        data(count, 2 * gates * _HIDDEN, dtype=dtype, seed=4, low=-1, high=1),
        None,
        data(count, batch, _HIDDEN, dtype=dtype, seed=5, low=-1, high=1),
    ]
    if op == "LSTM":
        operands.append(data(count, batch, _HIDDEN, dtype=dtype, seed=6, low=-1, high=1))
        operands.append(data(count, 3 * _HIDDEN, dtype=dtype, seed=7, low=-1, high=1))
    return operands


def _attrs(direction: str, **others: Any) -> dict[str, Any]:
    return {"hidden_size": _HIDDEN, "direction": direction, **others}


@family("RNN", "GRU", "LSTM")
def recurrent(op: str) -> Iterator[Variant]:
    yield from _operand_forms(op)
    yield from _activated(op)
    states = 2 if op == "LSTM" else 1
    for direction in _DIRECTIONS:
        full = _operands(op, 1 + (direction == "bidirectional"))
        for given in product((False, True), repeat=1 + states):
            if any(given):
                yield Variant(14, full[:4], _attrs(direction), constants=_WEIGHTS, outputs=given)
        for limit in (0.5, 5.0):
            yield Variant(14, full, _attrs(direction, clip=limit), constants=_WEIGHTS, outputs=1 + states)
        for name in {"GRU": ("linear_before_reset",), "LSTM": ("input_forget",)}.get(op, ()):
            for value, constants, clip in product((0, 1), ((), _WEIGHTS), ({}, {"clip": 0.5})):
                attrs = _attrs(direction, **{name: value}, **clip)
                yield Variant(14, full, attrs, constants=constants, outputs=1 + states)
        attrs = _attrs(direction, layout=1)
        batch_first = [a if i not in (0, 5, 6) or a is None else a.swapaxes(0, 1) for i, a in enumerate(full)]
        for operands in (batch_first[:3], batch_first[:4], batch_first):
            yield Variant(14, operands, attrs, constants=_WEIGHTS, outputs=1 + states)


def _operand_forms(op: str) -> Iterator[Variant]:
    """Which operands there are, which are constant, and their sizes."""
    states = 2 if op == "LSTM" else 1
    every = tuple(range(1, 8))
    for opset in versions(op):
        for direction, extent in some(op, opset, list(product(_DIRECTIONS, (3, 4, 6, 7, 8))), 5):
            operands = _operands(op, 1 + (direction == "bidirectional"))[:extent]
            for chosen in ((), _WEIGHTS, every):
                here = [i for i in chosen if i < len(operands) and operands[i] is not None]
                yield Variant(opset, operands, _attrs(direction), constants=here, outputs=1 + states)
    for direction, lengths in product(_DIRECTIONS, ([4, 4], [2, 4], [1, 3], [4, 2])):
        full = _operands(op, 1 + (direction == "bidirectional"))
        full[4] = np.array(lengths, np.int32)
        for constants in (_WEIGHTS, (*_WEIGHTS, 4), ()):
            yield Variant(14, full, _attrs(direction), constants=constants, outputs=1 + states)
            yield Variant(14, full[:5], _attrs(direction), constants=constants, outputs=1 + states)
    for batch, steps in ((1, 1), (1, 5), (3, 1)):
        full = _operands(op, 2, batch, steps)
        yield Variant(14, full, _attrs("bidirectional"), constants=_WEIGHTS, outputs=1 + states)
    for dtype in (np.float64, np.float16):
        full = _operands(op, dtype=dtype)
        yield Variant(14, full, _attrs("forward"), constants=_WEIGHTS, outputs=1 + states)
    full = _operands(op)
    full[0] = full[0] * np.float32(100)
    yield Variant(14, full, _attrs("forward"), constants=_WEIGHTS, outputs=1 + states)


def _activated(op: str) -> Iterator[Variant]:
    """Every activation in every place, for one direction and for two different ones."""
    places = _LAST[op]
    default = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}[op]
    for place, name in product(range(places), (*_PLAIN, *_SET)):
        names = [*default]
        names[place] = name
        alpha, beta = _SET.get(name, (None, None))
        pairs = (("activation_alpha", alpha), ("activation_beta", beta))
        given: dict[str, Any] = {key: [value] for key, value in pairs if value}
        yield Variant(14, _operands(op), _attrs("forward", activations=names, **given), constants=_WEIGHTS)
        both = _attrs("bidirectional", activations=[*default, *names], **given)
        yield Variant(14, _operands(op, 2), both, constants=_WEIGHTS, outputs=2)
    for name in ("LeakyRelu", "HardSigmoid", "Elu"):  # their parameters have defaults
        attrs = _attrs("reverse", activations=[name, *default[1:]])
        yield Variant(14, _operands(op), attrs, constants=_WEIGHTS, outputs=2)
    names = ["LeakyRelu", "HardSigmoid", "Elu"][:places]
    given = {"activation_alpha": [0.2, 0.3, 0.4][:places], **({"activation_beta": [0.6]} if places > 1 else {})}
    for constants in (_WEIGHTS, ()):
        yield Variant(14, _operands(op), _attrs("forward", activations=names, **given), constants=constants)
