"""Networks of dilated convolutions: fewer movements, the same numbers, nothing left to do the second time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coregraft.passes.conv.cancel_phase_pairs import CancelPhasePairs
from coregraft.passes.conv.phase_chains import forwards, inverses, phase_mask
from coregraft.passes.conv.replace_dilated_conv import ReplaceDilatedConv
from coregraft.rewriter.contract import Context
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.opset import INTERNAL_OPSET
from coregraft.rewriter.shapes import infer_shapes
from coregraft.rewriter.types import Const, DType, TensorType

POLYPHASE = ReplaceDilatedConv(strategy="polyphase")


class Net:
    """Builds a network of whole-numbered weights, so that sums are exact in any order."""

    def __init__(self, shape: tuple[Any, ...]) -> None:
        self.g = Graph()
        self.g.set_opsets({"": INTERNAL_OPSET})
        self.g.graph["ir_version"] = 10
        self.x = self.g.add_input("x", TensorType(DType.FLOAT, shape))
        self.rank = len(shape) - 2
        self.rng = np.random.default_rng(len(shape))

    def weight(self, *shape: int) -> str:
        values = self.rng.integers(-2, 3, shape).astype(np.float32)
        return self.g.add_value(self.g.fresh_name("w"), const=Const.of(values))

    def op(self, op_type: str, *inputs: str, **attrs: Any) -> str:
        name = self.g.fresh_name("v")
        self.g.add_op(Op(op_type, inputs, (name,), attrs, name=f"op_{name}"))
        return name

    def conv(self, x: str, channels: tuple[int, int], kernel: int, dilation: int = 1, pads: Any = None) -> str:
        same = dilation * (kernel - 1) // 2
        n = self.rank
        return self.op(
            "Conv", x, self.weight(channels[1], channels[0], *(kernel,) * n), self.weight(channels[1]),
            dilations=(dilation,) * n, kernel_shape=(kernel,) * n, pads=(same,) * (2 * n) if pads is None else pads,
        )  # fmt: skip

    def batch_norm(self, x: str, channels: int) -> str:
        ones = self.g.add_value(self.g.fresh_name("one"), const=Const.of(np.ones(channels, np.float32)))
        scale, bias, mean = (self.weight(channels) for _ in range(3))
        return self.op("BatchNormalization", x, scale, bias, mean, ones)

    def bounds(self) -> tuple[str, str]:
        """Keep numbers small, and so sums exact."""
        low, high = (self.g.add_value(self.g.fresh_name("to"), const=Const.of(np.float32(v))) for v in (-8, 8))
        return low, high

    def done(self, *outputs: str) -> Graph:
        self.g.set_outputs(outputs)
        infer_shapes(self.g)
        return self.g


def stack(net: Net) -> Graph:
    x = net.x
    for _ in range(3):
        x = net.op("Relu", net.batch_norm(net.conv(x, (4, 4), 3, 2), 4))
    return net.done(x)


def temporal_blocks(net: Net) -> Graph:
    x = net.x
    for dilation in (2, 2, 4):
        y = net.op("Relu", net.conv(x, (4, 4), 3, dilation, pads=(2 * dilation, 0)))
        y = net.op("Relu", net.conv(y, (4, 4), 3, dilation, pads=(2 * dilation, 0)))
        x = net.op("Relu", net.op("Add", y, x))
    return net.done(x)


def bottlenecks(net: Net) -> Graph:
    x = net.x
    for _ in range(4):
        y = net.op("Relu", net.conv(x, (4, 2), 1))
        y = net.op("Relu", net.conv(y, (2, 2), 3, 2))
        x = net.op("Relu", net.op("Add", net.conv(y, (2, 4), 1), x))
    return net.done(x)


def gated(net: Net) -> Graph:
    x = net.conv(net.x, (4, 4), 3, 2)
    both = net.op("Concat", net.op("Tanh", x), net.op("Sigmoid", x), axis=1)
    return net.done(net.conv(net.op("Round", both), (8, 2), 3, 2))


def read_twice(net: Net) -> Graph:
    """A value between two convolutions that is an output, too."""
    x = net.op("Relu", net.conv(net.x, (4, 4), 3, 2))
    return net.done(net.conv(x, (4, 4), 3, 2), x)


NETS: list[tuple[Callable[[Net], Graph], tuple[int, ...], int]] = [
    (stack, (1, 4, 8, 8), 2),
    (stack, (2, 4, 9, 8), 2),
    (stack, (1, 4, 4, 5, 6), 2),
    (temporal_blocks, (2, 4, 16), 4),
    (temporal_blocks, (1, 4, 19), 4),
    (bottlenecks, (1, 4, 8, 8), 4),
    (bottlenecks, (1, 4, 7, 9), 4),
    (gated, (1, 4, 10, 10), 1),
    (gated, (2, 4, 9, 9), 1),
    (read_twice, (1, 4, 9, 9), 1),
]


def counts(g: Graph) -> Counter[str]:
    return Counter(op.type for _, op in g.ops())


@pytest.mark.parametrize(("build", "shape", "dropped"), NETS, ids=lambda v: getattr(v, "__name__", str(v)))
def test_pairs_cancel(run: Any, rewrite: Any, build: Callable[[Net], Graph], shape: Any, dropped: int) -> None:
    g = build(Net(shape))
    split, _ = rewrite(g, POLYPHASE)
    after, ctx = rewrite(split, CancelPhasePairs())
    assert ctx.counts["ways into phase space dropped"] >= dropped
    assert counts(after)["Transpose"] < counts(split)["Transpose"]
    assert all((t.rank or 0) <= 5 for v in after.values() if (t := after.tensor_type(v)) is not None)
    x = np.random.default_rng(7).integers(-3, 4, shape).astype(np.float32)
    for want, got in zip(run(g, {"x": x}), run(after, {"x": x}), strict=True):
        np.testing.assert_array_equal(got, want)
    again, second = rewrite(after, CancelPhasePairs())
    assert not second.rewriter(again).changed


KINDS = ["two", "two", "two", "three", "Relu", "Add", "Mul", "1x1", "3x3", "Concat", "Flip"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_random_networks(run: Any, rewrite: Any, data: st.DataObject) -> None:
    """Any mix of convolutions of two rates and of ops that may or may not sit in phase space."""
    rank = data.draw(st.integers(1, 2))
    sizes = data.draw(st.lists(st.integers(6, 10), min_size=rank, max_size=rank))
    shape = (data.draw(st.integers(1, 2)), 2, *sizes)
    net = Net(shape)
    values = [net.x]
    for _ in range(data.draw(st.integers(3, 9))):
        x, y = (values[data.draw(st.integers(max(0, len(values) - 3), len(values) - 1))] for _ in range(2))
        kind = data.draw(st.sampled_from(KINDS))
        if kind in ("two", "three"):
            rate = 2 if kind == "two" else 3
            ends = data.draw(st.sampled_from([(rate, rate), (2 * rate, 0), (1, 2 * rate - 1)]))
            values.append(net.conv(x, (2, 2), 3, rate, pads=(ends[0],) * rank + (ends[1],) * rank))
        elif kind in ("Add", "Mul"):
            values.append(net.op("Clip", net.op(kind, x, y), *net.bounds()))
        elif kind == "Concat":
            values.append(net.conv(net.op("Concat", x, y, axis=1), (4, 2), 1))
        elif kind == "Flip":
            flip = (1, 0, *range(2, 2 + rank))
            values.append(net.op("Transpose", net.op("Neg", net.op("Transpose", x, perm=flip)), perm=flip))
        elif kind == "Relu":
            values.append(net.op("Relu", x))
        else:
            values.append(net.conv(x, (2, 2), int(kind[0])))
        values[-1] = net.op("Clip", values[-1], *net.bounds())
    g = net.done(values[-1], *([values[-2]] if data.draw(st.booleans()) else []))
    split, _ = rewrite(g, POLYPHASE)
    after, _ = rewrite(split, CancelPhasePairs())
    assert counts(after)["Transpose"] <= counts(split)["Transpose"]
    feeds = {"x": np.random.default_rng(1).integers(-3, 4, shape).astype(np.float32)}
    for want, got in zip(run(g, feeds), run(after, feeds), strict=True):
        np.testing.assert_array_equal(got, want)
    again, second = rewrite(after, CancelPhasePairs())
    assert not second.rewriter(again).changed


def test_a_symbolic_batch_needs_lengths_that_the_rate_divides(run: Any, rewrite: Any) -> None:
    even, _ = rewrite(stack(Net(("n", 4, 8, 8))), POLYPHASE)
    _, ctx = rewrite(even, CancelPhasePairs())
    assert ctx.counts["ways into phase space dropped"] == 2
    odd, _ = rewrite(stack(Net(("n", 4, 9, 8))), POLYPHASE)
    after, _ = rewrite(odd, CancelPhasePairs())
    assert counts(after) == counts(odd)


def different_rates(net: Net) -> Graph:
    return net.done(net.conv(net.conv(net.x, (4, 4), 3, 2), (4, 4), 3, 4))


def padding_of_half_a_phase(net: Net) -> Graph:
    return net.done(net.conv(net.conv(net.x, (4, 4), 3, 2), (4, 4), 3, 2, pads=(1, 1, 3, 3)))


def softmax_over_a_spatial_axis(net: Net) -> Graph:
    return net.done(net.conv(net.op("Softmax", net.conv(net.x, (4, 4), 3, 2), axis=3), (4, 4), 3, 2))


def one_convolution(net: Net) -> Graph:
    return net.done(net.op("Relu", net.conv(net.op("Relu", net.x), (4, 4), 3, 2)))


@pytest.mark.parametrize(
    "build", [different_rates, padding_of_half_a_phase, softmax_over_a_spatial_axis, one_convolution]
)
def test_what_stays_as_it_is(rewrite: Any, build: Callable[[Net], Graph]) -> None:
    split, _ = rewrite(build(Net((1, 4, 12, 12))), POLYPHASE)
    after, ctx = rewrite(split, CancelPhasePairs())
    assert not ctx.rewriter(after).changed
    assert CancelPhasePairs().check(split, Context()) == []


def test_moving_a_wide_residual_does_not_pay(rewrite: Any) -> None:
    """One narrow convolution amid wide values: entering and leaving with the wide ones would move more."""
    net = Net((1, 64, 8, 8))
    x = net.x
    for _ in range(2):
        y = net.conv(net.op("Relu", net.conv(net.op("Relu", net.conv(x, (64, 2), 1)), (2, 2), 3, 2)), (2, 64), 1)
        x = net.op("Add", y, x)
    split, _ = rewrite(net.done(x), POLYPHASE)
    after, ctx = rewrite(split, CancelPhasePairs())
    assert not ctx.rewriter(after).changed


def test_check_names_the_ways_that_can_go(rewrite: Any) -> None:
    split, _ = rewrite(stack(Net((1, 4, 8, 8))), POLYPHASE)
    findings = CancelPhasePairs().check(split, Context())
    assert len(findings) == 2
    assert "rates (2, 2)" in findings[0].message


def test_chains_are_recognised_by_what_they_do(rewrite: Any) -> None:
    split, _ = rewrite(stack(Net((1, 4, 9, 8))), POLYPHASE)
    found = forwards(split)
    assert [(f.rates, f.fronts, f.lengths) for f in found] == [((2, 2), (2, 2), (7, 6))] * 3
    assert [i.rates for i in inverses(split)] == [(2, 2)] * 3
    assert forwards(stack(Net((1, 4, 9, 8)))) == []


def test_mask_of_what_lies_behind_the_end() -> None:
    assert phase_mask((4, 6), (2, 3), 1) is None
    mask = phase_mask((5,), (2,), 2)
    assert mask is not None
    np.testing.assert_array_equal(mask[:, 0], [[1, 1, 1], [1, 1, 1], [1, 1, 0], [1, 1, 0]])
