"""Convolutions of lifted packages against the documented meaning of the MIL ops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.lowering.lift.one_op import agree, floats, lifted, mb, refusal


def _draw(*shape: int) -> Any:
    return np.random.default_rng(abs(hash(shape)) % 1000).standard_normal(shape).astype(np.float32)


def _conv(x_shape: tuple[int, ...], w_shape: tuple[int, ...], target: str = "iOS15", **options: Any) -> Any:
    want, doubts = options.pop("want", None), options.pop("doubts", 0)
    w = options.pop("weight", None)
    w = _draw(*w_shape) if w is None else w
    return agree(lambda x: mb.conv(x=x, weight=w, **options), {"x": _draw(*x_shape)}, target, want=want, doubts=doubts)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.data())
def test_any_geometry(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 3))
    groups = data.draw(st.sampled_from([1, 2, 4]))
    kernel = [data.draw(st.integers(1, 3)) for _ in range(n)]
    options: dict[str, Any] = {
        "strides": [data.draw(st.integers(1, 3)) for _ in range(n)],
        "dilations": [data.draw(st.integers(1, 2)) for _ in range(n)],
        "groups": groups,
    }
    if data.draw(st.booleans()):
        options |= {"pad_type": "custom", "pad": [data.draw(st.integers(0, 2)) for _ in range(2 * n)]}
    if data.draw(st.booleans()):
        options["bias"] = _draw(4)
    size = [data.draw(st.integers(5, 7)) for _ in range(n)]
    _conv((2, 4, *size), (4, 4 // groups, *kernel), **options)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.data())
def test_any_transposed_geometry(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 3))
    groups = data.draw(st.sampled_from([1, 2]))
    kernel = [data.draw(st.integers(2, 3)) for _ in range(n)]
    options: dict[str, Any] = {
        "strides": [data.draw(st.integers(1, 3)) for _ in range(n)],
        "dilations": [data.draw(st.integers(1, 2)) for _ in range(n)],
        "groups": groups,
        "weight": _draw(4, 6 // groups, *kernel),
    }
    if data.draw(st.booleans()):
        options |= {"pad_type": "custom", "pad": [data.draw(st.integers(0, 1)) for _ in range(2 * n)]}
    if data.draw(st.booleans()):
        options["bias"] = _draw(6)
    size = [data.draw(st.integers(3, 5)) for _ in range(n)]
    agree(lambda x: mb.conv_transpose(x=x, **options), {"x": _draw(2, 4, *size)})


def _same_padded(x: Any, w: Any, stride: int, *, lower: bool = False) -> Any:
    """What "same" pads by the type inference, then a plain correlation in one dimension."""
    total = max(0, (-(-x.shape[2] // stride) - 1) * stride + w.shape[2] - x.shape[2])
    pads = (total - total // 2, total // 2) if lower else (total // 2, total - total // 2)
    padded = np.pad(x, [(0, 0), (0, 0), pads])
    starts = range(0, padded.shape[2] - w.shape[2] + 1, stride)
    return np.stack([np.einsum("nck,ock->no", padded[:, :, s : s + w.shape[2]], w) for s in starts], axis=2)


@pytest.mark.parametrize("kernel, stride, doubts", [(3, 1, 0), (5, 1, 0), (3, 2, 0), (2, 1, 1), (4, 2, 1), (3, 3, 0)])
def test_same(kernel: int, stride: int, doubts: int) -> None:
    x, w = _draw(1, 2, 7), _draw(3, 2, kernel)
    want = _same_padded(x, w, stride)
    _conv((1, 2, 7), w.shape, pad_type="same", strides=[stride], weight=w, want=want, doubts=doubts)


@pytest.mark.parametrize("kernel, stride, doubts", [(3, 1, 0), (2, 1, 0), (4, 2, 1)])
def test_same_lower(kernel: int, stride: int, doubts: int) -> None:
    x, w = _draw(1, 2, 8), _draw(3, 2, kernel)
    want = _same_padded(x, w, stride, lower=True)
    _conv((1, 2, 8), w.shape, "iOS16", pad_type="same_lower", strides=[stride], weight=w, want=want, doubts=doubts)


def test_same_of_a_size_that_is_not_fixed() -> None:
    from coremltools.converters.mil.mil import get_new_symbol, types

    from tests.lowering.lift.one_op import lift_program, program_of, run_graph

    x, w = _draw(1, 2, 7), _draw(3, 2, 4)
    free = mb.placeholder(shape=(1, 2, get_new_symbol()), dtype=types.fp32)
    program = program_of(lambda x: mb.conv(x=x, weight=w, pad_type="same", strides=[2]), {"x": x}, x=free)
    graph = lift_program(program)
    (result,) = run_graph(graph, {"x": x}).values()
    np.testing.assert_allclose(result, _same_padded(x, w, 2), rtol=1e-4, atol=1e-5)
    assert len(graph.graph["lift_warnings"]) == 1


def test_a_pad_that_is_ignored_is_reported() -> None:
    found = _conv((1, 2, 7), (3, 2, 3), pad_type="valid", pad=[1, 1], doubts=1)
    assert "ignored" in found.warnings[0]


def test_weights_computed_at_run_time() -> None:
    feeds = {"x": _draw(1, 2, 6, 6), "w": _draw(3, 2, 3, 3)}
    agree(lambda x, w: mb.conv(x=x, weight=w, pad_type="valid"), feeds)


def test_weights_of_another_precision() -> None:
    w, b = _draw(3, 2, 3, 3).astype(np.float16), _draw(3).astype(np.float16)
    agree(lambda x: mb.conv(x=x, weight=w, bias=b), {"x": _draw(1, 2, 6, 6)}, "iOS17")


def test_fp16_is_rounded_once() -> None:
    x, w = _draw(1, 8, 4, 4).astype(np.float16), _draw(3, 8, 3, 3).astype(np.float16)

    def build(x: Any) -> Any:
        return mb.conv(x=x, weight=w)

    exact = lifted(build, {"x": x}, "iOS16").results
    rounded = lifted(build, {"x": x}, "iOS16", fp16="simulate").results
    for before, after in zip(exact.values(), rounded.values(), strict=True):
        assert (before != after).any()
        np.testing.assert_array_equal(before.astype(np.float16).astype(np.float32), after)


@pytest.mark.parametrize("kernel, stride, doubts", [(2, 2, 0), (4, 2, 0), (3, 2, 1), (3, 1, 0), (2, 3, 1)])
def test_transposed_same(kernel: int, stride: int, doubts: int) -> None:
    x, w = _draw(1, 2, 4), _draw(2, 3, kernel)
    full = np.zeros((1, 3, max((4 - 1) * stride + kernel, 4 * stride)), np.float32)
    for i in range(4):
        full[:, :, i * stride : i * stride + kernel] += np.einsum("nc,cok->nok", x[:, :, i], w)
    begin = max(kernel - stride, 0) // 2
    want = full[:, :, begin : begin + 4 * stride]
    options = {"weight": w, "pad_type": "same", "strides": [stride]}
    agree(lambda x: mb.conv_transpose(x=x, **options), {"x": x}, want=want, doubts=doubts)


@pytest.mark.parametrize("extra, doubts", [(0, 0), (1, 1), (-1, 1)])
def test_transposed_output_shape(extra: int, doubts: int) -> None:
    x, w = _draw(1, 2, 4), _draw(2, 3, 3)
    full = np.zeros((1, 3, 10), np.float32)
    for i in range(4):
        full[:, :, i * 2 : i * 2 + 3] += np.einsum("nc,cok->nok", x[:, :, i], w)
    bias = _draw(3)
    want = full[:, :, : 9 + extra] + bias[:, None]

    def build(x: Any) -> Any:
        shape = [1, 3, 9 + extra]
        return mb.conv_transpose(x=x, weight=w, bias=bias, strides=[2], output_shape=shape)

    agree(build, {"x": x}, want=want, doubts=doubts)


@pytest.mark.parametrize("size, begin, doubts", [(9, 0, 0), (7, 1, 0), (8, 0, 1), (10, 0, 1)])
def test_transposed_output_shape_with_same(size: int, begin: int, doubts: int) -> None:
    """Half of what is too much is cut off each side; which one more is open."""
    x, w = _draw(1, 2, 4), _draw(2, 3, 3)
    full = np.zeros((1, 3, 10), np.float32)
    for i in range(4):
        full[:, :, i * 2 : i * 2 + 3] += np.einsum("nc,cok->nok", x[:, :, i], w)
    options = {"weight": w, "pad_type": "same", "strides": [2], "output_shape": [1, 3, size]}
    want = full[:, :, begin : begin + size]
    agree(lambda x: mb.conv_transpose(x=x, **options), {"x": x}, want=want, doubts=doubts)


def _quantised(kind: str = "linear", **more: Any) -> Any:
    stored = np.arange(54, dtype=np.uint8).reshape(3, 2, 3, 3)
    return stored, lambda x: mb.conv_quantized(x=x, weight=stored, quantization_type=kind, **more)


@pytest.mark.parametrize("scale, offset", [(floats(0.5), floats(-3)), (floats([1, 2, 3]), floats([0, 1, 2]))])
def test_quantised_weights(scale: Any, offset: Any) -> None:
    stored, build = _quantised(quant_scale=scale, quant_bias=offset)
    spread = [np.reshape(v, (-1, 1, 1, 1)) for v in (scale, offset)]
    x = _draw(1, 2, 5, 5)
    plain = lifted(lambda x: mb.conv(x=x, weight=(stored * spread[0] + spread[1]).astype(np.float32)), {"x": x})
    agree(build, {"x": x}, want=list(plain.results.values()))


def test_a_table_without_a_place_is_refused() -> None:
    _, build = _quantised("lut", quant_scale=np.float32(1), quant_bias=np.float32(0))
    assert "table" in refusal(build, {"x": _draw(1, 2, 5, 5)}).message
