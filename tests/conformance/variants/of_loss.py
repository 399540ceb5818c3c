"""Losses and windows, and SwiGLU."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from tests.conformance.variants.variant import Variant, data, dtypes, family, some, versions

_SCORES = ((3, 5), (1, 2), (2, 4, 3), (2, 3, 2, 2), (1, 3, 2, 1, 2))


@family("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss")
def loss(op: str) -> Iterator[Variant]:
    for opset in versions(op):
        for shape in some(op, opset, _SCORES, 1):
            for reduction, weighted, ignored in product(("none", "sum", "mean"), (False, True), (None, 1, -1)):
                yield _loss(opset, shape, reduction, weighted=weighted, ignored=ignored)
        for kind in (np.int32, np.int64):
            for dtype in dtypes(op, opset):
                target = data(3, dtype=kind, low=0, high=4)
                yield Variant(opset, [data(3, 5, dtype=dtype), target])
                yield Variant(opset, [data(3, 5, dtype=dtype), target, data(5, dtype=dtype, low=0.1)])
        everything = [data(3, 5), np.full(3, 2), data(5, low=0.1, high=2)]
        for reduction in ("none", "sum"):
            yield Variant(opset, everything, {"reduction": reduction, "ignore_index": 2})
        if op == "SoftmaxCrossEntropyLoss":
            for reduction in ("none", "sum", "mean"):
                yield Variant(opset, everything[:2], {"reduction": reduction}, outputs=2)
                yield Variant(opset, everything, {"reduction": reduction, "ignore_index": 3}, outputs=2)
            yield Variant(opset, [np.array([[1000, 0], [-1000, 0]], np.float32), np.array([0, 1])], outputs=2)
            yield Variant(opset, [np.array([[1000, 0], [-1000, 0]], np.float32), np.array([1, 0])])


def _loss(opset: int, shape: tuple[int, ...], reduction: str, *, weighted: bool, ignored: int | None) -> Variant:
    target = data(shape[0], *shape[2:], dtype=np.int64, low=0, high=shape[1] - 1)
    attrs: dict[str, Any] = {"reduction": reduction}
    if ignored is not None:
        attrs["ignore_index"] = ignored
        if ignored < 0:
            target.ravel()[0] = ignored
    weight = [data(shape[1], low=0.1, high=2)] if weighted else []
    constants = (2,) if weighted and reduction == "sum" else ()
    return Variant(opset, [data(*shape), target, *weight], attrs, constants=constants)


@family("BlackmanWindow", "HammingWindow", "HannWindow")
def window(op: str) -> Iterator[Variant]:
    for opset in versions(op):
        for periodic in (None, 0, 1):
            attrs = {} if periodic is None else {"periodic": periodic}
            for size in (2, 3, 8, 9):
                for constants in ((0,), ()):
                    yield Variant(opset, [np.array(size)], attrs, constants=constants)
            for kind in (np.int32, np.int64):
                yield Variant(opset, [np.array(5, kind)], attrs, constants=(0,))
            for dtype in (1, 10, 11, 6, 7):
                yield Variant(opset, [np.array(5)], {**attrs, "output_datatype": dtype}, constants=(0,))


@family("SwiGLU")
def swiglu(op: str) -> Iterator[Variant]:
    for opset in versions(op):
        for attrs in ({}, {"alpha": 0.5}, {"alpha": -1.0}, {"alpha": 2.0}):
            for shapes in (((3,), (3,)), ((2, 3), (2, 3)), ((2, 3, 2), (2, 3, 2)), ((2, 3, 2, 2), (2, 3, 2, 2))):
                yield Variant(opset, [data(*s, seed=i) for i, s in enumerate(shapes)], attrs)
        for dtype in dtypes(op, opset):
            yield Variant(opset, [data(2, 3, dtype=dtype), data(2, 3, dtype=dtype, seed=1)])
