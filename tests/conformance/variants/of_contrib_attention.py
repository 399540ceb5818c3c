"""The attention ops of onnxruntime's own domain, in all forms that its CPU kernels take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from coregraft.rewriter.types import Array
from tests.conformance.variants.variant import Variant, data, family

_BATCH, _HEADS, _LENGTH, _SIZE, _PAST = 2, 2, 4, 3, 3
_WIDTH = _HEADS * _SIZE
_STYLES: tuple[Mapping[str, Any], ...] = (
    {}, {"unidirectional": 1}, {"scale": 0.2}, {"mask_filter_value": -50.0}, {"unidirectional": 1, "scale": 0.9},
)  # fmt: skip


def _i32(values: Any) -> Array:
    return np.array(values, np.int32)


def _masks(keys: int, queries: int = _LENGTH) -> Iterator[Array]:
    """Padding in each form: ends of the rows, ends and starts, a row of keys, and a row of keys for each query."""
    yield _i32([keys, keys - 2])
    yield _i32([keys, keys - 1, 1, 0])
    rows = np.ones((_BATCH, keys), np.int32)
    rows[1, keys - 2 :] = 0
    rows[0, 0] = 0
    yield rows
    yield np.ones((_BATCH, keys), np.int32)
    cube = (data(_BATCH, queries, keys, seed=9) > 0).astype(np.int32)
    cube[:, :, 0] = 1
    yield cube


@family("com.microsoft::Attention")
def attention(op: str) -> Iterator[Variant]:
    x, w, b = data(_BATCH, _LENGTH, 5), data(5, 3 * _WIDTH, seed=1), data(3 * _WIDTH, seed=2)
    past = data(2, _BATCH, _HEADS, _PAST, _SIZE, seed=3)
    extra = data(1, _HEADS, _LENGTH, _LENGTH, seed=4)
    wide = data(_BATCH, 1, _LENGTH, _LENGTH + _PAST, seed=4)
    for style in _STYLES:
        attrs = {"num_heads": _HEADS, **style}
        for constants in ((1, 2), ()):
            yield Variant(1, [x, w, b], attrs, constants=constants)
        for mask in _masks(_LENGTH):  # without a bias onnxruntime ends the process
            yield Variant(1, [x, w, b, mask], attrs, constants=[1, 2])
        yield Variant(1, [x, w, b, None, past], attrs, constants=[1, 2], outputs=2)
        yield Variant(1, [x, w, b, None, None, extra], attrs, constants=[1, 2])
        yield Variant(1, [x, w, b, None, past, wide], attrs, constants=[1, 2], outputs=2)
        for mask in _masks(_LENGTH + _PAST):
            yield Variant(1, [x, w, b, mask, past], attrs, constants=[1, 2], outputs=2)
    yield Variant(1, [x, w, b], {"num_heads": _HEADS}, constants=[1, 2], outputs=2)
    for sizes in ([6, 6, 4], [4, 4, 8]):
        w, b = data(5, sum(sizes), seed=1), data(sum(sizes), seed=2)
        attrs = {"num_heads": _HEADS, "qkv_hidden_sizes": sizes}
        for style in _STYLES[:3]:
            yield Variant(1, [x, w, b], {**attrs, **style}, constants=[1, 2])
        yield Variant(1, [x, w, b, _i32([4, 2])], attrs, constants=[1, 2])
    yield Variant(1, [x, w, b], {"num_heads": _HEADS, "do_rotary": 1, "qkv_hidden_sizes": sizes}, constants=[1, 2])


@family("com.microsoft::MultiHeadAttention")
def multi_head(op: str) -> Iterator[Variant]:
    bias = data(3 * _WIDTH, seed=4)
    short = data(2 * _WIDTH + 2 * _HEADS, seed=4)
    past = [data(_BATCH, _HEADS, _PAST, _SIZE, seed=i) for i in (5, 6)]
    for style in _STYLES:
        attrs = {"num_heads": _HEADS, **style}
        keys = _LENGTH if "unidirectional" in style else 5
        q, k, v = (data(_BATCH, n, _WIDTH, seed=i) for i, n in enumerate((_LENGTH, keys, keys)))
        narrow = data(_BATCH, keys, 2 * _HEADS, seed=3)
        split = [data(_BATCH, _HEADS, keys, _SIZE, seed=i) for i in (5, 6)]
        for operands in (
            [q, k, v], [q, k, narrow], [q, k, v, bias], [q, k, narrow, short], [q, *split],
        ):  # packed forms have no kernel for the CPU
            yield Variant(1, operands, attrs)
            if len(operands) == 4:
                yield Variant(1, operands, attrs, constants=[3])
        same = [data(_BATCH, _LENGTH, _WIDTH, seed=i) for i in range(3)]
        yield Variant(1, same, attrs, outputs=3)
        for given in (None, data(1, _HEADS, _LENGTH, _LENGTH + _PAST, seed=9)):
            yield Variant(1, [*same, None, None, given, *past], attrs, outputs=3)
            yield Variant(1, [*same, bias, None, given, *past], attrs, outputs=3)
        for mask in _masks(keys):
            if mask.ndim == 1 and len(mask) != _BATCH:
                mask = _i32([keys, 3, 0, 4, 8, 0, 5, 8])  # of 3 n + 2 numbers: lengths, and starts of queries and keys
            yield Variant(1, [q, k, v, None, mask], attrs)
            yield Variant(1, [q, k, v, bias, mask], attrs)
        for mask in _masks(_LENGTH + _PAST):
            if mask.ndim == 1 and len(mask) != _BATCH:
                continue
            yield Variant(1, [*same, None, mask, None, *past], attrs, outputs=3)
        for shape in ((1, 1), (1, _HEADS), (_BATCH, 1), (_BATCH, _HEADS)):
            yield Variant(1, [q, k, v, None, None, data(*shape, _LENGTH, keys, seed=9)], attrs)
    yield Variant(1, [q, k, v], {"num_heads": 1})
    yield Variant(1, [q, data(_BATCH, 6, _WIDTH), data(_BATCH, 6, _WIDTH)], {"num_heads": 1, "unidirectional": 1})


@family("com.microsoft::GroupQueryAttention")
def group_query(op: str) -> Iterator[Variant]:
    """Prompts and later steps, each with the lengths of its rows."""
    for heads, kv_heads in ((4, 2), (2, 2), (4, 1)):
        counts = {"num_heads": heads, "kv_num_heads": kv_heads}
        for style in _group_styles() if (heads, kv_heads) == (4, 2) else ({}, {"do_rotary": 1}):
            yield from _grouped({**counts, **style}, heads, kv_heads, packed=False)
        yield from _grouped({**counts, "do_rotary": 1}, heads, kv_heads, packed=True)
        yield from _grouped(counts, heads, kv_heads, packed=True)


def _group_styles() -> Iterator[Mapping[str, Any]]:
    yield from ({}, {"scale": 0.3}, {"softcap": 2.0}, {"local_window_size": 2}, {"smooth_softmax": 1}, {"do_rotary": 1})
    yield {"do_rotary": 1, "rotary_interleaved": 1}
    yield {"local_window_size": 3, "softcap": 1.0, "smooth_softmax": 1, "do_rotary": 1, "scale": 0.5}


def _grouped(attrs: Mapping[str, Any], heads: int, kv_heads: int, *, packed: bool) -> Iterator[Variant]:
    size, most = 16, 6
    for batch, queries, held, ends, total in (
        (1, 4, 0, [4], 4), (2, 3, 0, [3, 3], 3), (1, 1, 4, [5], 5), (2, 1, most, [5, 3], 5), (1, 2, 4, [6], 6),
        (1, 1, most, [4], 4),
    ):  # fmt: skip
        q = data(batch, queries, heads * size)
        k, v = (data(batch, queries, kv_heads * size, seed=i) for i in (1, 2))
        past = [data(batch, kv_heads, held, size, seed=i) if held else None for i in (3, 4)]
        tables: list[Array | None] = []
        if attrs.get("do_rotary"):
            tables = [data(16, size // 2, seed=i, low=-1, high=1) for i in (5, 6)]
        first: list[Array | None] = [np.concatenate([q, k, v], -1), None, None] if packed else [q, k, v]
        operands = [*first, *past, _i32([e - 1 for e in ends]), _i32(total), *tables]
        yield Variant(1, operands, attrs, constants=[6], outputs=3)
        if not packed and not attrs.get("do_rotary"):
            tables = [None, None]
        if not packed and held == 0:
            yield Variant(1, operands, attrs, constants=[5, 6], outputs=3)
            bias = data(1, heads, queries, total, seed=7)
            yield Variant(1, [*operands[:7], *tables, None, bias], attrs, constants=[6], outputs=3)
            if "smooth_softmax" not in attrs:
                sinks = data(heads, seed=8)
                yield Variant(1, [*operands[:7], *tables, None, None, sinks], attrs, constants=[6], outputs=3)


@family("com.microsoft::QAttention")
def quantised(op: str) -> Iterator[Variant]:
    for dtype, signed in ((np.uint8, np.int8), (np.uint8, np.uint8)):
        x = data(_BATCH, _LENGTH, 4, dtype=dtype, low=0, high=20)
        w = data(4, 3 * _WIDTH, dtype=signed, low=0, high=20, seed=1)
        b = data(3 * _WIDTH, seed=2)
        scales = [np.array(0.05, np.float32), np.array(0.1, np.float32)]
        zeros = [np.array(7, dtype), np.array(9, signed)]
        past = data(2, _BATCH, _HEADS, _PAST, _SIZE, seed=3)
        weights = [1, 2, 3, 4, 6, 7]
        for attrs in ({}, {"unidirectional": 1}):
            given = {"num_heads": _HEADS, **attrs}
            yield Variant(1, [x, w, b, *scales, None, *zeros], given, constants=weights)
            yield Variant(1, [x, w, b, *scales], given, constants=weights[:4])
            yield Variant(1, [x, w, b, *scales, _i32([4, 2]), *zeros], given, constants=weights)
            yield Variant(1, [x, w, b, *scales, None, *zeros, past], given, constants=weights, outputs=2)
        columns = [scales[0], data(3 * _WIDTH, low=0.05, high=0.1)]
        points = [zeros[0], data(3 * _WIDTH, dtype=signed, low=5, high=9)]
        yield Variant(1, [x, w, b, *columns, None, *points], {"num_heads": _HEADS}, constants=weights)
