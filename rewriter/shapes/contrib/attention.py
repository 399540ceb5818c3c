"""Result types of onnxruntime's attention ops."""

from __future__ import annotations

from coregraft.rewriter.shapes.contrib.compute import setting
from coregraft.rewriter.shapes.site import Known, Site, Types, product, rule, tensor, total
from coregraft.rewriter.types import DType


@rule("com.microsoft::Attention", "com.microsoft::QAttention")
def _self_attention(site: Site) -> Types | None:
    quantized = site.op.type == "QAttention"
    x, w, past = site.shape(0), site.shape(1), site.shape(8 if quantized else 4)
    heads, dtype = setting(site.op, "num_heads", None), site.dtype(2) if quantized else site.dtype(0)
    if not x or len(x) != 3 or not w or len(w) != 2:
        return None
    sizes = setting(site.op, "qkv_hidden_sizes", ())
    width: Known = sizes[2] if sizes else None if w[1] is None else w[1] // 3
    size = None if width is None or not heads else width // heads
    length = total([past[3], x[1]]) if past and len(past) == 5 else x[1]
    present = tensor(dtype, [2, x[0], heads, length, size])
    return [tensor(dtype, [x[0], x[1], width]), present][: len(site.op.outputs)]


@rule("com.microsoft::MultiHeadAttention")
def _multi_head(site: Site) -> Types | None:
    q, k, v, past = site.shape(0), site.shape(1), site.shape(2), site.shape(6)
    heads, dtype = setting(site.op, "num_heads", None), site.dtype(0)
    if not q or len(q) not in (3, 5) or not heads:
        return None
    width = product([q[2], q[4]]) if len(q) == 5 else q[2]
    values: Known = width  # of packed values, and of those like the query
    length: Known = q[1]
    if k and len(k) == 5:
        length = k[1]
    elif v and len(v) == 4:
        values, length = product([v[1], v[3]]), v[2]
    elif v and len(v) == 3:
        values, length = v[2], v[1]
    elif len(q) == 3:
        return None
    kept = total([past[2], length]) if past and len(past) == 4 else length
    sizes = [None if w is None else w // heads for w in (width, values)]
    presents = [tensor(dtype, [q[0], heads, kept, size]) for size in sizes]
    scores = tensor(dtype, [q[0], heads, q[1], kept])
    return [tensor(dtype, [q[0], q[1], values]), *presents, scores][: len(site.op.outputs)]


@rule("com.microsoft::GroupQueryAttention")
def _group_query(site: Site) -> Types | None:
    q, past, longest = site.shape(0), site.shape(3), site.ints(6)
    heads, kv_heads = (setting(site.op, name, None) for name in ("num_heads", "kv_num_heads"))
    if not q or len(q) != 3 or not heads or not kv_heads:
        return None
    parts = heads if site.has(1) else heads + 2 * kv_heads
    size: Known = None if q[2] is None else q[2] // parts
    width: Known = q[2] if site.has(1) else None if size is None else size * heads
    held = past[2] if past and len(past) == 4 else 0
    length: Known = None
    if longest and isinstance(held, int):
        length = max(held, longest[0])
    elif held == 0:
        length = q[1]
    cache = site.dtype(3) or site.dtype(0)
    present = tensor(cache, [q[0], kv_heads, length, size])
    scores = tensor(site.dtype(0), [q[0], heads, q[1], length])
    return [tensor(site.dtype(0), [q[0], q[1], width]), present, present, scores][: len(site.op.outputs)]


@rule("com.microsoft::DynamicQuantizeLSTM")
def _lstm(site: Site) -> Types | None:
    x, r = site.shape(0), site.shape(2)
    if not x or len(x) != 3 or not r or len(r) != 3:
        return None
    state = tensor(DType.FLOAT, [r[0], x[1], r[1]])
    return [tensor(DType.FLOAT, [x[0], r[0], x[1], r[1]]), state, state][: len(site.op.outputs)]
