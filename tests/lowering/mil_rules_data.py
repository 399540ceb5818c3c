"""What the ops of MIL mean that move data: shapes, slices, gathers, scatters, sorts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.lowering.mil_numpy import Array, Inputs, ints, rank0, rule


@rule("reshape")
def _reshape(v: Inputs) -> Any:
    shape = ints(v, "shape")
    if v["x"].ndim == len(shape):
        shape = [have if want == 0 else want for want, have in zip(shape, v["x"].shape, strict=True)]
    return np.asarray(v["x"]).reshape(shape)


@rule("transpose")
def _transpose(v: Inputs) -> Any:
    return np.transpose(v["x"], ints(v, "perm"))


@rule("expand_dims")
def _expand_dims(v: Inputs) -> Any:
    return np.expand_dims(v["x"], tuple(ints(v, "axes")))


@rule("squeeze")
def _squeeze(v: Inputs) -> Any:
    return np.squeeze(v["x"], tuple(ints(v, "axes"))) if "axes" in v else np.squeeze(v["x"])


@rule("concat")
def _concat(v: Inputs) -> Any:
    assert not rank0(v, "interleave", False)
    return np.concatenate([np.atleast_1d(a) for a in v["values"]], axis=rank0(v, "axis"))


@rule("stack")
def _stack(v: Inputs) -> Any:
    return np.stack(v["values"], axis=rank0(v, "axis"))


@rule("split")
def _split(v: Inputs) -> Any:
    axis, x = rank0(v, "axis"), v["x"]
    if "split_sizes" in v:
        return np.split(x, np.cumsum(ints(v, "split_sizes"))[:-1], axis=axis)
    return np.split(x, rank0(v, "num_splits"), axis=axis)


@rule("slice_by_index")
def _slice_by_index(v: Inputs) -> Any:
    x = v["x"]
    begin, end = ints(v, "begin"), ints(v, "end")
    stride = ints(v, "stride", [1] * x.ndim)
    masks = {k: ints(v, k, [0] * x.ndim) for k in ("begin_mask", "end_mask", "squeeze_mask")}
    index: list[Any] = []
    for i in range(x.ndim):
        if masks["squeeze_mask"][i]:
            index.append(begin[i])
            continue
        first = None if masks["begin_mask"][i] else begin[i]
        last = None if masks["end_mask"][i] else end[i]
        index.append(slice(first, last, stride[i]))
    return np.asarray(x[tuple(index)])


@rule("slice_by_size")
def _slice_by_size(v: Inputs) -> Any:
    x, begin, size = v["x"], ints(v, "begin"), ints(v, "size")
    ends = [x.shape[i] if n == -1 else b + n for i, (b, n) in enumerate(zip(begin, size, strict=True))]
    return np.asarray(x[tuple(slice(b, e) for b, e in zip(begin, ends, strict=True))])


@rule("pad")
def _pad(v: Inputs) -> Any:
    x, pad = v["x"], ints(v, "pad")
    pairs = [(0, 0)] * (x.ndim - len(pad) // 2) + list(zip(pad[::2], pad[1::2], strict=True))
    assert min(pad, default=0) >= 0, "negative pads mean nothing in MIL"
    mode = v.get("mode", "constant")
    if mode == "constant":
        return np.pad(x, pairs, constant_values=np.asarray(v.get("constant_val", 0)).astype(x.dtype).item())
    return np.pad(x, pairs, mode="reflect" if mode == "reflect" else "edge")


@rule("tile")
def _tile(v: Inputs) -> Any:
    return np.tile(v["x"], ints(v, "reps"))


@rule("reverse")
def _reverse(v: Inputs) -> Any:
    return np.flip(v["x"], tuple(ints(v, "axes", range(v["x"].ndim))))


@rule("shape")
def _shape(v: Inputs) -> Any:
    return np.array(np.asarray(v["x"]).shape, np.int32)


@rule("fill")
def _fill(v: Inputs) -> Any:
    return np.full(ints(v, "shape"), v["value"])


@rule("range_1d")
def _range_1d(v: Inputs) -> Any:
    return np.arange(v["start"], v["end"], v["step"])


@rule("band_part")
def _band_part(v: Inputs) -> Any:
    x = v["x"]
    rows, columns = np.indices(x.shape[-2:])
    lower, upper = rank0(v, "lower", -1), rank0(v, "upper", -1)
    keep = ((lower < 0) | (rows - columns <= lower)) & ((upper < 0) | (columns - rows <= upper))
    return np.where(keep, x, np.zeros((), x.dtype))


@rule("gather")
def _gather(v: Inputs) -> Any:
    assert rank0(v, "batch_dims", 0) == 0
    return np.take(v["x"], _inside(v["indices"], v["x"].shape[rank0(v, "axis", 0)]), axis=rank0(v, "axis", 0))


@rule("gather_along_axis")
def _gather_along_axis(v: Inputs) -> Any:
    axis = rank0(v, "axis", 0)
    return np.take_along_axis(v["x"], _inside(v["indices"], v["x"].shape[axis]), axis=axis)


@rule("gather_nd")
def _gather_nd(v: Inputs) -> Any:
    batch = rank0(v, "batch_dims", 0)
    x, indices = v["x"], v["indices"]
    shape = indices.shape[:-1] + x.shape[batch + indices.shape[-1] :]
    flat_x = x.reshape(-1, *x.shape[batch:])
    flat_indices = indices.reshape(flat_x.shape[0], -1, indices.shape[-1])
    rows = [flat_x[n][tuple(row)] for n in range(flat_x.shape[0]) for row in flat_indices[n]]
    return np.array(rows).reshape(shape)


_MODES: dict[str, Callable[..., Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "max": np.maximum, "min": np.minimum,
    "update": lambda _, new: new,
}  # fmt: skip


@rule("scatter_nd")
def _scatter_nd(v: Inputs) -> Any:
    data, indices, updates = v["data"].copy(), v["indices"], v["updates"]
    combine = _MODES[v.get("mode", "add")]
    for at in np.ndindex(indices.shape[:-1]):
        place = tuple(indices[at])
        data[place] = combine(data[place], updates[at])
    return data


@rule("scatter_along_axis")
def _scatter_along_axis(v: Inputs) -> Any:
    data, axis, combine = v["data"].copy(), rank0(v, "axis", 0), _MODES[v.get("mode", "add")]
    for at in np.ndindex(v["indices"].shape):
        place = (*at[:axis], int(v["indices"][at]), *at[axis % data.ndim + 1 :])
        data[place] = combine(data[place], v["updates"][at])
    return data


def _inside(indices: Any, size: int) -> Array:
    picked = np.asarray(indices)
    assert picked.size == 0 or (picked.min() >= -size and picked.max() < size), "index out of bounds"
    return picked


@rule("one_hot")
def _one_hot(v: Inputs) -> Any:
    indices, size, axis = v["indices"], rank0(v, "one_hot_vector_size"), rank0(v, "axis", -1)
    on, off = v.get("on_value", np.int32(1)), v.get("off_value", np.int32(0))
    rank = indices.ndim + 1
    classes = np.arange(size).reshape([-1 if i == axis % rank else 1 for i in range(rank)])
    hot = np.expand_dims(indices, axis) == classes
    return np.where(hot, on, off)


@rule("non_zero")
def _non_zero(v: Inputs) -> Any:
    return np.argwhere(v["x"]).astype(np.int32)


@rule("topk")
def _topk(v: Inputs) -> Any:
    axis, k, ascending = rank0(v, "axis", -1), rank0(v, "k", 1), rank0(v, "ascending", False)
    order = np.argsort(v["x"] if ascending else -v["x"].astype(np.float64), axis=axis, kind="stable")
    picked = np.take(order, np.arange(k), axis=axis).astype(np.int32)
    values = np.take_along_axis(v["x"], picked, axis=axis)
    return [values, picked] if rank0(v, "return_indices", True) else [values]


@rule("argsort")
def _argsort(v: Inputs) -> Any:
    sign = 1 if rank0(v, "ascending", False) else -1
    return np.argsort(sign * v["x"], axis=rank0(v, "axis", -1), kind="stable").astype(np.int32)


@rule("depth_to_space")
def _depth_to_space(v: Inputs) -> Any:
    s, (n, c, h, w) = rank0(v, "block_size"), v["x"].shape
    split = v["x"].reshape(n, s, s, c // s**2, h, w)
    return np.asarray(split.transpose(0, 3, 4, 1, 5, 2).reshape(n, c // s**2, h * s, w * s))


@rule("space_to_depth")
def _space_to_depth(v: Inputs) -> Any:
    s, (n, c, h, w) = rank0(v, "block_size"), v["x"].shape
    split = v["x"].reshape(n, c, h // s, s, w // s, s)
    return np.asarray(split.transpose(0, 3, 5, 1, 2, 4).reshape(n, c * s**2, h // s, w // s))


@rule("pixel_shuffle")
def _pixel_shuffle(v: Inputs) -> Any:
    s, (n, c, h, w) = rank0(v, "upscale_factor"), v["x"].shape
    split = v["x"].reshape(n, c // s**2, s, s, h, w)
    return np.asarray(split.transpose(0, 1, 4, 2, 5, 3).reshape(n, c // s**2, h * s, w * s))


@rule("pixel_unshuffle")
def _pixel_unshuffle(v: Inputs) -> Any:
    s, (n, c, h, w) = rank0(v, "downscale_factor"), v["x"].shape
    split = v["x"].reshape(n, c, h // s, s, w // s, s)
    return np.asarray(split.transpose(0, 1, 3, 5, 2, 4).reshape(n, c * s**2, h // s, w // s))
