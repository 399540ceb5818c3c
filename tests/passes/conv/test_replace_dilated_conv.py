"""Every way to compute a dilated convolution, against onnxruntime's own; and how one is chosen."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from coregraft.passes.conv.dilation_cost import blow_up, polyphase_cost, taps_cost, zero_inflate_cost
from coregraft.passes.conv.geometry import Axis, ConvGeometry, conv_geometry
from coregraft.passes.conv.phases import axis_phases, merge_steps, split_steps
from coregraft.passes.conv.replace_dilated_conv import ReplaceDilatedConv
from coregraft.rewriter.contract import Context
from coregraft.rewriter.errors import UsageError
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.types import Array, Const


def whole(shape: Any, seed: int, dtype: Any = np.float32) -> Any:
    """Small whole numbers: sums of products are exact in any order."""
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(dtype)


def largest_rank(g: Graph) -> int:
    return max(kind.rank or 0 for v in g.values() if (kind := g.tensor_type(v)) is not None)


def is_dilated(g: Graph) -> bool:
    return any(max(op.attrs.get("dilations", (1,))) > 1 for _, op in g.ops())


@st.composite
def convolutions(draw: st.DrawFn) -> dict[str, Any]:
    """A Conv that has an output: shape of x, shape of w, attributes, whether there is a bias."""
    rank = draw(st.integers(1, 3))
    def numbers(low: int, high: int) -> list[int]:
        return draw(st.lists(st.integers(low, high), min_size=rank, max_size=rank))

    group = draw(st.integers(1, 2))
    kernel, strides, dilations, sizes = numbers(1, 3), numbers(1, 4), numbers(1, 5), numbers(2, 11)
    begins, ends = numbers(0, 5), numbers(0, 5)
    axes = [Axis(*a) for a in zip(sizes, kernel, strides, dilations, begins, ends, strict=True)]
    assume(all((a.out or 0) > 0 for a in axes) and any(a.dilation > 1 and a.kernel > 1 for a in axes))
    assume(all(axis_phases(a) is not None for a in axes))
    return {
        "x": [draw(st.integers(1, 2)), group * draw(st.integers(1, 2)), *sizes],
        "w": [group * draw(st.integers(1, 2)), 0, *kernel],
        "attrs": {"strides": strides, "dilations": dilations, "pads": [*begins, *ends], "group": group},
        "bias": draw(st.booleans()),
    }


@pytest.mark.parametrize(
    "rule",
    [
        ReplaceDilatedConv(strategy="polyphase"),
        ReplaceDilatedConv(strategy="taps"),
        ReplaceDilatedConv(strategy="taps", concat_taps=True),
        ReplaceDilatedConv(strategy="zero-inflate"),
    ],
    ids=lambda r: r.spec(),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(conv=convolutions(), symbolic=st.booleans())
def test_exact_for_any_convolution(
    single: Any, run: Any, rewrite: Any, rule: ReplaceDilatedConv, conv: dict[str, Any], symbolic: bool
) -> None:
    x, w = whole(conv["x"], 0), whole((conv["w"][0], conv["x"][1] // conv["attrs"]["group"], *conv["w"][2:]), 1)
    inputs = {"x": ["n", *conv["x"][1:]] if symbolic else conv["x"], "w": w}
    if conv["bias"]:
        inputs["b"] = whole(w.shape[0], 2)
    g = single("Conv", inputs, **conv["attrs"])
    after, ctx = rewrite(g, rule)
    assert ctx.counts["rewrites"] == 1, ctx.declined
    assert not is_dilated(after)
    assert largest_rank(after) <= 5
    np.testing.assert_array_equal(run(after, {"x": x})[0], run(g, {"x": x})[0])


@pytest.mark.parametrize("strategy", ["polyphase", "taps", "zero-inflate"])
def test_random_numbers_within_rounding(single: Any, run: Any, rewrite: Any, strategy: str) -> None:
    rng = np.random.default_rng(3)
    x, w = rng.standard_normal((1, 8, 17, 19), np.float32), rng.standard_normal((6, 8, 3, 3), np.float32)
    g = single("Conv", {"x": x.shape, "w": w}, dilations=[4, 3], pads=[4, 3, 4, 3], kernel_shape=[3, 3])
    after, _ = rewrite(g, ReplaceDilatedConv(strategy=strategy))
    np.testing.assert_allclose(run(after, {"x": x})[0], run(g, {"x": x})[0], rtol=1e-5, atol=3e-5)


def test_same_padding_is_resolved(single: Any, run: Any, rewrite: Any) -> None:
    w = whole((2, 2, 3), 1)
    g = single("Conv", {"x": [1, 2, 20], "w": w}, dilations=[4], auto_pad="SAME_UPPER")
    after, _ = rewrite(g, ReplaceDilatedConv(strategy="polyphase"))
    explicit = single("Conv", {"x": [1, 2, 20], "w": w}, dilations=[4], pads=[4, 4])
    x = whole((1, 2, 20), 0)
    np.testing.assert_array_equal(run(after, {"x": x})[0], run(explicit, {"x": x})[0])


def test_lengths_that_are_not_known_take_taps(single: Any, run: Any, rewrite: Any) -> None:
    w = whole((3, 2, 2), 1)
    g = single("Conv", {"x": [1, 2, "t"], "w": w}, dilations=[16], pads=[16, 0], strides=[2])
    after, _ = rewrite(g, ReplaceDilatedConv())
    assert sorted(op.type for _, op in after.ops()) == ["Add", "Conv", "Conv", "Pad", "Slice", "Slice"]
    for length in (7, 40):
        x = whole((1, 2, length), length)
        np.testing.assert_array_equal(run(after, {"x": x})[0], run(g, {"x": x})[0])


@pytest.mark.parametrize(
    ("inputs", "attrs", "strategy", "reason"),
    [
        ({"x": [1, 2, 9, 9], "w": whole((2, 2, 3, 3), 0)}, {}, "auto", "does not fit"),
        ({"x": [1, 2, 9, 9], "w": whole((2, 2, 3, 3), 0)}, {"dilations": [2, 2]}, "auto", "within all limits"),
        ({"x": [1, 2, 40], "w": whole((2, 2, 3), 0)}, {"dilations": [16]}, "keep", "is keep"),
        ({"x": [1, 2, 40], "w": whole((2, 2, 1), 0)}, {"dilations": [16]}, "auto", "kernel size 1"),
        ({"x": [1, 2, 40], "w": [2, 2, 3]}, {"dilations": [16]}, "auto", "run time"),
        ({"x": [1, 2, "t"], "w": whole((2, 2, 7), 0)}, {"dilations": [16]}, "auto", "symbolic"),
        ({"x": [1, 2, 9, 9], "w": whole((2, 2, 3, 3), 0)}, {"dilations": [4, 4]}, "auto", "cheaper than"),
    ],
)  # fmt: skip
def test_what_is_kept_and_why(single: Any, rewrite: Any, inputs: Any, attrs: Any, strategy: str, reason: str) -> None:
    after, ctx = rewrite(single("Conv", inputs, **attrs), ReplaceDilatedConv(strategy=strategy))
    assert ctx.counts["rewrites"] == 0
    assert any(reason in text for text in ctx.declined), ctx.declined
    assert len(list(after.ops())) == 1


def test_others_may_read_what_it_reads_and_gives(single: Any, run: Any, rewrite: Any) -> None:
    g = single("Conv", {"x": [1, 2, 40], "w": whole((2, 2, 3), 0)}, dilations=[16])
    g.add_op(Op("Relu", ("y0",), ("r",), name="r"))
    g.add_op(Op("Neg", ("x",), ("n",), name="n"))
    g.set_outputs(["y0", "r", "n"])
    after, ctx = rewrite(g, ReplaceDilatedConv(strategy="polyphase"))
    assert ctx.counts["rewrites"] == 1
    x = whole((1, 2, 40), 5)
    for a, b in zip(run(g, {"x": x}), run(after, {"x": x}), strict=True):
        np.testing.assert_array_equal(a, b)


def quantised(single: Any, length: Any) -> Graph:
    """A Conv of dilation 16 whose weight is an int8 constant behind a DequantizeLinear."""
    g: Graph = single("Conv", {"x": [1, 2, length], "w": [2, 2, 3]}, dilations=[16])
    g.set_inputs(["x"])
    g.add_value("q", const=Const.of(whole((2, 2, 3), 1, np.int8)))
    g.add_value("scale", const=Const.of(np.float32(0.5)))
    g.add_op(Op("DequantizeLinear", ("q", "scale"), ("w",), name="dequantise"))
    return g


def test_quantised_weights_stay_as_they_are(single: Any, run: Any, rewrite: Any) -> None:
    g = quantised(single, 40)
    after, _ = rewrite(g, ReplaceDilatedConv())
    assert not is_dilated(after)
    assert "DequantizeLinear" in {op.type for _, op in after.ops()}
    x = whole((1, 2, 40), 3)
    np.testing.assert_array_equal(run(after, {"x": x})[0], run(g, {"x": x})[0])
    _, ctx = rewrite(g, ReplaceDilatedConv(strategy="taps"))
    assert any("quantised" in text for text in ctx.declined)
    _, ctx = rewrite(quantised(single, "t"), ReplaceDilatedConv())
    assert any("symbolic" in text for text in ctx.declined)


def test_check_names_the_blow_up(single: Any) -> None:
    w = np.zeros((16, 16, 3, 3), np.float32)
    g = single("Conv", {"x": [1, 16, 64, 64], "w": w}, dilations=[16, 16], pads=[16] * 4)
    (finding,) = ReplaceDilatedConv().check(g, Context())
    assert finding.code == "CG101"
    assert "grows 121x to 1.12 MB; polyphase" in finding.message


def test_unknown_strategy_is_refused() -> None:
    with pytest.raises(UsageError, match="no strategy") as caught:
        ReplaceDilatedConv(strategy="space-to-batch")
    assert caught.value.code == "option-value"


# -------------------------------------------------------------------- the arithmetic


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_phases_of_an_axis(data: st.DataObject) -> None:
    axis = Axis(*(data.draw(st.integers(*r)) for r in ((1, 20), (1, 4), (1, 7), (1, 7), (-3, 9), (-3, 9))))
    rng = np.random.default_rng(0)
    assert axis.size is not None
    x, w = rng.integers(1, 9, axis.size), rng.integers(1, 9, axis.kernel)
    padded = np.pad(x, (max(axis.begin, 0), max(axis.end, 0)))
    padded = padded[max(-axis.begin, 0) : len(padded) - max(-axis.end, 0)]
    assume((axis.out or 0) > 0 and len(padded) > 0)
    want = convolved(padded, w, axis.stride, axis.dilation)
    plan = axis_phases(axis)
    if plan is None:
        assert not want.any()
        return
    z = np.pad(x[plan.start :: plan.step][: plan.count], (plan.front, plan.back))
    assert len(z) == plan.total
    rows = [z[plan.stride * r :: plan.phases][: plan.length] if plan.phases > 1 else z for r in range(plan.phases)]
    got = np.stack([convolved(row, w, plan.stride, 1) for row in rows], axis=1).ravel()[: plan.keep]
    np.testing.assert_array_equal(got, want)


def convolved(x: Array, w: Array, stride: int, dilation: int) -> Array:
    count = (len(x) - (len(w) - 1) * dilation - 1) // stride + 1
    return np.array([sum(x[o * stride + i * dilation] * w[i] for i in range(len(w))) for o in range(count)])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=3), st.booleans())
def test_splitting_and_merging(axes: list[tuple[int, int]], known: bool) -> None:
    rates = [r for r, _ in axes]
    shape = (2, 3, *(r * m for r, m in axes))
    x = np.arange(math.prod(shape)).reshape(shape)
    want = x
    for axis, rate in enumerate(rates, start=2):
        want = np.concatenate([want.take(range(r, want.shape[axis], rate), axis) for r in range(rate)])
    given_shape = shape if known else (-1, *shape[1:])
    phase = moved(x, split_steps(given_shape, rates))
    np.testing.assert_array_equal(phase, want)
    np.testing.assert_array_equal(moved(phase, merge_steps(given_shape, rates)), x)


def moved(x: Array, steps: Any) -> Array:
    for kind, argument in steps:
        x = x.reshape(argument) if kind == "reshape" else x.transpose(argument)
        assert x.ndim <= 5
    return x


def square(size: int, kernel: int, dilation: int, channels: int = 8) -> ConvGeometry:
    axis = Axis(size, kernel, 1, dilation, dilation * (kernel - 1) // 2, dilation * (kernel - 1) // 2)
    return ConvGeometry(1, channels, channels, 1, (axis, axis))


def test_costs_are_those_of_the_formulas() -> None:
    g = square(65, 3, 12)
    plan = [p for axis in g.axes if (p := axis_phases(axis)) is not None]
    m, padded = 6, (6 + 2) * 12
    cost = polyphase_cost(g, plan, 4)
    assert cost.multiplies == (m * 12) ** 2 * 8 * 8 * 9
    assert cost.multiplies / (65**2 * 8 * 8 * 9) == pytest.approx(1.227, abs=1e-3)
    assert cost.live_bytes == max(2 * 8 * padded**2, 8 * padded**2 + 8 * (m * 12) ** 2) * 4
    inflated = zero_inflate_cost(g, 4)
    assert inflated.multiplies == 65**2 * 8 * 8 * 25**2
    assert inflated.weight_bytes == 8 * 8 * 25**2 * 4
    assert taps_cost(g, 4).live_bytes == (8 * (65 + 24) ** 2 + 8 * 65**2 + 2 * 8 * 65**2) * 4
    assert taps_cost(g, 4, concat=True).live_bytes == (8 * (65 + 24) ** 2 + 2 * 9 * 8 * 65**2) * 4
    assert blow_up(square(64, 3, 16)) == 121


def test_geometry_of_a_convolution() -> None:
    g = conv_geometry({"auto_pad": "SAME_LOWER", "strides": (2,), "group": 2}, (1, 4, 10), (6, 2, 3))
    assert g is not None
    assert (g.pads, g.channels, g.out_channels, g.axes[0].out) == ((1, 0), 4, 6, 5)
    assert conv_geometry({"auto_pad": b"SAME_UPPER", "strides": (2,)}, (1, 4, "t"), (6, 4, 3)) is None
    assert conv_geometry({}, (1, 4, 10), ("m", 4, 3)) is None
    assert conv_geometry({}, None, (6, 4, 3)) is None
