"""What the recurrent, the image and the quantising ops of MIL mean."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np

from tests.lowering.mil_numpy import DTYPES, Array, Inputs, rank0, rule

_GATES: dict[str, Callable[[Array], Array]] = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "tanh": np.tanh, "relu": lambda x: np.maximum(x, 0),
    "linear": lambda x: x,
}  # fmt: skip


@rule("lstm")
def _lstm(v: Inputs) -> Any:
    direction = v.get("direction", "forward")
    assert direction in ("forward", "bidirectional"), "what a reverse lstm returns is not documented"
    assert v.get("clip") is None
    both = direction == "bidirectional"
    hidden = v["weight_hh"].shape[1]
    sequences, finals = [], []
    for i, suffix in enumerate(("", "_back") if both else ("",)):
        x = v["x"].astype(np.float64)[::-1] if suffix else v["x"].astype(np.float64)
        h, c = (v[k].astype(np.float64)[:, i * hidden : (i + 1) * hidden] for k in ("initial_h", "initial_c"))
        w, r = v["weight_ih" + suffix], v["weight_hh" + suffix]
        bias = v.get("bias" + suffix, np.zeros(4 * hidden))
        pi, pf, po = np.split(v.get("peephole" + suffix, np.zeros(3 * hidden)), 3)
        gate = _GATES[v.get("recurrent_activation", "sigmoid")]
        cell, out = (_GATES[v.get(key, "tanh")] for key in ("cell_activation", "activation"))
        steps = []
        for t in range(len(x)):
            zi, zf, zo, zz = np.split(x[t] @ w.T + h @ r.T + bias, 4, axis=1)
            kept = gate(zf + pf * c) * c
            c = kept + gate(zi + pi * c) * cell(zz)
            h = gate(zo + po * c) * out(c)
            steps.append(h)
        sequences.append(np.stack(steps[::-1] if suffix else steps))
        finals.append((h, c))
    y = np.concatenate(sequences, axis=2)
    h, c = (np.concatenate([f[k] for f in finals], axis=1) for k in (0, 1))
    return _recurrent(v, y, h, c)


@rule("gru")
def _gru(v: Inputs) -> Any:
    assert v.get("direction", "forward") == "forward", "what a reverse gru returns is not documented"
    assert not rank0(v, "reset_after", False)
    gate, new = _GATES[v.get("recurrent_activation", "sigmoid")], _GATES[v.get("activation", "tanh")]
    h = v["initial_h"].astype(np.float64)
    wr, wo, wz = np.split(v["weight_ih"].astype(np.float64), 3)
    rr, ro, rz = np.split(v["weight_hh"].astype(np.float64), 3)
    br, bo, bz = np.split(v.get("bias", np.zeros(len(wr) * 3)).astype(np.float64), 3)
    steps = []
    for x in v["x"].astype(np.float64):
        reset, update = gate(x @ wr.T + h @ rr.T + br), gate(x @ wz.T + h @ rz.T + bz)
        h = (1 - update) * new(x @ wo.T + (reset * h) @ ro.T + bo) + update * h
        steps.append(h)
    return _recurrent(v, np.stack(steps), h)


@rule("rnn")
def _rnn(v: Inputs) -> Any:
    assert v.get("direction", "forward") == "forward", "what a reverse rnn returns is not documented"
    h, act = v["initial_h"].astype(np.float64), _GATES[v.get("activation", "tanh")]
    bias = v.get("bias", np.zeros(len(v["weight_hh"])))
    steps = []
    for x in v["x"].astype(np.float64):
        h = act(x @ v["weight_ih"].T + h @ v["weight_hh"].T + bias)
        steps.append(h)
    return _recurrent(v, np.stack(steps), h)


def _recurrent(v: Inputs, y: Array, *finals: Array) -> Any:
    sequence = y if rank0(v, "output_sequence", False) else y[-1:]
    return [np.asarray(r).astype(v["x"].dtype) for r in (sequence, *finals)]




def _grid(mode: str, size: int, out: int) -> Array:
    """Where each output pixel samples the input, as ``resize_bilinear`` documents its sampling modes."""
    i = np.arange(out, dtype=np.float64)
    if mode == "STRICT_ALIGN_CORNERS":
        at = i * (size - 1) / (out - 1) if out > 1 else np.zeros(1)
    elif mode == "DEFAULT":
        at = i * (size - size / out) / (out - 1) if out > 1 else np.zeros(1)
    elif mode == "UNALIGN_CORNERS":
        at = (i + 0.5) * size / out - 0.5
    else:
        raise NotImplementedError(mode)
    return np.clip(at, 0, size - 1)


def _blend(size: int, at: Array) -> Array:
    """Rows of linear interpolation weights for positions inside [0, size - 1]."""
    low = np.minimum(np.floor(at).astype(int), size - 1)
    weights = np.zeros((len(at), size))
    rows = np.arange(len(at))
    weights[rows, low] += 1 - (at - low)
    weights[rows, np.minimum(low + 1, size - 1)] += at - low
    return weights


@rule("resize_bilinear")
def _resize_bilinear(v: Inputs) -> Any:
    x, mode = v["x"], v.get("sampling_mode", "DEFAULT")
    rows = _blend(x.shape[-2], _grid(mode, x.shape[-2], rank0(v, "target_size_height", 1)))
    columns = _blend(x.shape[-1], _grid(mode, x.shape[-1], rank0(v, "target_size_width", 1)))
    return np.asarray(rows @ x.astype(np.float64) @ columns.T).astype(x.dtype)


@rule("upsample_bilinear")
def _upsample_bilinear(v: Inputs) -> Any:
    height, width = rank0(v, "scale_factor_height", 1), rank0(v, "scale_factor_width", 1)
    assert height == int(height) and width == int(width), "MIL recomputes the scale from the sizes"
    mode = "STRICT_ALIGN_CORNERS" if rank0(v, "align_corners", True) else "UNALIGN_CORNERS"
    sizes = {"target_size_height": v["x"].shape[-2] * int(height), "target_size_width": v["x"].shape[-1] * int(width)}
    return _resize_bilinear({"x": v["x"], "sampling_mode": mode, **sizes})


@rule("upsample_nearest_neighbor")
def _upsample_nearest_neighbor(v: Inputs) -> Any:
    height, width = rank0(v, "scale_factor_height", 1), rank0(v, "scale_factor_width", 1)
    assert height == int(height) and width == int(width), "only whole factors are beyond doubt"
    return np.asarray(v["x"].repeat(int(height), axis=-2).repeat(int(width), axis=-1))


@rule("resample")
def _resample(v: Inputs) -> Any:
    x, at = v["x"].astype(np.float64), v["coordinates"].astype(np.float64)
    assert v["sampling_mode"] == "bilinear"
    mode, aligned = v["padding_mode"], rank0(v, "align_corners")
    height, width = x.shape[2:]
    px, py = at[..., 0], at[..., 1]
    if v["coordinates_mode"] == "normalized_minus_one_to_one":
        px, py = (
            (p + 1) / 2 * (n - 1) if aligned else ((p + 1) * n - 1) / 2 for p, n in ((px, width), (py, height))
        )
    else:
        assert v["coordinates_mode"] == "unnormalized", v["coordinates_mode"]
    y = np.zeros((*x.shape[:2], *at.shape[1:3]))
    for dy, dx in product((0, 1), (0, 1)):
        iy, ix = np.floor(py).astype(int) + dy, np.floor(px).astype(int) + dx
        weight = (1 - np.abs(py - iy)) * (1 - np.abs(px - ix))
        sy, sx = _extend(iy, height, mode), _extend(ix, width, mode)
        inside = (sy >= 0) & (sx >= 0)
        for n in range(x.shape[0]):
            picked = x[n][:, np.maximum(sy[n], 0), np.maximum(sx[n], 0)]
            y[n] += np.where(inside[n], picked, rank0(v, "padding_value")) * weight[n]
    return y.astype(v["x"].dtype)


def _extend(i: Array, size: int, mode: str) -> Array:
    """Indices outside of [0, size) by padding mode; -1 where the padding value stands."""
    if mode == "border":
        return np.clip(i, 0, size - 1)
    if mode == "constant":
        return np.where((i >= 0) & (i < size), i, -1)
    if mode == "symmetric":
        folded = np.mod(i, 2 * size)
        return np.where(folded < size, folded, 2 * size - 1 - folded)
    period = max(2 * (size - 1), 1)
    folded = np.mod(i, period)
    return np.where(folded < size, folded, period - folded)




def _per_axis(values: Any, v: Inputs, data: Array) -> Any:
    values = np.asarray(values)
    if values.ndim == 0:
        return values
    axis = rank0(v, "axis") % data.ndim
    return values.reshape([-1 if i == axis else 1 for i in range(data.ndim)])


@rule("quantize")
def _quantize(v: Inputs) -> Any:
    x = v["input"].astype(np.float32)
    info = np.iinfo(DTYPES[v["output_dtype"]])
    zero = _per_axis(v.get("zero_point", 0), v, x)
    levels = np.round(x / _per_axis(v["scale"], v, x)) + zero
    return np.clip(levels, info.min, info.max).astype(info.dtype)


@rule("dequantize")
def _dequantize(v: Inputs) -> Any:
    return _scaled(v["input"], v)


@rule("constexpr_affine_dequantize")
def _constexpr_affine_dequantize(v: Inputs) -> Any:
    return _scaled(v["quantized_data"], v)


def _scaled(data: Array, v: Inputs) -> Array:
    scale = _per_axis(v["scale"], v, data)
    zero = _per_axis(v.get("zero_point", 0), v, data)
    return np.asarray((data.astype(np.float32) - zero.astype(np.float32)) * scale).astype(np.asarray(v["scale"]).dtype)


@rule("constexpr_blockwise_shift_scale")
def _constexpr_blockwise_shift_scale(v: Inputs) -> Any:
    data, scale = v["data"], v["scale"]

    def spread(values: Array) -> Array:
        for axis, (n, blocks) in enumerate(zip(data.shape, values.shape, strict=True)):
            values = values.repeat(n // blocks, axis=axis)
        return values.astype(np.float32)

    shifted = data.astype(np.float32)
    if v.get("offset") is not None:
        shifted = shifted - spread(v["offset"])
    return np.asarray(shifted * spread(scale)).astype(scale.dtype)
