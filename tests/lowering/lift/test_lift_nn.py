"""Lift of neural networks that coremltools makes of MIL ops, against the documented meaning of those ops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.rewriter.types import Array
from tests.lowering.lift.one_op import floats, mb, network_agrees


def _draw(*shape: int, seed: int = 5) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _call(kind: str, **options: Any) -> Any:
    return lambda x: getattr(mb, kind)(x=x, **options)


# ------------------------------------------------------------------------------------------------ element by element


@pytest.mark.parametrize("kind", [
    "abs", "atan", "ceil", "cos", "cosh", "erf", "exp", "exp2", "floor", "relu", "relu6", "round", "sigmoid", "sign",
    "silu", "sin", "sinh", "softplus", "softsign", "square", "tan", "tanh",
])  # fmt: skip
def test_unary(kind: str) -> None:
    network_agrees(_call(kind), {"x": _draw(2, 3, 4)})


@pytest.mark.parametrize("kind", ["acos", "asin", "atanh"])
def test_unary_of_small_numbers(kind: str) -> None:
    network_agrees(_call(kind), {"x": np.tanh(_draw(2, 3))})


@pytest.mark.parametrize("kind, options", [
    ("sqrt", {}), ("rsqrt", {"epsilon": np.float32(0.1)}), ("log", {"epsilon": np.float32(1e-45)}),
    ("inverse", {"epsilon": np.float32(0.1)}), ("threshold", {"alpha": np.float32(0.7)}),
    ("clip", {"alpha": np.float32(0.5), "beta": np.float32(1)}), ("elu", {"alpha": np.float32(0.5)}),
    ("leaky_relu", {"alpha": np.float32(0.5)}), ("thresholded_relu", {"alpha": np.float32(0.5)}),
    ("sigmoid_hard", {"alpha": np.float32(0.3), "beta": np.float32(0.4)}),
    ("clamped_relu", {"alpha": np.float32(0.3), "beta": np.float32(0.9)}),
    ("linear_activation", {"alpha": np.float32(0.3), "beta": np.float32(0.4)}),
    ("scaled_tanh", {"alpha": np.float32(0.3), "beta": np.float32(0.4)}),
    ("gelu", {"mode": "EXACT"}), ("gelu", {"mode": "TANH_APPROXIMATION"}), ("gelu", {"mode": "SIGMOID_APPROXIMATION"}),
])  # fmt: skip
def test_unary_with_parameters(kind: str, options: dict[str, Any]) -> None:
    network_agrees(_call(kind, **options), {"x": np.abs(_draw(2, 3, 4)) + np.float32(0.1)})


@pytest.mark.parametrize("kind, options", [
    ("prelu", {"alpha": floats([0.1, 0.2, 0.3])}),
    ("softplus_parametric", {"alpha": floats([0.1, 0.2, 0.3]), "beta": floats([1, 2, 3])}),
])  # fmt: skip
def test_activations_per_channel(kind: str, options: dict[str, Any]) -> None:
    network_agrees(_call(kind, **options), {"x": _draw(2, 3, 4, 5)})


@pytest.mark.parametrize("kind", ["add", "sub", "mul", "real_div", "maximum", "minimum", "floor_div", "mod"])
@pytest.mark.parametrize("shapes", [((2, 3), (2, 3)), ((2, 3, 4), (3, 1)), ((1, 3, 1, 1), (2, 3, 4, 5))])
def test_binary(kind: str, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    feeds = {"x": _draw(*shapes[0]), "y": _draw(*shapes[1], seed=6)}
    network_agrees(lambda x, y: getattr(mb, kind)(x=x, y=y), feeds)


@pytest.mark.parametrize("kind", ["add", "sub", "mul", "real_div", "maximum", "minimum", "pow"])
def test_binary_with_a_scalar(kind: str) -> None:
    network_agrees(_call(kind, y=np.float32(2.5)), {"x": np.abs(_draw(2, 3))})
    if kind != "pow":
        network_agrees(lambda x: getattr(mb, kind)(x=np.float32(2.5), y=x), {"x": _draw(2, 3)})


@pytest.mark.parametrize("kind", ["equal", "not_equal", "less", "less_equal", "greater", "greater_equal"])
def test_comparisons(kind: str) -> None:
    x, y = floats([0, 1, 2, 3]), floats([3, 1, 2, 0])
    network_agrees(lambda x, y: mb.cast(x=getattr(mb, kind)(x=x, y=y), dtype="fp32"), {"x": x, "y": y})


@pytest.mark.parametrize("kind", ["logical_and", "logical_or", "logical_xor"])
def test_logic(kind: str) -> None:
    x, y = np.array([True, True, False, False]), np.array([True, False, True, False])
    network_agrees(lambda x, y: getattr(mb, kind)(x=x, y=y), {"x": x, "y": y})
    network_agrees(lambda x: mb.logical_not(x=x), {"x": x})


def test_select_and_cast() -> None:
    x = _draw(3, 4) * 3
    network_agrees(lambda x: mb.select(cond=mb.greater(x=x, y=np.float32(0)), a=x, b=mb.mul(x=x, y=x)), {"x": x})
    network_agrees(lambda x: mb.cast(x=x, dtype="int32"), {"x": x})


@pytest.mark.parametrize("kind", ["sum", "mean", "max", "min", "prod", "l1_norm", "l2_norm", "sum_square", "log_sum",
                                  "log_sum_exp"])  # fmt: skip
@pytest.mark.parametrize("axes, keep", [([1], True), ([0, 2], False), ([0, 1, 2, 3], False), ([2, 3], True)])
def test_reductions(kind: str, axes: list[int], keep: bool) -> None:
    x = np.abs(_draw(2, 3, 4, 5)) + np.float32(0.1)
    network_agrees(_call(f"reduce_{kind}", axes=axes, keep_dims=keep), {"x": x}, atol=1e-3)


@pytest.mark.parametrize("kind", ["reduce_argmax", "reduce_argmin"])
@pytest.mark.parametrize("keep", [True, False])
def test_arg_reductions(kind: str, keep: bool) -> None:
    network_agrees(_call(kind, axis=1, keep_dims=keep), {"x": _draw(2, 3, 4)})


@pytest.mark.parametrize("axis", [0, 1, 2, 3, -3])
def test_softmax(axis: int) -> None:
    network_agrees(_call("softmax", axis=axis), {"x": _draw(2, 3, 4, 5)})


@pytest.mark.parametrize("exclusive, backward", [(False, False), (True, False), (False, True)])
def test_cumsum(exclusive: bool, backward: bool) -> None:
    network_agrees(_call("cumsum", axis=1, exclusive=exclusive, reverse=backward), {"x": _draw(2, 3, 4)})


# ------------------------------------------------------------------------------------------------ data


@pytest.mark.parametrize("kind, options", [
    ("reshape", {"shape": [4, 6]}), ("reshape", {"shape": [6, -1, 2]}), ("reshape", {"shape": [0, -1, 2]}),
    ("expand_dims", {"axes": [0, 2]}), ("transpose", {"perm": [2, 0, 1]}), ("tile", {"reps": [1, 2, 3]}),
    ("reverse", {"axes": [0, 2]}), ("shape", {}), ("identity", {}), ("band_part", {"lower": 1, "upper": 0}),
    ("topk", {"k": 2, "axis": 2}), ("topk", {"k": 2, "axis": 1, "ascending": True}), ("argsort", {"axis": 1}),
    ("argsort", {"axis": -1, "ascending": True}), ("slice_by_size", {"begin": [0, 1, 1], "size": [2, 2, -1]}),
    ("slice_by_index", {"begin": [0, 1, 0], "end": [2, 3, 4]}),
    ("slice_by_index", {"begin": [0, 0, 1], "end": [2, 3, 4], "stride": [1, 1, 2]}),
    ("slice_by_index", {"begin": [1, 0, 2], "end": [0, 0, 0], "end_mask": [False, True, False],
                        "squeeze_mask": [True, False, True]}),
    ("gather", {"indices": np.array([2, 0], np.int32), "axis": 1}),
    ("gather", {"indices": np.array([[1, 0]], np.int32), "axis": 0}),
])  # fmt: skip
def test_data(kind: str, options: dict[str, Any]) -> None:
    network_agrees(_call(kind, **options), {"x": _draw(2, 3, 4)})


def test_slice_backwards() -> None:
    options = {"begin": [1, 0, 3], "end": [0, 0, 0], "stride": [1, 1, -1], "end_mask": [True, True, True]}
    network_agrees(_call("slice_by_index", **options), {"x": _draw(2, 3, 4)}, doubts=1)


def test_squeeze() -> None:
    network_agrees(_call("squeeze", axes=[0, 2]), {"x": _draw(1, 3, 1, 4)})
    network_agrees(_call("squeeze"), {"x": _draw(1, 3, 1, 4)})


def test_flatten_and_sliding_windows() -> None:
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    network_agrees(_call("flatten2d", axis=2), {"x": x}, want=x.reshape(6, 4))
    want = np.stack([x[:, :, i : i + 2] for i in (0, 2)], axis=2)
    network_agrees(_call("sliding_windows", axis=2, size=2, stride=2), {"x": x}, want=want)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_joins_and_splits(axis: int) -> None:
    feeds = {"x": _draw(2, 4, 6, 2), "y": _draw(2, 4, 6, 2, seed=6)}
    network_agrees(lambda x, y: mb.concat(values=(x, y), axis=axis), feeds)
    network_agrees(lambda x, y: mb.stack(values=(x, y), axis=axis), feeds)
    network_agrees(lambda x: mb.split(x=x, num_splits=2, axis=axis), {"x": feeds["x"]})
    network_agrees(lambda x: mb.split(x=x, split_sizes=[1, 5], axis=2), {"x": feeds["x"]})


def test_gathers_and_scatters_with_indices_that_are_fed() -> None:
    x, at = _draw(4, 3), np.array([2, 0], np.int32)
    network_agrees(lambda x, i: mb.gather(x=x, indices=i, axis=0), {"x": x, "i": at})
    pairs = np.array([[0, 1], [3, 2]], np.int32)
    network_agrees(lambda x, i: mb.gather_nd(x=x, indices=i), {"x": x, "i": pairs})
    along = np.array([[0, 1, 3], [2, 2, 0]], np.int32)
    network_agrees(lambda x, i: mb.gather_along_axis(x=x, indices=i, axis=0), {"x": x, "i": along})
    feeds = {"x": x, "i": along, "u": _draw(2, 3, seed=6)}
    network_agrees(lambda x, i, u: mb.scatter_along_axis(data=x, indices=i, updates=u, axis=0, mode="add"), feeds)
    feeds = {"x": x, "i": pairs, "u": _draw(2, seed=6)}
    network_agrees(lambda x, i, u: mb.scatter_nd(data=x, indices=i, updates=u, mode="update"), feeds)
    want = x.copy()
    want[at] = _draw(2, 3, seed=6)
    feeds = {"x": x, "i": at, "u": _draw(2, 3, seed=6)}
    network_agrees(lambda x, i, u: mb.scatter(data=x, indices=i, updates=u, axis=0, mode="update"), feeds, want=want)


def test_tables_of_rows() -> None:
    network_agrees(lambda i: mb.gather(x=_draw(7, 3), indices=i, axis=0), {"i": np.array([[1, 6], [0, 2]], np.int32)})


def test_one_hot_non_zero_and_ranges() -> None:
    at = np.array([1, 0, 3], np.int32)
    options = {"one_hot_vector_size": 4, "axis": -1, "on_value": np.float32(2), "off_value": np.float32(-1)}
    network_agrees(lambda i: mb.one_hot(indices=i, **options), {"i": at})
    network_agrees(lambda x: mb.non_zero(x=x), {"x": floats([[0, 1], [2, 0]])})
    end = np.array([5], np.int32)
    network_agrees(lambda e: mb.range_1d(start=1, end=mb.squeeze(x=e, axes=[0]), step=2), {"e": end})
    network_agrees(lambda s: mb.fill(shape=s, value=np.float32(2)), {"s": np.array([2, 3], np.int32)},
                   want=np.full((2, 3), 2))  # fmt: skip


@pytest.mark.parametrize("pad, mode", [
    ([1, 2, 0, 1], "constant"), ([1, 2, 0, 1], "reflect"), ([1, 2, 0, 1], "replicate"),
    ([1, 0, 0, 0, 0, 0, 2, 1], "constant"),
])  # fmt: skip
def test_pad(pad: list[int], mode: str) -> None:
    network_agrees(_call("pad", pad=pad, mode=mode, constant_val=np.float32(3)), {"x": _draw(1, 2, 4, 5)})


@pytest.mark.parametrize("kind, options", [
    ("depth_to_space", {"block_size": 2}), ("space_to_depth", {"block_size": 2}),
    ("pixel_shuffle", {"upscale_factor": 2}),
])  # fmt: skip
def test_pixels(kind: str, options: dict[str, int]) -> None:
    network_agrees(_call(kind, **options), {"x": _draw(2, 8, 4, 6)})


# ------------------------------------------------------------------------------------------------ products


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4), (4,)])
def test_linear(shape: tuple[int, ...]) -> None:
    network_agrees(_call("linear", weight=_draw(5, 4), bias=_draw(5)), {"x": _draw(*shape)})


@pytest.mark.parametrize("turned", [(False, False), (True, False), (False, True)])
def test_matmul(turned: tuple[bool, bool]) -> None:
    shapes = [(2, 4, 3) if turned[0] else (2, 3, 4), (2, 5, 4) if turned[1] else (2, 4, 5)]
    feeds = {"x": _draw(*shapes[0]), "y": _draw(*shapes[1], seed=6)}
    network_agrees(lambda x, y: mb.matmul(x=x, y=y, transpose_x=turned[0], transpose_y=turned[1]), feeds)
    network_agrees(lambda x: mb.matmul(x=x, y=_draw(4, 5)), {"x": _draw(2, 3, 4)})


def test_einsum() -> None:
    feeds = {"x": _draw(2, 3, 4, 5), "y": _draw(2, 5, 4, 6)}
    network_agrees(lambda x, y: mb.einsum(values=(x, y), equation="nchw,nwhu->nchu"), feeds)


# ------------------------------------------------------------------------------------------------ windows


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("options", [
    {}, {"groups": 2}, {"pad_type": "custom", "pad": [1, 0]}, {"strides": [2], "dilations": [2]},
])  # fmt: skip
def test_conv(n: int, options: dict[str, Any]) -> None:
    spread: dict[str, Any] = {k: v * n if isinstance(v, list) else v for k, v in options.items()}
    w = _draw(4, 4 // spread.get("groups", 1), *[3] * n)
    network_agrees(_call("conv", weight=w, bias=_draw(4), **spread), {"x": _draw(2, 4, *[7, 6, 8][:n])})


@pytest.mark.parametrize("stride", [1, 2])
def test_conv_with_same_padding(stride: int) -> None:
    x, w = _draw(1, 2, 7), _draw(3, 2, 4)
    total = max(0, (-(-7 // stride) - 1) * stride + 4 - 7)
    padded = np.pad(x, [(0, 0), (0, 0), (total // 2, total - total // 2)])
    starts = range(0, padded.shape[2] - 3, stride)
    want = np.stack([np.einsum("nck,ock->no", padded[:, :, s : s + 4], w) for s in starts], axis=2)
    network_agrees(_call("conv", weight=w, pad_type="same", strides=[stride]), {"x": x}, want=want)


def test_conv_with_weights_that_are_computed() -> None:
    feeds = {"x": _draw(1, 2, 6, 6), "w": _draw(3, 2, 3, 3)}
    network_agrees(lambda x, w: mb.conv(x=x, weight=w, bias=_draw(3)), feeds)


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("options", [{}, {"groups": 2}, {"pad_type": "custom", "pad": [1, 0]}, {"strides": [2]}])
def test_conv_transpose(n: int, options: dict[str, Any]) -> None:
    spread: dict[str, Any] = {k: v * n if isinstance(v, list) else v for k, v in options.items()}
    w = _draw(4, 6 // spread.get("groups", 1), *[3] * n)
    network_agrees(_call("conv_transpose", weight=w, bias=_draw(6), **spread), {"x": _draw(2, 4, *[4, 3, 5][:n])})


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("kind, options", [
    ("max_pool", {}), ("avg_pool", {"exclude_padding_from_average": True}),
    ("avg_pool", {"exclude_padding_from_average": False}),
])  # fmt: skip
def test_pools(n: int, kind: str, options: dict[str, Any]) -> None:
    geometry = {"kernel_sizes": [3] * n, "strides": [2] * n, "pad_type": "custom", "pad": [1, 0] * n}
    network_agrees(_call(kind, **geometry, **options), {"x": _draw(1, 2, *[7, 6, 8][:n])})


def test_pools_of_all_there_is_and_of_squares() -> None:
    x = _draw(1, 2, 4, 6)
    network_agrees(_call("reduce_mean", axes=[2, 3], keep_dims=True), {"x": x})
    network_agrees(_call("reduce_max", axes=[2, 3], keep_dims=True), {"x": x})
    blocks = x.reshape(1, 2, 2, 2, 3, 2)
    want = np.sqrt((blocks**2).sum((3, 5)))
    network_agrees(_call("l2_pool", kernel_sizes=[2, 2], strides=[2, 2], pad_type="valid"), {"x": x}, want=want)


def test_pool_that_includes_the_last_pixel() -> None:
    x = _draw(1, 1, 1, 6)
    options = {"kernel_sizes": [1, 3], "strides": [1, 2], "pad_type": "custom", "pad": [0, 0, 1, 1], "ceil_mode": True}
    padded = np.pad(x, [(0, 0)] * 3 + [(1, 2)], constant_values=-np.inf)
    want = np.stack([padded[..., i : i + 3].max(-1) for i in (0, 2, 4, 6)][:4], axis=-1)
    network_agrees(_call("max_pool", **options), {"x": x}, want=want)


# ------------------------------------------------------------------------------------------------ images


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 5), (1, 3, 2, 3, 2)])
def test_batch_norm(shape: tuple[int, ...]) -> None:
    options = {"mean": _draw(3), "variance": floats([0.5, 1, 2]), "gamma": _draw(3), "beta": _draw(3)}
    network_agrees(_call("batch_norm", **options, epsilon=np.float32(0.25)), {"x": _draw(*shape)})


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 5)])
def test_instance_norm(shape: tuple[int, ...]) -> None:
    network_agrees(_call("instance_norm", gamma=_draw(3), beta=_draw(3)), {"x": _draw(*shape)})


@pytest.mark.parametrize("axes, doubts", [([-1], 1), ([1, 2], 0)])
def test_layer_norm(axes: list[int], doubts: int) -> None:
    shape = (4,) if len(axes) == 1 else (3, 4)
    options = {"gamma": _draw(*shape), "beta": _draw(*shape)}
    network_agrees(_call("layer_norm", axes=axes, **options), {"x": _draw(2, 3, 4)}, doubts=doubts)


def test_other_norms() -> None:
    network_agrees(_call("l2_norm", epsilon=np.float32(0.1)), {"x": _draw(2, 3, 4, 5)})
    network_agrees(_call("local_response_norm", size=3, alpha=np.float32(2)), {"x": _draw(2, 6, 3, 4)})


@pytest.mark.parametrize("mode", ["DEFAULT", "STRICT_ALIGN_CORNERS"])
def test_resize_bilinear(mode: str) -> None:
    options = {"target_size_height": 5, "target_size_width": 8, "sampling_mode": mode}
    network_agrees(_call("resize_bilinear", **options), {"x": _draw(1, 2, 3, 5)})


@pytest.mark.parametrize("kind, options", [
    ("upsample_nearest_neighbor", {}), ("upsample_bilinear", {"align_corners": True}),
    ("upsample_bilinear", {"align_corners": False}),
])  # fmt: skip
def test_upsample(kind: str, options: dict[str, Any]) -> None:
    factors = {"scale_factor_height": 2, "scale_factor_width": 3}
    network_agrees(_call(kind, **factors, **options), {"x": _draw(1, 2, 3, 5)})


def test_crop_and_crop_resize() -> None:
    x = _draw(1, 2, 4, 5)
    network_agrees(_call("crop", crop_height=[1, 0], crop_width=[1, 2]), {"x": x}, want=x[..., 1:, 1:3])
    roi = floats([[0, 1, 3, 4], [1, 0, 2, 3]]).reshape(2, 1, 4, 1, 1)
    options = {"target_height": 4, "target_width": 4, "sampling_mode": "STRICT_ALIGN_CORNERS"}
    want = np.stack([x[..., 0:4, 1:5]])
    network_agrees(lambda x, r: mb.crop_resize(x=x, roi=r, **options), {"x": x, "r": roi[:1]}, want=want)


# ------------------------------------------------------------------------------------------------ state


@pytest.mark.parametrize("sequence", [True, False])
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize("peephole", [True, False])
def test_lstm(sequence: bool, direction: str, peephole: bool) -> None:
    from tests.lowering.lift.test_lift_recurrent import BATCH, FEATURES, HIDDEN, SEQUENCE, _lstm, _lstm_parameters

    parameters = _lstm_parameters(direction, bias=True, peephole=peephole)
    v = {**parameters, "direction": direction, "output_sequence": sequence}
    width = HIDDEN * (2 if direction == "bidirectional" else 1)
    feeds = {"x": _draw(SEQUENCE, BATCH, FEATURES), "h": _draw(BATCH, width), "c": _draw(BATCH, width, seed=6)}
    want = _lstm(v, *feeds.values())
    network_agrees(lambda x, h, c: mb.lstm(x=x, initial_h=h, initial_c=c, **v), feeds, want=want)


@pytest.mark.parametrize("sequence", [True, False])
def test_gru_and_rnn(sequence: bool) -> None:
    feeds = {"x": _draw(4, 2, 3), "h": _draw(2, 5)}
    v = {"weight_ih": _draw(15, 3), "weight_hh": _draw(15, 5), "bias": _draw(15), "output_sequence": sequence}
    network_agrees(lambda x, h: mb.gru(x=x, initial_h=h, **v), feeds)
    v = {"weight_ih": _draw(5, 3), "weight_hh": _draw(5, 5), "bias": _draw(5), "output_sequence": sequence}
    network_agrees(lambda x, h: mb.rnn(x=x, initial_h=h, **v), feeds)


@pytest.mark.parametrize("sign", [1, -1])
def test_branches(sign: int) -> None:
    def build(x: Any) -> Any:
        positive = mb.greater(x=mb.reduce_sum(x=x), y=np.float32(0))
        one = mb.cond(pred=positive, _true_fn=lambda: mb.add(x=x, y=np.float32(1)),
                      _false_fn=lambda: mb.mul(x=x, y=np.float32(3)))  # fmt: skip
        return mb.sub(x=one, y=x)

    network_agrees(build, {"x": floats([1.5, -2, 3]) * np.float32(sign)})


@pytest.mark.parametrize("limit", [0, 1, 4])
def test_loops(limit: int) -> None:
    def build(x: Any, n: Any) -> Any:
        bound = mb.squeeze(x=n, axes=[0])
        count, found = mb.while_loop(
            _cond=lambda i, v: mb.less(x=i, y=bound),
            _body=lambda i, v: (mb.add(x=i, y=np.float32(1)), mb.add(x=mb.mul(x=v, y=np.float32(2)), y=x)),
            loop_vars=(np.float32(0), x),
        )
        return mb.identity(x=found), mb.mul(x=count, y=np.float32(1))

    network_agrees(build, {"x": _draw(3), "n": floats([limit])})


@pytest.mark.parametrize("sign", [1, -1])
def test_loops_in_loops_and_branches(sign: int) -> None:
    from tests.lowering.lift.test_lift_control import _branch, _counted

    def build(x: Any) -> Any:
        def inner(i: Any, v: Any) -> Any:
            _, found = _counted(v, np.int32(2), lambda j, w: mb.add(x=w, y=mb.cast(x=mb.add(x=i, y=j), dtype="fp32")))
            return _branch(found, lambda: mb.sub(x=found, y=np.float32(1)), lambda: mb.mul(x=found, y=x))

        return _counted(x, np.int32(3), inner)[1]

    network_agrees(build, {"x": floats([1.5, -2, 3]) * np.float32(sign)})
