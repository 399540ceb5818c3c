"""What the element-wise ops and the reductions of MIL mean."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.lowering.mil_numpy import DTYPES, RULES, Array, Inputs, Rule, along, ints, rank0, rule


def _wide(function: Callable[..., Any]) -> Callable[..., Any]:
    """Evaluate in fp64 and hand back the type of the first operand."""

    def run(x: Array, *rest: Any) -> Any:
        wide = [np.asarray(v, np.float64) for v in (x, *rest)]
        return np.asarray(function(*wide)).astype(np.asarray(x).dtype)

    return run


def _erf(x: Array) -> Any:
    return np.vectorize(math.erf, otypes=[np.float64])(x)


def _round(x: Array) -> Array:
    return np.asarray(np.round(x))


_UNARY: dict[str, Callable[..., Any]] = {
    "abs": np.abs, "sign": np.sign, "ceil": np.ceil, "floor": np.floor, "round": _round,
    "logical_not": np.logical_not, "identity": lambda x: x, "square": lambda x: x * x,
    "relu": lambda x: np.maximum(x, 0), "relu6": lambda x: np.clip(x, 0, 6), "sqrt": _wide(np.sqrt),
    "exp": _wide(np.exp), "exp2": _wide(np.exp2), "sin": _wide(np.sin), "cos": _wide(np.cos), "tan": _wide(np.tan),
    "asin": _wide(np.arcsin), "acos": _wide(np.arccos), "atan": _wide(np.arctan), "sinh": _wide(np.sinh),
    "cosh": _wide(np.cosh), "tanh": _wide(np.tanh), "atanh": _wide(np.arctanh), "erf": _wide(_erf),
    "sigmoid": _wide(lambda x: 1 / (1 + np.exp(-x))), "silu": _wide(lambda x: x / (1 + np.exp(-x))),
    "softsign": _wide(lambda x: x / (1 + np.abs(x))), "softplus": _wide(lambda x: np.logaddexp(x, 0)),
}  # fmt: skip
_BINARY: dict[str, Callable[..., Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "real_div": np.divide, "pow": _wide(np.power),
    "maximum": np.maximum, "minimum": np.minimum, "floor_div": np.floor_divide, "mod": np.mod,
    "equal": np.equal, "not_equal": np.not_equal, "less": np.less, "less_equal": np.less_equal,
    "greater": np.greater, "greater_equal": np.greater_equal,
    "logical_and": np.logical_and, "logical_or": np.logical_or, "logical_xor": np.logical_xor,
}  # fmt: skip


def _unary_rule(function: Callable[..., Any]) -> Rule:
    return lambda v: function(v["x"])


def _binary_rule(function: Callable[..., Any]) -> Rule:
    return lambda v: function(v["x"], v["y"])


for _name, _function in _UNARY.items():
    RULES[_name] = _unary_rule(_function)
for _name, _function in _BINARY.items():
    RULES[_name] = _binary_rule(_function)


@rule("rsqrt")
def _rsqrt(v: Inputs) -> Any:
    return _wide(lambda x: 1 / np.sqrt(x + rank0(v, "epsilon", 1e-12)))(v["x"])


@rule("log")
def _log(v: Inputs) -> Any:
    return _wide(lambda x: np.log(x + rank0(v, "epsilon", 1e-45)))(v["x"])


@rule("inverse")
def _inverse(v: Inputs) -> Any:
    return _wide(lambda x: 1 / (x + rank0(v, "epsilon", 1e-4)))(v["x"])


@rule("clip")
def _clip(v: Inputs) -> Any:
    return np.clip(v["x"], v["alpha"], v["beta"])


@rule("threshold")
def _threshold(v: Inputs) -> Any:
    return np.maximum(v["x"], v["alpha"])


@rule("cast")
def _cast(v: Inputs) -> Any:
    x, dtype = np.asarray(v["x"]), np.dtype(DTYPES[v["dtype"]])
    if dtype == np.bool_:
        return x != 0
    return np.trunc(x).astype(dtype) if x.dtype.kind == "f" and dtype.kind in "iu" else x.astype(dtype)


@rule("select")
def _select(v: Inputs) -> Any:
    return np.where(v["cond"], v["a"], v["b"])


@rule("leaky_relu")
def _leaky_relu(v: Inputs) -> Any:
    return np.where(v["x"] >= 0, v["x"], v["x"] * v["alpha"])


@rule("prelu")
def _prelu(v: Inputs) -> Any:
    return np.where(v["x"] >= 0, v["x"], v["x"] * along(v["alpha"], v["x"].ndim))


@rule("elu")
def _elu(v: Inputs) -> Any:
    x = v["x"].astype(np.float64)
    return np.where(x >= 0, x, rank0(v, "alpha", 1) * np.expm1(np.minimum(x, 0))).astype(v["x"].dtype)


@rule("sigmoid_hard")
def _sigmoid_hard(v: Inputs) -> Any:
    return np.clip(v["x"] * v["alpha"] + v["beta"], 0, 1).astype(v["x"].dtype)


@rule("clamped_relu")
def _clamped_relu(v: Inputs) -> Any:
    return np.minimum(v["beta"], np.where(v["x"] >= 0, v["x"], v["x"] * v["alpha"]))


@rule("thresholded_relu")
def _thresholded_relu(v: Inputs) -> Any:
    return np.where(v["x"] >= v["alpha"], v["x"], 0).astype(v["x"].dtype)


@rule("linear_activation")
def _linear_activation(v: Inputs) -> Any:
    return np.asarray(v["x"] * v["alpha"] + v["beta"])


@rule("scaled_tanh")
def _scaled_tanh(v: Inputs) -> Any:
    return np.asarray(v["alpha"] * np.tanh(v["x"] * v["beta"]))


@rule("softplus_parametric")
def _softplus_parametric(v: Inputs) -> Any:
    alpha, beta = along(v["alpha"], v["x"].ndim), along(v["beta"], v["x"].ndim)
    return _wide(lambda x, a, b: a * np.logaddexp(b * x, 0))(v["x"], alpha, beta)


@rule("gelu")
def _gelu(v: Inputs) -> Any:
    x = v["x"].astype(np.float64)
    mode = v["mode"]
    if mode == "EXACT":
        y = 0.5 * x * (1 + _erf(x / math.sqrt(2)))
    elif mode == "TANH_APPROXIMATION":
        y = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    else:
        y = x / (1 + np.exp(-1.702 * x))
    return np.asarray(y).astype(v["x"].dtype)


@rule("softmax")
def _softmax(v: Inputs) -> Any:
    axis = rank0(v, "axis", -1)
    x = v["x"].astype(np.float64)
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis=axis, keepdims=True)).astype(v["x"].dtype)


@rule("cumsum")
def _cumsum(v: Inputs) -> Any:
    x, axis = v["x"], rank0(v, "axis", 0)
    flipped = np.flip(x, axis) if rank0(v, "reverse", False) else x
    total = np.cumsum(flipped, axis=axis, dtype=x.dtype)
    if rank0(v, "exclusive", False):
        total = total - flipped
    return np.flip(total, axis) if rank0(v, "reverse", False) else total


# -------------------------------------------------------------------- reductions


def _reduction(function: Callable[..., Any]) -> Rule:
    def run(v: Inputs) -> Array:
        x = np.asarray(v["x"])
        axes = tuple(ints(v, "axes", range(x.ndim)))
        wide = x.astype(np.float64) if x.dtype.kind == "f" else x
        return np.asarray(function(wide, axis=axes, keepdims=rank0(v, "keep_dims", False))).astype(x.dtype)

    return run


def _norm(order: int) -> Callable[..., Any]:
    return lambda x, **k: np.sum(np.abs(x) ** order, **k) ** (1 / order)


_REDUCTIONS: dict[str, Callable[..., Any]] = {
    "reduce_sum": np.sum, "reduce_mean": np.mean, "reduce_max": np.max, "reduce_min": np.min, "reduce_prod": np.prod,
    "reduce_l1_norm": _norm(1), "reduce_l2_norm": _norm(2), "reduce_sum_square": lambda x, **k: np.sum(x * x, **k),
    "reduce_log_sum": lambda x, **k: np.log(np.sum(x, **k)),
    "reduce_log_sum_exp": lambda x, **k: np.log(np.sum(np.exp(x), **k)),
}  # fmt: skip
for _name, _function in _REDUCTIONS.items():
    RULES[_name] = _reduction(_function)


@rule("reduce_argmax")
def _reduce_argmax(v: Inputs) -> Any:
    return _keep(np.argmax(v["x"], axis=rank0(v, "axis", -1)), v)


@rule("reduce_argmin")
def _reduce_argmin(v: Inputs) -> Any:
    return _keep(np.argmin(v["x"], axis=rank0(v, "axis", -1)), v)


def _keep(picked: Any, v: Inputs) -> Array:
    picked = np.asarray(picked, np.int32)
    return np.expand_dims(picked, rank0(v, "axis", -1)) if rank0(v, "keep_dims", False) else picked
