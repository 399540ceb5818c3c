"""The full transposed convolution, padded and cropped, against onnxruntime's padded one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from coregraft.passes.conv.canonical_conv_transpose import CanonicalConvTranspose

RULE = CanonicalConvTranspose()


def whole(shape: Any, seed: int) -> Any:
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32)


@pytest.mark.parametrize("padding", ["pads", "output_shape", "SAME_UPPER", "SAME_LOWER", "VALID"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(data=st.data())
def test_exact_for_any_padding(single: Any, run: Any, rewrite: Any, padding: str, data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, 3))
    def numbers(low: int, high: int) -> list[int]:
        return data.draw(st.lists(st.integers(low, high), min_size=rank, max_size=rank))

    sizes, kernel, strides, dilations = numbers(2, 6), numbers(1, 4), numbers(1, 3), numbers(1, 2)
    growth = [min(g, s - 1) for g, s in zip(numbers(0, 2), strides, strict=True)]
    full = [s * (n - 1) + (k - 1) * d + 1 for n, k, s, d in zip(sizes, kernel, strides, dilations, strict=True)]
    group = data.draw(st.integers(1, 2))
    attrs: dict[str, Any] = {"strides": strides, "dilations": dilations, "group": group, "output_padding": growth}
    if padding == "pads":
        begins, ends = numbers(0, 2), numbers(0, 2)
        assume(all(f + g - b - e > 0 for f, g, b, e in zip(full, growth, begins, ends, strict=True)))
        attrs["pads"] = [*begins, *ends]
    elif padding == "output_shape":
        attrs["output_shape"] = [max(1, f + g - o) for f, g, o in zip(full, growth, numbers(0, 3), strict=True)]
    else:
        attrs["auto_pad"] = padding
        enough = all(f + g >= n * s for f, g, n, s in zip(full, growth, sizes, strides, strict=True))
        assume(padding == "VALID" or enough)
    inputs = {"x": [1, 2 * group, *sizes], "w": whole((2 * group, 2, *kernel), 1)}
    if data.draw(st.booleans()):
        inputs["b"] = whole(2 * group, 2)
    g = single("ConvTranspose", inputs, **attrs)
    x = whole((1, 2 * group, *sizes), 0)
    after, ctx = rewrite(g, CanonicalConvTranspose(always=data.draw(st.booleans())))
    for _, op in after.ops():
        if ctx.counts["rewrites"] and op.type == "ConvTranspose":
            assert not {"output_padding", "output_shape", "auto_pad"} & set(op.attrs)
            pads = op.attrs.get("pads", (0,) * 2 * rank)
            assert pads[:rank] == pads[rank:]
    np.testing.assert_array_equal(run(after, {"x": x})[0], run(g, {"x": x})[0])


def test_the_bias_reaches_the_added_zeros(single: Any, run: Any, rewrite: Any) -> None:
    inputs = {"x": [1, 2, 5], "w": whole((2, 3, 1), 1), "b": np.array([1, 2, 3], np.float32)}
    g = single("ConvTranspose", inputs, strides=[3], output_padding=[2])
    after, _ = rewrite(g, RULE)
    x = whole((1, 2, 5), 0)
    got = run(after, {"x": x})[0]
    np.testing.assert_array_equal(got[0, :, -1], [1, 2, 3])
    np.testing.assert_array_equal(got, run(g, {"x": x})[0])


def test_lengths_may_be_symbolic(single: Any, run: Any, rewrite: Any) -> None:
    g = single("ConvTranspose", {"x": ["n", 2, "t"], "w": whole((2, 3, 4), 1)}, strides=[2], pads=[2, 1])
    after, _ = rewrite(g, RULE)
    for length in (3, 8):
        x = whole((2, 2, length), length)
        np.testing.assert_array_equal(run(after, {"x": x})[0], run(g, {"x": x})[0])


@pytest.mark.parametrize(
    ("shape", "attrs", "reason"),
    [
        ([1, 2, 5], {"pads": [1, 1]}, "same at both ends"),
        ([1, 2, 5], {}, "same at both ends"),
        ([1, 2, "t"], {"output_shape": [9]}, "not known"),
        ([1, 2, 5], {"auto_pad": "SAME_UPPER", "strides": [4]}, "not known"),
    ],
)
def test_what_is_left_alone(single: Any, rewrite: Any, shape: Any, attrs: Any, reason: str) -> None:
    after, ctx = rewrite(single("ConvTranspose", {"x": shape, "w": whole((2, 3, 3), 0)}, **attrs), RULE)
    assert not ctx.rewriter(after).changed
    assert any(reason in text for text in ctx.declined), ctx.declined
