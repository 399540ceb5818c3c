"""What the products, windows and norms of MIL mean."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np

from tests.lowering.mil_numpy import RULES, Array, Inputs, along, ints, rank0, rule


@rule("matmul")
def _matmul(v: Inputs) -> Any:
    assert v["x"].ndim > 1 and v["y"].ndim > 1, "MIL gets the shape of a product with a vector wrong"
    x = np.swapaxes(v["x"], -1, -2) if rank0(v, "transpose_x", False) else v["x"]
    y = np.swapaxes(v["y"], -1, -2) if rank0(v, "transpose_y", False) else v["y"]
    return np.matmul(x, y)


@rule("linear")
def _linear(v: Inputs) -> Any:
    assert 1 <= v["x"].ndim <= 3, "linear is documented for rank 1 to 3"
    assert v["x"].dtype.kind == "f", "linear of integers is not valid at run time"
    y = np.matmul(v["x"], v["weight"].T)
    return np.asarray(y + v["bias"] if v.get("bias") is not None else y)


@rule("einsum")
def _einsum(v: Inputs) -> Any:
    return np.asarray(np.einsum(v["equation"], *v["values"]))


@rule("scaled_dot_product_attention")
def _sdpa(v: Inputs) -> Any:
    scores = np.matmul(v["query"], np.swapaxes(v["key"], -1, -2)).astype(np.float64) / math.sqrt(v["query"].shape[-1])
    mask = v.get("attn_mask")
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == np.bool_ else scores + mask
    weights = RULES["softmax"]({"x": scores, "axis": -1})
    return np.asarray(np.matmul(weights, v["value"])).astype(v["query"].dtype)




def _windows(x: Array, kernel: list[int], strides: list[int], dilations: list[int]) -> Array:
    """Every window of the spatial axes: [batch, channels, *out, *kernel]."""
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    axes = tuple(range(2, x.ndim))
    view = np.lib.stride_tricks.sliding_window_view(x, extents, axis=axes)
    n = len(kernel)
    steps = (slice(None),) * 2 + tuple(slice(None, None, step) for step in (*strides, *dilations))
    assert view.ndim == 2 + 2 * n
    return view[steps]


def _padding(v: Inputs, n: int) -> list[tuple[int, int]]:
    """Pads per spatial axis; only the two explicit kinds, since MIL documents "same" otherwise than it infers it."""
    kind = v.get("pad_type", "valid")
    assert kind in ("custom", "valid"), kind
    pad = ints(v, "pad", [0] * 2 * n) if kind == "custom" else [0] * 2 * n
    assert min(pad, default=0) >= 0, "negative pads mean nothing in MIL"
    return list(zip(pad[::2], pad[1::2], strict=True))


@rule("conv")
def _conv(v: Inputs) -> Any:
    x, w = v["x"], v["weight"]
    n = x.ndim - 2
    groups, strides, dilations = rank0(v, "groups", 1), ints(v, "strides", [1] * n), ints(v, "dilations", [1] * n)
    padded = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *_padding(v, n)])
    parts = []
    for xs, ws in zip(np.split(padded, groups, axis=1), np.split(w.astype(np.float64), groups, axis=0), strict=True):
        view = _windows(xs, list(w.shape[2:]), strides, dilations)
        over = [1, *range(2 + n, 2 + 2 * n)]
        parts.append(np.moveaxis(np.tensordot(view, ws, axes=(over, list(range(1, 2 + n)))), -1, 1))
    y = np.concatenate(parts, axis=1)
    return _with_bias(y, v).astype(x.dtype)


@rule("conv_transpose")
def _conv_transpose(v: Inputs) -> Any:
    x, w = v["x"].astype(np.float64), v["weight"].astype(np.float64)
    n = x.ndim - 2
    groups, strides, dilations = rank0(v, "groups", 1), ints(v, "strides", [1] * n), ints(v, "dilations", [1] * n)
    assert v.get("output_shape") is None
    kernel = w.shape[2:]
    full = [s * (i - 1) + (k - 1) * d + 1 for s, i, k, d in zip(strides, x.shape[2:], kernel, dilations, strict=True)]
    y = np.zeros((x.shape[0], w.shape[1] * groups, *full))
    per_in, per_out = x.shape[1] // groups, w.shape[1]
    for g, tap in product(range(groups), product(*(range(k) for k in kernel))):
        ws = w[(slice(g * per_in, (g + 1) * per_in), slice(None), *tap)]
        part = np.moveaxis(np.tensordot(x[:, g * per_in : (g + 1) * per_in], ws, axes=(1, 0)), -1, 1)
        axes = zip(tap, dilations, strides, x.shape[2:], strict=True)
        spots = tuple(slice(t * d, t * d + s * (i - 1) + 1, s) for t, d, s, i in axes)
        y[(slice(None), slice(g * per_out, (g + 1) * per_out), *spots)] += part
    pads = _padding(v, n)
    cropped = y[(slice(None), slice(None), *(slice(b, size - e) for (b, e), size in zip(pads, full, strict=True)))]
    return _with_bias(cropped, v).astype(v["x"].dtype)


def _with_bias(y: Array, v: Inputs) -> Array:
    bias = v.get("bias")
    return y if bias is None else y + along(np.asarray(bias), y.ndim)


def _pooled(v: Inputs, fill: float) -> tuple[Array, tuple[int, ...]]:
    x = v["x"].astype(np.float64)
    n = x.ndim - 2
    assert not rank0(v, "ceil_mode", False), "MIL's ceil_mode is not ONNX's"
    padded = np.pad(x, [(0, 0), (0, 0), *_padding(v, n)], constant_values=fill)
    view = _windows(padded, ints(v, "kernel_sizes"), ints(v, "strides", [1] * n), [1] * n)
    return view, tuple(range(2 + n, 2 + 2 * n))


@rule("max_pool")
def _max_pool(v: Inputs) -> Any:
    view, over = _pooled(v, -np.inf)
    return np.asarray(view.max(axis=over)).astype(v["x"].dtype)


@rule("avg_pool")
def _avg_pool(v: Inputs) -> Any:
    view, over = _pooled(v, 0.0)
    if not rank0(v, "exclude_padding_from_average", False):
        return np.asarray(view.mean(axis=over)).astype(v["x"].dtype)
    counted, _ = _pooled({**v, "x": np.ones_like(v["x"])}, 0.0)
    return np.asarray(view.sum(axis=over) / counted.sum(axis=over)).astype(v["x"].dtype)




@rule("batch_norm")
def _batch_norm(v: Inputs) -> Any:
    x = v["x"].astype(np.float64)
    assert 3 <= x.ndim <= 5, "batch_norm is documented for rank 3 to 5"
    mean, variance = (along(v[k].astype(np.float64), x.ndim) for k in ("mean", "variance"))
    y = (x - mean) / np.sqrt(variance + rank0(v, "epsilon", 1e-5))
    return _affine(y, v, lambda p: along(p, x.ndim)).astype(v["x"].dtype)


@rule("instance_norm")
def _instance_norm(v: Inputs) -> Any:
    x = v["x"].astype(np.float64)
    assert 3 <= x.ndim <= 4, "instance_norm is documented for rank 3 and 4"
    axes = tuple(range(2, x.ndim))
    y = (x - x.mean(axis=axes, keepdims=True)) / np.sqrt(x.var(axis=axes, keepdims=True) + rank0(v, "epsilon", 1e-5))
    return _affine(y, v, lambda p: along(p, x.ndim)).astype(v["x"].dtype)


@rule("layer_norm")
def _layer_norm(v: Inputs) -> Any:
    x = v["x"].astype(np.float64)
    axes = tuple(axis % x.ndim for axis in ints(v, "axes", range(x.ndim)))
    shape = [x.shape[i] if i in axes else 1 for i in range(x.ndim)]
    y = (x - x.mean(axis=axes, keepdims=True)) / np.sqrt(x.var(axis=axes, keepdims=True) + rank0(v, "epsilon", 1e-5))
    for name in ("gamma", "beta"):
        if v.get(name) is not None:
            assert v[name].shape == tuple(x.shape[i] for i in sorted(axes)), f"{name} must have the exact shape"
    assert v.get("beta") is None or v.get("gamma") is not None, "beta without gamma crashes"
    return _affine(y, v, lambda p: p.reshape(shape)).astype(v["x"].dtype)


def _affine(y: Array, v: Inputs, place: Callable[[Array], Array]) -> Array:
    gamma, beta = v.get("gamma"), v.get("beta")
    y = y if gamma is None else y * place(np.asarray(gamma, np.float64))
    return y if beta is None else y + place(np.asarray(beta, np.float64))


@rule("l2_norm")
def _l2_norm(v: Inputs) -> Any:
    x = v["x"].astype(np.float64)
    total = np.sum(x * x, axis=(-3, -2, -1), keepdims=True)
    return np.asarray(x / np.sqrt(total + rank0(v, "epsilon", 1e-6))).astype(v["x"].dtype)


@rule("local_response_norm")
def _local_response_norm(v: Inputs) -> Any:
    x, size = v["x"].astype(np.float64), rank0(v, "size")
    assert x.ndim == 4 and size % 2, "only odd windows on rank 4 are beyond doubt"
    padded = np.pad(x * x, [(0, 0), (size // 2, size // 2), (0, 0), (0, 0)])
    total = np.stack([padded[:, i : i + size].sum(axis=1) for i in range(x.shape[1])], axis=1)
    base = rank0(v, "k", 1.0) + rank0(v, "alpha", 1e-4) / size * total
    return np.asarray(x / base ** rank0(v, "beta", 0.75)).astype(v["x"].dtype)
