"""Cast and CastLike between all element types."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from coregraft.rewriter.types import Array, DType
from tests.conformance.variants.variant import Variant, data, dtypes, family, some, versions

#: Halves, and what every integer type but an unsigned one holds.
_NUMBERS = (0.0, 1.0, 2.0, 0.5, 1.5, 2.5, 100.0, 0.99, -0.5, -1.0, -1.5, -2.5, -100.0, -0.0)
_NARROW = (0, 1, 127, 128, 255, 256, 300, 32767, 32768, 65535, 65536, 70000, -1, -128, -129, -32768, -32769, -70000)


def _values(source: Any, target: Any) -> Array:
    kind, wanted = np.dtype(source).kind, np.dtype(target).kind
    if kind == "b":
        return np.array([False, True])
    if kind == "f":
        # Beyond the target's range, and below 0 for an unsigned one, C leaves the result open.
        numbers = [v for v in _NUMBERS if wanted != "u" or v >= 0]
        return np.array([*numbers, *((np.nan, np.inf, -np.inf) if wanted in "fb" else ())]).astype(source)
    held = np.iinfo(source)
    # Numbers of 64 bits that are below 0 do not fit into int32 as unsigned ones of 32 or 64.
    open_ = wanted == "u" and np.dtype(target).itemsize >= 4
    most = 2048 if target is np.float16 else 2**31
    low, high = max(held.min, 0 if open_ else -most), min(held.max, most)
    return np.array([v for v in _NARROW if low <= v <= high]).astype(source)


@family("Cast")
def cast(op: str) -> Iterator[Variant]:
    for opset in versions(op):
        for source in some(op, opset, dtypes(op, opset), 2):
            for target in dtypes(op, opset):
                yield Variant(opset, [_values(source, target)], {"to": int(DType.of(target))})
        for shape in some(op, opset, ((), (2, 3), (2, 1, 2, 1, 3)), 1):
            yield Variant(opset, [data(*shape)], {"to": int(DType.INT32)})
            yield Variant(opset, [data(*shape)], {"to": int(DType.INT32)}, constants=(0,))
        if opset >= 19:
            yield Variant(opset, [data(3)], {"to": int(DType.INT32), "saturate": 0})
        if opset >= 24:
            yield Variant(opset, [data(3)], {"to": int(DType.INT32), "round_mode": "down"})


@family("CastLike")
def cast_like(op: str) -> Iterator[Variant]:
    for opset in versions(op):
        kinds = dtypes(op, opset)
        for i, source in enumerate(some(op, opset, kinds, 2)):
            for target in (kinds[i - 1], kinds[i - 4], kinds[i - 6 if len(kinds) > 6 else 0]):
                like = np.zeros((2,), target)
                yield Variant(opset, [_values(source, target), like])
                yield Variant(opset, [_values(source, target), like], constants=(1,))
        yield Variant(opset, [data(), np.zeros((), np.int32)])
