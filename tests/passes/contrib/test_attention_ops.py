"""The attention ops against onnxruntime's kernels: every mask, past, bias and packing that those take."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.contrib.unfuse_attention import UnfuseAttention
from coregraft.passes.contrib.unfuse_group_query_attention import UnfuseGroupQueryAttention
from coregraft.passes.contrib.unfuse_multi_head_attention import UnfuseMultiHeadAttention
from coregraft.passes.contrib.unfuse_rotary_embedding import UnfuseRotaryEmbedding
from coregraft.rewriter.types import Array, Const

MS = "com.microsoft"
B, S, N, H = 2, 3, 2, 4
D = N * H


def f(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def i32(values: Any) -> Array:
    return np.array(values, np.int32)


MASKS = {
    "none": None,
    "ends": i32([2, 3]),
    "ends and starts": i32([3, 2, 1, 0]),
    "ends and places": i32([2, 3, 0, 2, 5, 0, 2, 5]),
    "rows": i32([[1, 0, 1], [1, 1, 0]]),
    "nothing to attend to": i32([[0, 0, 0], [1, 1, 0]]),
    "matrix": i32([[[1, 0, 1], [1, 1, 1], [0, 1, 1]], [[1, 1, 1], [0, 0, 1], [1, 1, 0]]]),
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("causal", [0, 1])
def test_attention_masks(harness: Any, mask: str, causal: int) -> None:
    operands = [f(B, S, 5), Const.of(f(5, 3 * D)), Const.of(f(3 * D)), MASKS[mask]]
    while operands[-1] is None:
        operands.pop()
    g, feeds = harness.graph("Attention", operands, domain=MS, num_heads=N, unidirectional=causal)
    harness.same(UnfuseAttention(), g, feeds, rtol=1e-4, atol=1e-5)
    assert g.tensor_type("y0").shape == (B, S, D)


@pytest.mark.parametrize("bias", [(B, N), (1, 1)])
def test_attention_with_a_bias(harness: Any, bias: tuple[int, int]) -> None:
    operands = [f(B, S, 5), Const.of(f(5, 3 * D)), Const.of(f(3 * D)), MASKS["rows"], None, f(*bias, S, S, seed=5)]
    g, feeds = harness.graph("Attention", operands, domain=MS, num_heads=N)
    harness.same(UnfuseAttention(), g, feeds, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("causal", [0, 1])
def test_attention_with_a_past(harness: Any, causal: int) -> None:
    operands = [
        f(B, S, 5), Const.of(f(5, 3 * D)), Const.of(f(3 * D)), i32([[1, 0, 1, 1, 1], [1, 1, 1, 0, 1]]),
        f(2, B, N, 2, H, seed=4),
    ]  # fmt: skip
    g, feeds = harness.graph(
        "Attention", operands, domain=MS, outputs=2, num_heads=N, unidirectional=causal, mask_filter_value=-2.0
    )
    harness.same(UnfuseAttention(), g, feeds, rtol=1e-4, atol=1e-5)
    assert g.tensor_type("y1").shape == (2, B, N, S + 2, H)


def test_attention_with_values_of_another_width(harness: Any) -> None:
    operands = [f(B, S, 5), Const.of(f(5, 2 * D + 6)), Const.of(f(2 * D + 6))]
    g, feeds = harness.graph("Attention", operands, domain=MS, num_heads=N, qkv_hidden_sizes=(D, D, 6), scale=0.3)
    harness.same(UnfuseAttention(), g, feeds, rtol=1e-4, atol=1e-5)
    assert g.tensor_type("y0").shape == (B, S, 6)


@pytest.mark.parametrize(
    ("mask", "attrs", "reason"),
    [
        (None, {"do_rotary": 1}, "rotates its input"),
        (None, {"past_present_share_buffer": 1}, "shares a buffer"),
        (np.ones((B, 1, S, S), np.int32), {}, "mask has 4 dims"),
        (np.ones(3 * B, np.int32), {}, "in a form of some kernels only"),
    ],
)
def test_what_attention_may_not_have(harness: Any, mask: Array | None, attrs: dict[str, int], reason: str) -> None:
    operands = [f(B, S, 5), Const.of(f(5, 3 * D)), Const.of(f(3 * D)), *([] if mask is None else [mask])]
    g, _ = harness.graph("Attention", operands, domain=MS, num_heads=N, **attrs)
    harness.declines(UnfuseAttention(), g, reason)


@pytest.mark.parametrize("per_column", [False, True])
def test_q_attention(harness: Any, per_column: bool) -> None:
    rng = np.random.default_rng(0)
    x, w = rng.integers(0, 255, (B, S, 5)).astype(np.uint8), rng.integers(-127, 127, (5, 3 * D)).astype(np.int8)
    scale = np.abs(f(3 * D)) * 0.01 if per_column else np.float32(0.01)
    zero = np.zeros(3 * D, np.int8) if per_column else np.int8(3)
    operands = [
        x, *(Const.of(v) for v in (w, f(3 * D), np.float32(0.02), scale)), i32([2, 3]), Const.of(np.uint8(120)),
        Const.of(zero), f(2, B, N, 2, H, seed=4),
    ]  # fmt: skip
    g, feeds = harness.graph("QAttention", operands, domain=MS, outputs=2, num_heads=N, unidirectional=1)
    harness.same(UnfuseAttention(), g, feeds, rtol=1e-4, atol=1e-4)
    assert g.tensor_type("y0").shape == (B, S, D)


# ---------------------------------------------------------------- MultiHeadAttention

L = 4


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("mask", ["none", "ends", "rows", "matrix"])
def test_cross_attention(harness: Any, bias: bool, mask: str) -> None:
    masks = {"none": None, "ends": i32([2, 4]), "rows": i32([[1, 0, 1, 1], [1, 1, 1, 0]]),
             "matrix": np.random.default_rng(1).integers(0, 2, (B, S, L)).astype(np.int32)}  # fmt: skip
    operands = [
        f(B, S, D), f(B, L, D, seed=1), f(B, L, 6, seed=2), Const.of(f(2 * D + 6)) if bias else None, masks[mask],
        f(1, N, S, L, seed=3),
    ]  # fmt: skip
    g, feeds = harness.graph("MultiHeadAttention", operands, domain=MS, num_heads=N, scale=0.4)
    harness.same(UnfuseMultiHeadAttention(), g, feeds, rtol=1e-4, atol=1e-5)
    assert g.tensor_type("y0").shape == (B, S, 6)


@pytest.mark.parametrize("length", [2, 5])
def test_causal_cross_attention_is_refused(harness: Any, length: int) -> None:
    operands = [f(B, S, D), f(B, length, D, seed=1), f(B, length, D, seed=2)]
    g, _ = harness.graph("MultiHeadAttention", operands, domain=MS, num_heads=N, unidirectional=1)
    harness.declines(UnfuseMultiHeadAttention(), g, "new keys for 3 queries")


def test_keys_that_are_split_already(harness: Any) -> None:
    operands = [f(B, S, D), f(B, N, L, H, seed=1), f(B, N, L, H, seed=2)]
    g, feeds = harness.graph("MultiHeadAttention", operands, domain=MS, num_heads=N)
    harness.same(UnfuseMultiHeadAttention(), g, feeds, rtol=1e-4, atol=1e-5)


def test_past_and_present(harness: Any) -> None:
    operands = [
        *(f(B, S, D, seed=i) for i in range(3)), None, None, None, f(B, N, 2, H, seed=3), f(B, N, 2, H, seed=4),
    ]  # fmt: skip
    g, feeds = harness.graph("MultiHeadAttention", operands, domain=MS, outputs=3, num_heads=N, unidirectional=1)
    harness.same(UnfuseMultiHeadAttention(), g, feeds, rtol=1e-4, atol=1e-5)
    assert g.tensor_type("y2").shape == (B, N, S + 2, H)


@pytest.mark.parametrize("bias", [False, True])
def test_packed_operands(harness: Any, bias: bool) -> None:
    """onnxruntime's CPU kernel takes none of them: they must be what the operands apart give."""
    q, k, v = f(B, S, D), f(B, S, D, seed=1), f(B, S, D, seed=2)
    b = Const.of(f(3 * D)) if bias else None
    apart, feeds = harness.graph("MultiHeadAttention", [q, k, v, b], domain=MS, num_heads=N)
    want = harness.run(apart, feeds)[0]
    heads = [x.reshape(B, S, N, H) for x in (q, k, v)]
    for operands in ([np.stack(heads, 3), None, None, b], [q, np.stack(heads[1:], 3), None, b]):
        while operands[-1] is None:
            operands.pop()
        g, feeds = harness.graph("MultiHeadAttention", operands, domain=MS, num_heads=N)
        assert g.tensor_type("y0").shape == (B, S, D)
        (got,) = harness.run(harness.rewrite(UnfuseMultiHeadAttention(), g).after, feeds)
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_scores_as_an_output_are_refused(harness: Any) -> None:
    operands = [f(B, S, D), f(B, S, D), f(B, S, D)]
    g, _ = harness.graph("MultiHeadAttention", operands, domain=MS, outputs=(True, False, False, True), num_heads=N)
    harness.declines(UnfuseMultiHeadAttention(), g, "returns its scores")


# ---------------------------------------------------------------- RotaryEmbedding


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("shape", [(B, S, D), (B, N, S, H)])
@pytest.mark.parametrize("one", [False, True])
def test_rotary_embedding(harness: Any, interleaved: int, shape: tuple[int, ...], one: bool) -> None:
    ids = np.array([2], np.int64) if one else np.array([[0, 3, 1], [5, 6, 7]], np.int64)
    operands = [f(*shape), ids, Const.of(np.cos(f(9, 2))), Const.of(np.sin(f(9, 2)))]
    g, feeds = harness.graph("RotaryEmbedding", operands, domain=MS, interleaved=interleaved)
    harness.same(UnfuseRotaryEmbedding(), g, feeds)


@pytest.mark.parametrize("shape", [(B, S, 12), (B, N, S, 6)])
def test_partial_rotary_embedding(harness: Any, shape: tuple[int, ...]) -> None:
    ids = np.array([[0, 3, 1], [5, 6, 7]], np.int64)
    operands = [f(*shape), ids, Const.of(np.cos(f(9, 2))), Const.of(np.sin(f(9, 2)))]
    g, feeds = harness.graph("RotaryEmbedding", operands, domain=MS, num_heads=2, rotary_embedding_dim=4)
    harness.same(UnfuseRotaryEmbedding(), g, feeds)


def test_a_scaled_rotary_embedding_is_refused(harness: Any) -> None:
    operands = [f(B, N, S, H), np.array([2], np.int64), Const.of(np.cos(f(9, 2))), Const.of(np.sin(f(9, 2)))]
    g, _ = harness.graph("RotaryEmbedding", operands, domain=MS, scale=0.5)
    harness.declines(UnfuseRotaryEmbedding(), g, "packs its batches, or scales")


# ---------------------------------------------------------------- GroupQueryAttention

QH, KH, HS = 4, 2, 16


def gqa(
    harness: Any, batch: int = 2, length: int = 3, past: int = 0, total: int | None = None, ends: Any = None,
    packed: bool = False, more: dict[int, Any] | None = None, **attrs: Any,
) -> Any:  # fmt: skip
    total = past + length if total is None else total
    if packed:
        operands: list[Any] = [f(batch, length, (QH + 2 * KH) * HS), None, None]
    else:
        operands = [f(batch, length, n * HS, seed=i) for i, n in enumerate((QH, KH, KH))]
    operands += [f(batch, KH, past, HS, seed=i) if past else None for i in (4, 5)]
    operands += [i32([total - 1] * batch if ends is None else ends), Const.of(np.array(total, np.int32))]
    operands += [None] * 9
    if attrs.get("do_rotary"):
        operands[7:9] = [Const.of(np.cos(f(20, 8, seed=6))), Const.of(np.sin(f(20, 8, seed=6)))]
    for i, value in (more or {}).items():
        operands[i] = value
    while operands[-1] is None:
        operands.pop()
    return harness.graph(
        "GroupQueryAttention", operands, domain=MS, outputs=3, num_heads=QH, kv_num_heads=KH, **attrs
    )


SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rotary": {"do_rotary": 1},
    "interleaved": {"do_rotary": 1, "rotary_interleaved": 1},
    "packed": {"packed": True, "do_rotary": 1},
    "scale and cap": {"scale": 0.7, "softcap": 1.5},
    "window": {"local_window_size": 2},
    "smooth": {"smooth_softmax": 1},
    "sinks": {"more": {11: f(QH, seed=9)}},
}
LENGTHS: dict[str, dict[str, Any]] = {
    "prompt": {},
    "prompt into a buffer": {"past": 10, "total": 3},
    "next token": {"length": 1, "past": 5},
    "next token, rows of other lengths": {"length": 1, "past": 5, "ends": [3, 5]},
    "next token into a buffer": {"length": 1, "past": 10, "total": 6, "ends": [5, 4]},
    "next token of one row": {"batch": 1, "length": 1, "past": 5},
    "tokens of one row": {"batch": 1, "length": 2, "past": 5},
    "tokens of one row into a buffer": {"batch": 1, "length": 2, "past": 10, "total": 6},
}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("lengths", LENGTHS)
def test_group_query_attention(harness: Any, setting: str, lengths: str) -> None:
    g, feeds = gqa(harness, **SETTINGS[setting], **LENGTHS[lengths])
    declared = [g.tensor_type(f"y{i}").shape for i in range(3)]
    assert declared == [y.shape for y in harness.run(g, feeds)]
    harness.same(UnfuseGroupQueryAttention(), g, feeds, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("lengths", ["prompt", "next token", "next token, rows of other lengths"])
def test_attention_bias_and_direction(harness: Any, lengths: str) -> None:
    sizes = LENGTHS[lengths]
    length, total = sizes.get("length", 3), sizes.get("length", 3) + sizes.get("past", 0)
    g, feeds = gqa(harness, **sizes, more={10: f(1, QH, length, total, seed=3)})
    harness.same(UnfuseGroupQueryAttention(), g, feeds, rtol=1e-4, atol=1e-5)
    g, feeds = gqa(harness, **sizes, causal=0)
    harness.same(UnfuseGroupQueryAttention(), g, feeds, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("lengths", ["prompt", "next token"])
def test_norms_of_queries_and_keys(harness: Any, lengths: str) -> None:
    """No CPU kernel takes them: they must be what normalised operands give."""
    sizes = LENGTHS[lengths]
    weights = {14: f(HS, seed=7), 15: f(HS, seed=8)}
    g, feeds = gqa(harness, **sizes, do_rotary=1, more=weights, qk_norm_epsilon=1e-3)
    got = harness.run(harness.rewrite(UnfuseGroupQueryAttention(), g).after, feeds)
    plain, fed = gqa(harness, **sizes, do_rotary=1)
    for name, heads, weight in (("x0", QH, weights[14]), ("x1", KH, weights[15])):
        x = fed[name].reshape(2, -1, heads, HS)
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-3) * weight
        fed[name] = x.reshape(fed[name].shape).astype(np.float32)
    for a, b in zip(got, harness.run(plain, fed), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_given_positions(harness: Any) -> None:
    g, feeds = gqa(harness, length=1, past=5, do_rotary=1, more={9: np.array([[7], [2]], np.int64)})
    harness.same(UnfuseGroupQueryAttention(), g, feeds, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("attrs", "reason"),
    [
        ({"qk_output": 1}, "returns its scores"),
        ({"k_quant_type": "PER_TENSOR"}, "cache is quantised"),
        ({"sliding_window_cache": 1}, "a window that evicts"),
        ({"more": {6: i32(3)}, "past": 2, "length": 1}, "total length is computed at run time"),
    ],
)
def test_what_group_query_attention_may_not_have(harness: Any, attrs: dict[str, Any], reason: str) -> None:
    g, _ = gqa(harness, **attrs)
    harness.declines(UnfuseGroupQueryAttention(), g, reason)
