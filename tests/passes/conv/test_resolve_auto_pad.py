"""Explicit pads against onnxruntime's own reading of ``auto_pad`` and of negative pads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from coregraft.passes.conv.resolve_auto_pad import ResolveAutoPad

RULE = ResolveAutoPad()


def whole(shape: Any, seed: int) -> Any:
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32)


@pytest.mark.parametrize("op_type", ["Conv", "MaxPool", "AveragePool", "LpPool"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(data=st.data())
def test_same_windows(single: Any, run: Any, rewrite: Any, op_type: str, data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, 2))
    sizes, kernel, strides = (
        data.draw(st.lists(st.integers(*r), min_size=rank, max_size=rank)) for r in ((4, 9), (1, 4), (1, 3))
    )
    mode = data.draw(st.sampled_from(["SAME_UPPER", "SAME_LOWER", "VALID"]))
    attrs: dict[str, Any] = {"strides": strides, "auto_pad": mode}
    inputs: dict[str, Any] = {"x": [1, 2, *sizes]}
    if op_type == "Conv":
        inputs["w"] = whole((2, 2, *kernel), 1)
    else:
        assume(all(s <= k for s, k in zip(strides, kernel, strict=True)) or mode == "VALID")
        attrs |= {"kernel_shape": kernel, "ceil_mode": data.draw(st.integers(0, 1))}
    if op_type == "AveragePool":
        attrs["count_include_pad"] = data.draw(st.integers(0, 1))
    g = single(op_type, inputs, **attrs)
    after, ctx = rewrite(g, RULE)
    assert ctx.counts["rewrites"] == 1, ctx.declined
    (op,) = (op for _, op in after.ops())
    assert "auto_pad" not in op.attrs
    x = whole((1, 2, *sizes), 0)
    np.testing.assert_array_equal(run(after, {"x": x})[0], run(g, {"x": x})[0])


def test_negative_pads_become_a_slice(single: Any, run: Any, rewrite: Any) -> None:
    w = whole((2, 2, 3, 3), 1)
    g = single("Conv", {"x": [1, 2, 9, 9], "w": w}, pads=[-1, 2, 1, -2])
    after, _ = rewrite(g, RULE)
    conv = next(op for _, op in after.ops() if op.type == "Conv")
    assert conv.attrs["pads"] == (0, 2, 1, 0)
    x = whole((1, 2, 9, 9), 0)
    cut = single("Conv", {"x": [1, 2, 8, 7], "w": w}, pads=[0, 2, 1, 0])
    np.testing.assert_array_equal(run(after, {"x": x})[0], run(cut, {"x": np.ascontiguousarray(x[:, :, 1:, :-2])})[0])


def test_stride_one_needs_no_length(single: Any, rewrite: Any) -> None:
    after, _ = rewrite(single("Conv", {"x": [1, 2, "t"], "w": whole((2, 2, 4), 0)}, auto_pad="SAME_UPPER"), RULE)
    (op,) = (op for _, op in after.ops())
    assert op.attrs["pads"] == (1, 2)


@pytest.mark.parametrize(
    ("op_type", "inputs", "attrs", "reason"),
    [
        ("Conv", {"x": [1, 2, 9], "w": whole((2, 2, 3), 0)}, {"pads": [1, 1]}, "explicit"),
        ("Conv", {"x": [1, 2, "t"], "w": whole((2, 2, 3), 0)}, {"auto_pad": "SAME_UPPER", "strides": [2]}, "not known"),
        ("MaxPool", {"x": [1, 2, 9]}, {"auto_pad": "SAME_UPPER", "kernel_shape": [2], "dilations": [2]}, "disputed"),
        ("AveragePool", {"x": [1, 2, 9]}, {"auto_pad": "SAME_LOWER", "kernel_shape": [1], "strides": [3]}, "disputed"),
    ],
)
def test_what_is_left_alone(single: Any, rewrite: Any, op_type: str, inputs: Any, attrs: Any, reason: str) -> None:
    after, ctx = rewrite(single(op_type, inputs, **attrs), RULE)
    assert not ctx.rewriter(after).changed
    assert any(reason in text for text in ctx.declined), ctx.declined
