"""Attention of ai.onnx and what goes with it: rotary embedding, linear attention, causal convolution."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from coregraft.rewriter.types import Array
from tests.conformance.variants.variant import Variant, data, family, ints, versions

_BATCH, _HEADS, _QUERIES, _KEYS, _SIZE = 2, 4, 3, 5, 4
#: What may come between the scores and the softmax.
_STYLES: tuple[Mapping[str, Any], ...] = ({}, {"softcap": 2.0}, {"is_causal": 1})
_FEW = {"q_num_heads": _HEADS, "kv_num_heads": 2}


def _qkv(kv_heads: int = _HEADS, dtype: Any = np.float32, size: int = _SIZE, keys: int = _KEYS) -> list[Array]:
    """Queries, keys and values of rank 4; the values have a size of their own."""
    return [
        data(_BATCH, _HEADS, _QUERIES, _SIZE, dtype=dtype),
        data(_BATCH, kv_heads, keys, _SIZE, dtype=dtype, seed=1),
        data(_BATCH, kv_heads, keys, size, dtype=dtype, seed=2),
    ]


def _merged(operands: Sequence[Array]) -> list[Array]:
    """[batch, heads, length, size] as [batch, length, heads * size]."""
    return [a.transpose(0, 2, 1, 3).reshape(a.shape[0], a.shape[2], -1) for a in operands]


def _masks(keys: int, kv: tuple[int, ...] = (_BATCH, _HEADS)) -> Iterator[Array]:
    for shape in ((_QUERIES, keys), (1, keys), (_HEADS, _QUERIES, keys), (1, _QUERIES, keys), (*kv, _QUERIES, keys),
                  (_BATCH, 1, 1, keys)):  # fmt: skip
        yield data(*shape, seed=7)
        mask = data(*shape, dtype=bool, seed=7)
        mask[..., 0] = True  # a row of nothing but masked scores has no softmax
        yield mask


@family("Attention")
def attention(op: str) -> Iterator[Variant]:
    for opset in versions(op):
        if opset != 24:  # the same as that but for the lengths of the rows, and better known to onnxruntime
            for attrs in _STYLES:
                yield Variant(opset, _qkv(), attrs)
                yield Variant(opset, [*_merged(_qkv(2)), data(_QUERIES, _KEYS)], {**_FEW, **attrs})
                cache = [data(_BATCH, _HEADS, 2, _SIZE, seed=i) for i in (5, 6)]
                yield Variant(opset, [*_qkv(), None, *cache], attrs, outputs=3)
            continue
        for kv_heads, size in product((1, 2, 4), (_SIZE, 6)):
            operands = _qkv(kv_heads, size=size)
            heads = {"q_num_heads": _HEADS, "kv_num_heads": kv_heads}
            for attrs in (*_STYLES, {"scale": 0.3}, {"is_causal": 1, "softcap": 1.0}):
                yield Variant(opset, operands, attrs)
                yield Variant(opset, _merged(operands), {**heads, **attrs})
        for mask in _masks(_KEYS):
            yield Variant(opset, [*_qkv(), mask])
            yield Variant(opset, [*_qkv(), mask], constants=[3])
            yield Variant(opset, [*_merged(_qkv(2)), mask], _FEW)
            if mask.shape[-2] == _QUERIES:  # onnxruntime's causal mask has no more rows than the other one
                yield Variant(opset, [*_qkv(), mask], {"is_causal": 1, "softcap": 3.0, "scale": 0.7})
        yield from _cached(opset)
        yield from _scores(opset)
    for dtype in (np.float16, np.float64):
        for attrs in ({}, {"is_causal": 1}, {"softmax_precision": 1}):
            yield Variant(23, [a * dtype(0.25) for a in _qkv(dtype=dtype)], attrs)
    yield Variant(23, _qkv(), {"softmax_precision": 11})
    for lengths in ([5, 5], [5, 2], [1, 3]):
        padded: list[Array | None] = [*_qkv(), None, None, None, ints(*lengths)]
        for attrs in ({}, {"softcap": 2.0}):
            yield Variant(24, padded, attrs)
            yield Variant(24, padded, attrs, constants=[6])
        yield Variant(24, [*_qkv(), data(_QUERIES, _KEYS), None, None, ints(*lengths)])
    # The scores of a large number times a large number: the softmax must not overflow.
    yield Variant(23, [a * np.float32(30) for a in _qkv()])
    yield Variant(23, [*_qkv(), np.where(data(_QUERIES, _KEYS, dtype=bool), np.float32(-1e9), np.float32(0))])


def _cached(opset: int) -> Iterator[Variant]:
    """Past keys and values, and the present ones as results."""
    for past, kv_heads in product((1, 3), (2, _HEADS)):
        operands = _qkv(kv_heads)
        cache = [data(_BATCH, kv_heads, past, _SIZE, seed=i) for i in (5, 6)]
        for attrs, mask in product(_STYLES, (None, data(_QUERIES, _KEYS + past))):
            yield Variant(opset, [*operands, mask, *cache], attrs, outputs=3)
            heads = {"q_num_heads": _HEADS, "kv_num_heads": kv_heads}
            yield Variant(opset, [*_merged(operands), mask, *cache], {**heads, **attrs}, outputs=3)


def _scores(opset: int) -> Iterator[Variant]:
    """The scores at each of their stages."""
    mask = data(_QUERIES, _KEYS, seed=7)
    for mode, attrs in product(range(4), _STYLES):
        given: Mapping[str, Any] = {"qk_matmul_output_mode": mode, **attrs}
        if mode == 2 and "is_causal" in attrs:
            continue  # onnxruntime has the lowest number where ONNX has minus infinity
        yield Variant(opset, _qkv(), given, outputs=(True, False, False, True))
        if "is_causal" not in attrs:
            yield Variant(opset, [*_qkv(2), mask], given, outputs=(True, False, False, True))
    cache = [data(_BATCH, _HEADS, 2, _SIZE, seed=i) for i in (5, 6)]
    yield Variant(opset, [*_qkv(), None, *cache], {"qk_matmul_output_mode": 0}, outputs=4)


@family("RotaryEmbedding")
def rotary(op: str) -> Iterator[Variant]:
    batch, heads, length, size, most = 2, 3, 4, 8, 10
    x = data(batch, heads, length, size)
    flat = x.transpose(0, 2, 1, 3).reshape(batch, length, -1)
    ids = np.array([[0, 1, 2, 3], [5, 2, 9, 0]])
    for interleaved, part in product((0, 1), (0, 4, 6, 8)):
        half = (part or size) // 2
        tables = [data(most, half, seed=i, low=-1, high=1) for i in (1, 2)]
        attrs: dict[str, Any] = {"interleaved": interleaved}
        if part:
            attrs["rotary_embedding_dim"] = part
        for constants in ((), (1, 2), (1, 2, 3)):
            yield Variant(23, [x, *tables, ids], attrs, constants=constants)
            yield Variant(23, [flat, *tables, ids], {**attrs, "num_heads": heads}, constants=constants)
        placed = [data(batch, length, half, seed=i, low=-1, high=1) for i in (1, 2)]
        for constants in ((), (1, 2)):
            yield Variant(23, [x, *placed], attrs, constants=constants)
            yield Variant(23, [flat, *placed], {**attrs, "num_heads": heads}, constants=constants)
    tables = [data(most, 4, seed=i, dtype=np.float16) for i in (1, 2)]
    yield Variant(23, [x.astype(np.float16), *tables, ids], constants=[1, 2])
    tables = [data(most, 4, seed=i) for i in (1, 2)]
    yield Variant(23, [data(1, 1, 1, 8), *tables, np.array([[3]])])


@family("LinearAttention", "CausalConvWithState")
def newest(op: str) -> Iterator[Variant]:
    yield from (_convolved if op == "CausalConvWithState" else _linear)()


def _convolved() -> Iterator[Variant]:
    for batch, channels, length, kernel in ((2, 3, 5, 3), (1, 2, 1, 4), (1, 2, 2, 2)):
        x, w = data(batch, channels, length), data(channels, 1, kernel, seed=1)
        b, state = data(channels, seed=2), data(batch, channels, kernel - 1, seed=3)
        for activation in ("none", "silu", "swish"):
            attrs = {"activation": activation}
            for operands in ([x, w], [x, w, b], [x, w, None, state], [x, w, b, state]):
                for constants in ((), (1, 2)):
                    here = [i for i in constants if i < len(operands) and operands[i] is not None]
                    yield Variant(27, operands, attrs, constants=here, outputs=2)
        yield Variant(27, [x, w, b, state], outputs=2)
    yield Variant(27, [data(2, 4, 4), data(4, 1, 1)], outputs=2)  # the state of one tap is empty


def _linear() -> Iterator[Variant]:
    batch, length, size = 2, 4, 3
    for rule, (heads, kv_heads) in product(("linear", "gated", "delta", "gated_delta"), ((2, 2), (4, 2))):
        q = data(batch, length, heads * size, low=-1, high=1)
        k = data(batch, length, kv_heads * size, seed=1, low=-1, high=1)
        v = data(batch, length, kv_heads * 2, seed=2)
        state = data(batch, kv_heads, size, 2, seed=3)
        decays: tuple[Array | None, ...] = (None,)
        if rule.startswith("gated"):
            decays = (data(batch, length, kv_heads, seed=4, low=-1, high=0),
                      data(batch, length, kv_heads * size, seed=4, low=-1, high=0))  # fmt: skip
        betas: tuple[Array | None, ...] = (None,)
        if rule.endswith("delta"):
            betas = (data(batch, length, kv_heads, seed=5, low=0, high=1),
                     data(batch, length, 1, seed=5, low=0, high=1))  # fmt: skip
        attrs = {"q_num_heads": heads, "kv_num_heads": kv_heads, "update_rule": rule}
        for past, decay, beta in product((None, state), decays, betas):
            yield Variant(27, [q, k, v, past, decay, beta], attrs, outputs=2)
        yield Variant(27, [q, k, v, state, decays[0], betas[0]], {**attrs, "scale": 0.5}, outputs=2)
        yield Variant(27, [q, k, v, state, decays[0], betas[0]], {**attrs, "chunk_size": 2}, outputs=2)
