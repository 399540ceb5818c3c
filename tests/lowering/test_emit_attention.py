"""Attention against ONNX's reference implementation: heads, caches, masks, and rows that may attend to nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.rewriter.errors import UnsupportedError
from tests.lowering.agreement import agree
from tests.lowering.fold_harness import Case, case, lowered, reference

_RNG = np.random.default_rng(18)
BATCH, HEADS, QUERIES, KEYS, SIZE = 2, 4, 3, 5, 8


def floats(*shape: int, dtype: Any = np.float32) -> Any:
    return _RNG.standard_normal(shape).astype(dtype)


def attention(
    *extra: Any, kv_heads: int = HEADS, constant: Any = (), outputs: int = 1, dtype: Any = np.float32, **attrs: Any
) -> Case:
    """Attention of 4-D operands; ``extra`` are mask, past key, past value, lengths."""
    q, k, v = floats(BATCH, HEADS, QUERIES, SIZE), floats(BATCH, kv_heads, KEYS, SIZE), floats(BATCH, kv_heads, KEYS, 6)
    operands = [a.astype(dtype) for a in (q, k, v)]
    return stated(case("Attention", *operands, *extra, constant=constant, outputs=outputs, **attrs))


def stated(c: Case) -> Case:
    return case(c.type, *c.operands, constant=c.constant, outputs=c.outputs, want=reference(c), **c.attrs)


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("attrs", [{}, {"is_causal": 1}, {"scale": 0.3}, {"softcap": 2.0}], ids=str)
def test_heads_and_options(kv_heads: int, attrs: dict[str, Any]) -> None:
    agree(attention(kv_heads=kv_heads, **attrs))


def test_plain_attention_is_two_products_and_a_softmax() -> None:
    ops = [op for op in agree(attention()) if op != "identity"]
    assert ops == ["mul", "matmul", "softmax", "matmul"]


def test_grouped_heads_are_not_repeated() -> None:
    ops = agree(attention(kv_heads=2))
    assert "tile" not in ops
    assert "concat" not in ops


def test_three_dims() -> None:
    q, k, v = floats(2, 3, 4 * 8), floats(2, 5, 2 * 8), floats(2, 5, 2 * 6)
    agree(stated(case("Attention", q, k, v, q_num_heads=4, kv_num_heads=2)))
    with pytest.raises(UnsupportedError, match="how many heads"):
        lowered(case("Attention", q, k, v, want=(q,)))


@pytest.mark.parametrize("shape", [(KEYS,), (QUERIES, KEYS), (HEADS, 1, KEYS), (BATCH, 1, QUERIES, KEYS)], ids=str)
@pytest.mark.parametrize("constant", [(), (3,)])
@pytest.mark.parametrize("boolean", [True, False])
@pytest.mark.parametrize("causal", [0, 1])
def test_masks(shape: tuple[int, ...], constant: tuple[int, ...], boolean: bool, causal: int) -> None:
    mask = _RNG.random(shape) < 0.7 if boolean else floats(*shape)
    # ONNX's reference takes the number of queries from the mask, so it is asked with one that is not broadcast.
    c = attention(np.broadcast_to(mask, (BATCH, HEADS, QUERIES, KEYS)).copy(), is_causal=causal)
    agree(case(c.type, *c.operands[:3], mask, constant=constant, want=c.want, is_causal=causal))


@pytest.mark.parametrize("constant", [(), (3,)])
@pytest.mark.parametrize("boolean", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_row_that_may_attend_to_nothing_is_zero(constant: tuple[int, ...], boolean: bool, dtype: Any) -> None:
    allowed = np.ones((QUERIES, KEYS), np.bool_)
    allowed[1] = False
    allowed[2, :3] = False
    mask = allowed if boolean else np.where(allowed, 0.5, -np.inf).astype(dtype)
    c = attention(mask, constant=constant, dtype=dtype)
    assert c.want is not None
    assert not c.want[0][:, :, 1].any()
    agree(c)


@pytest.mark.parametrize("constant", [(), (3,)])
def test_a_mask_of_large_finite_numbers_is_no_ban(constant: tuple[int, ...]) -> None:
    # A row all at -1e9 attends evenly, as its softmax says; only minus infinity bars.
    mask = np.full((QUERIES, KEYS), -1e9, np.float32)
    c = attention(mask, constant=constant)
    v = c.operands[2]
    assert v is not None
    want = np.broadcast_to(v.mean(axis=2, keepdims=True), (BATCH, HEADS, QUERIES, 6))
    agree(case(c.type, *c.operands, constant=constant, want=(want,)), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("constant", [(), (3,)])
@pytest.mark.parametrize("boolean", [True, False])
def test_a_mask_that_is_too_short_bars_the_rest(constant: tuple[int, ...], boolean: bool) -> None:
    mask = np.ones((QUERIES, KEYS - 2), np.bool_) if boolean else floats(QUERIES, KEYS - 2)
    agree(attention(mask, constant=constant))


@pytest.mark.parametrize("causal", [0, 1])
def test_cache_inside(causal: int) -> None:
    past = floats(BATCH, HEADS, 4, SIZE), floats(BATCH, HEADS, 4, 6)
    agree(attention(None, *past, outputs=3, is_causal=causal))


@pytest.mark.parametrize("constant", [(), (6,)])
@pytest.mark.parametrize("causal", [0, 1])
@pytest.mark.parametrize("masked", [True, False])
def test_cache_outside(constant: tuple[int, ...], causal: int, masked: bool) -> None:
    lengths = np.array([5, 2], np.int64)  # fewer keys than queries: leading rows are empty when causal
    mask = floats(QUERIES, KEYS) if masked else None
    agree(attention(mask, None, None, lengths, constant=constant, is_causal=causal))


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_the_scores_it_may_put_out(mode: int) -> None:
    past = floats(BATCH, HEADS, 4, SIZE), floats(BATCH, HEADS, 4, 6)
    mask = floats(QUERIES, KEYS + 4)
    cap = 1.5 if mode else 0.0  # ONNX's reference puts out capped scores where its text says raw ones
    agree(attention(mask, *past, outputs=4, qk_matmul_output_mode=mode, softcap=cap, is_causal=mode % 2))


def test_softmax_precision_is_honoured() -> None:
    c = attention(dtype=np.float16, softmax_precision=1)
    assert agree(c).count("cast") == 2
    assert "cast" not in agree(attention(dtype=np.float16))


def test_what_is_refused() -> None:
    q, k = floats(1, 4, 3, 8), floats(1, 3, 5, 8)
    with pytest.raises(UnsupportedError, match="evenly"):
        lowered(case("Attention", q, k, k, want=(q,)))
    mask = np.ones((QUERIES, KEYS), np.bool_)
    scores = floats(BATCH, HEADS, QUERIES, KEYS)
    c = attention(mask, constant=())
    want = (floats(BATCH, HEADS, QUERIES, 6), floats(BATCH, HEADS, KEYS, SIZE), floats(BATCH, HEADS, KEYS, 6), scores)
    with pytest.raises(UnsupportedError, match="qk_matmul_output_mode=2"):
        lowered(case(c.type, *c.operands, outputs=4, qk_matmul_output_mode=2, want=want))
