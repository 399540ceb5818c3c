"""Functions of one tensor, element by element: math, rounding, tests, activations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from coregraft.rewriter.types import Array
from tests.conformance.variants.variant import Variant, data, dtypes, family, some, versions

_SHAPES = ((), (4,), (2, 3), (2, 3, 2), (1, 2, 3, 2), (2, 1, 2, 1, 3))
#: Where the op is defined, for those that are not everywhere.
_DOMAINS: Mapping[str, tuple[float, float]] = {
    "Acos": (-1, 1), "Acosh": (1, 4), "Asin": (-1, 1), "Atanh": (-0.9, 0.9), "Log": (0.1, 9), "Sqrt": (0, 9),
}  # fmt: skip
#: Their results at infinities and beyond the domain differ among math libraries, or are not what the op is about.
_PLAIN = frozenset({"Cosh", "Sinh", "Tan", "Cos", "Sin"})
_SPECIAL = (np.nan, np.inf, -np.inf, -0.0, 0.0, 1.0, -1.0, 0.5, -0.5, 1.5, -1.5, 2.5, -2.5, 3.5, 60.0, -60.0)
_HUGE = (np.nan, -0.0, 0.0, 1.0, -1.0, 3.0, -3.0, 7.0, -7.0)


def special(op: str, dtype: Any) -> Array:
    """Values at which implementations part ways."""
    values = np.array(_HUGE if op in _PLAIN else _SPECIAL)
    if op == "Sign" and dtype is np.float16:  # onnxruntime has 0 for NaN there, and NaN everywhere else
        values = values[1:]
    return (values / 8 if op == "Exp" else values).astype(dtype)  # e**60 is beyond half precision


def extremes(dtype: Any) -> Array:
    """The ends of an integer type and the numbers around 0; of the wide ones, what int32 holds with either sign."""
    held = np.iinfo(dtype)
    low, high = max(held.min, -(2**31) + (held.bits > 32)), min(held.max, 2**31 - 1)
    return np.array([v for v in (low, low + 1, -2, -1, 0, 1, 2, high - 1, high) if v >= held.min]).astype(dtype)


def _operands(op: str, opset: int) -> Iterator[Array]:
    low, high = _DOMAINS.get(op, (-3, 3))
    for shape in some(op, opset, _SHAPES):
        yield data(*shape, dtype=np.int32 if op == "BitwiseNot" else np.float32, low=low, high=high)
    for dtype in dtypes(op, opset):
        kind = np.dtype(dtype).kind
        yield data(2, 3, dtype=dtype, low=low if kind != "u" else 0, high=high)
        if kind == "f":
            yield special(op, dtype)
        elif kind in "iu" and (op != "Shrink" or np.dtype(dtype).itemsize < 4):  # it computes in fp32
            yield extremes(dtype)


@family(
    "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Cos", "Cosh", "Erf", "Exp", "Floor", "IsNaN",
    "Log", "Neg", "Reciprocal", "Relu", "Round", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt",
    "Tan", "Tanh", "HardSwish", "Mish", "BitwiseNot",
)  # fmt: skip
def plain(op: str) -> Iterator[Variant]:
    for opset in versions(op):
        for x in _operands(op, opset):
            yield Variant(opset, [x])


#: Attributes of the activations, each value at least once with the others left out.
_SETTINGS: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "Celu": ({}, {"alpha": 0.5}, {"alpha": 2.0}, {"alpha": -1.5}),
    "Elu": ({}, {"alpha": 0.0}, {"alpha": 0.5}, {"alpha": 2.0}, {"alpha": -1.0}),
    "Gelu": ({}, {"approximate": "none"}, {"approximate": "tanh"}),
    "HardSigmoid": ({}, {"alpha": 0.5}, {"beta": 0.1}, {"alpha": 0.3, "beta": -0.2}, {"alpha": -0.5}, {"alpha": 0.0}),
    "IsInf": (
        {}, {"detect_negative": 0}, {"detect_positive": 0}, {"detect_negative": 0, "detect_positive": 0},
        {"detect_negative": 1, "detect_positive": 1},
    ),
    "LeakyRelu": ({}, {"alpha": 0.0}, {"alpha": 0.3}, {"alpha": 1.0}, {"alpha": 2.0}, {"alpha": -0.5}),
    "Selu": ({}, {"alpha": 2.0}, {"gamma": 3.0}, {"alpha": 0.5, "gamma": -1.0}, {"alpha": -1.0}),
    "Shrink": (
        {}, {"lambd": 1.5}, {"bias": 0.5}, {"lambd": 1.0, "bias": 1.0}, {"lambd": 0.0, "bias": 0.5},
        {"lambd": -1.0, "bias": 0.5}, {"lambd": 1.0, "bias": -1.0},
    ),
    "Swish": ({}, {"alpha": 0.5}, {"alpha": 2.0}, {"alpha": -1.0}, {"alpha": 0.0}),
    "ThresholdedRelu": ({}, {"alpha": 0.0}, {"alpha": 0.5}, {"alpha": 2.0}, {"alpha": -1.0}),
}  # fmt: skip


@family(*_SETTINGS)
def with_attributes(op: str) -> Iterator[Variant]:
    for opset in versions(op):
        for x in _operands(op, opset):
            yield Variant(opset, [x])
        for attrs in _SETTINGS[op]:
            for x in (data(2, 3, low=-4, high=4), data(2, 3, 4, 5, low=-4, high=4), special(op, np.float32)):
                yield Variant(opset, [x], attrs)
