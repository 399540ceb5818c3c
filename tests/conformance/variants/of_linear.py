"""Products of matrices: MatMul, Gemm, Einsum, determinants, grids of affine maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tests.conformance.variants.variant import Variant, data, dtypes, family, ints, some, versions

_PRODUCTS = (
    ((3,), (3,)), ((3,), (3, 4)), ((2, 3), (3,)), ((2, 3), (3, 4)), ((3,), (2, 3, 4)), ((2, 2, 3), (3,)),
    ((2, 2, 3), (3, 4)), ((2, 3), (2, 3, 4)), ((2, 2, 3), (2, 3, 4)), ((1, 2, 3), (2, 3, 4)), ((2, 1, 2, 3), (3, 3, 2)),
    ((2, 3, 2, 3), (2, 3, 3, 2)), ((2, 1, 2, 3), (1, 3, 3, 2)), ((1, 2, 1, 2, 3), (2, 1, 3, 2)), ((1, 3), (3, 1)),
    ((2, 2, 1, 2, 3), (3,)), ((2, 3, 2, 3), (3, 4)),
)  # fmt: skip


@family("MatMul")
def matmul(op: str) -> Iterator[Variant]:
    for opset in versions(op):
        for left, right in some(op, opset, _PRODUCTS, 6):
            for constants in ((), (0,), (1,)):
                yield Variant(opset, [data(*left), data(*right, seed=1)], constants=constants)
        for dtype in dtypes(op, opset):
            low = 0 if np.dtype(dtype).kind == "u" else -5
            operands = [data(2, 3, dtype=dtype, low=low, high=5), data(3, 4, dtype=dtype, low=low, high=5, seed=1)]
            for constants in ((), (1,)):
                yield Variant(opset, operands, constants=constants)
        yield Variant(opset, [np.array([[np.inf, 1], [np.nan, 2]], np.float32), data(2, 2)])


@family("Gemm")
def gemm(op: str) -> Iterator[Variant]:
    addends: Sequence[tuple[int, ...] | None] = (None, (), (1,), (4,), (1, 4), (2, 1), (2, 4), (1, 1))
    for opset in versions(op):
        for i, shape in enumerate(some(op, opset, addends, 4)):
            if shape is None and opset < 11:
                continue
            for transposed in some(op, opset, range(4), 2):
                a, b = transposed % 2, transposed // 2
                attrs = {"transA": a, "transB": b} | ({"alpha": 0.5, "beta": -2.0} if (i + transposed) % 2 else {})
                operands = [data(*((3, 2) if a else (2, 3))), data(*((4, 3) if b else (3, 4)), seed=1)]
                operands += [] if shape is None else [data(*shape, seed=2)]
                for constants in some(op, opset, ((), (1,), (0,), tuple(range(1, len(operands)))), 2):
                    yield Variant(opset, operands, attrs, constants=constants)
        operands = [data(2, 3), data(3, 4, seed=1), data(4, seed=2)]
        for attrs in ({}, {"alpha": 0.0}, {"beta": 0.0}, {"alpha": 2.0}, {"beta": 0.3}, {"alpha": -1.0, "beta": 1.0}):
            for constants in ((), (1, 2)):
                yield Variant(opset, operands, attrs, constants=constants)
        for dtype in dtypes(op, opset):
            low = 0 if np.dtype(dtype).kind == "u" else -5
            shapes = ((2, 3), (3, 4), (4,))
            operands = [data(*s, dtype=dtype, low=low, high=5, seed=i).round() for i, s in enumerate(shapes)]
            for attrs in ({}, {"alpha": 2.0, "beta": 3.0}):
                yield Variant(opset, operands, attrs)
                yield Variant(opset, operands, attrs, constants=(1, 2))


@family("Einsum")
def einsum(op: str) -> Iterator[Variant]:
    equations: Sequence[tuple[str, Sequence[tuple[int, ...]]]] = (
        ("ij->ji", ((2, 3),)), ("ij->", ((2, 3),)), ("ii->i", ((3, 3),)), ("ii", ((3, 3),)), ("ij->i", ((2, 3),)),
        ("i,i->", ((3,), (3,))), ("i,j->ij", ((2,), (3,))), ("ij,jk->ik", ((2, 3), (3, 4))),
        ("ij,jk", ((2, 3), (3, 4))), ("bij,bjk->bik", ((2, 2, 3), (2, 3, 4))),
        ("bhid,bhjd->bhij", ((1, 2, 3, 4), (1, 2, 2, 4))),
        ("...ij,...jk->...ik", ((2, 2, 3), (2, 3, 4))), ("...ij,jk->...ik", ((2, 2, 3), (3, 4))),
        ("...i->...", ((2, 3),)), ("i...->...i", ((2, 3, 2),)), ("ijk,k->ij", ((2, 3, 4), (4,))),
        ("ij,ij->ij", ((2, 3), (2, 3))), ("ij,ij->", ((2, 3), (2, 3))), ("ij,kj->ik", ((2, 3), (4, 3))),
        ("ij,jk,kl->il", ((2, 3), (3, 2), (2, 4))), ("i,ij,j->", ((2,), (2, 3), (3,))),
        ("ij , jk -> ik", ((2, 3), (3, 4))), ("abcd,adce->abce", ((1, 2, 3, 4), (1, 4, 3, 2))),
        ("abc,cbd->abd", ((2, 3, 4), (4, 3, 2))),
        ("Ij,jK->IK", ((2, 3), (3, 4))), ("ij,k->ijk", ((2, 3), (4,))), ("ijj->i", ((2, 3, 3),)),
        (",->", ((), ())), (",i->i", ((), (3,))), ("...,...->...", ((2, 3), (3,))),
    )  # fmt: skip
    for opset in versions(op):
        for equation, shapes in equations:
            operands = [data(*shape, seed=i) for i, shape in enumerate(shapes)]
            yield Variant(opset, operands, {"equation": equation})
            if len(operands) > 1:
                yield Variant(opset, operands, {"equation": equation}, constants=(len(operands) - 1,))
        for dtype in dtypes(op, opset):
            operands = [data(2, 3, dtype=dtype, low=0, high=4), data(3, 4, dtype=dtype, low=0, high=4, seed=1)]
            yield Variant(opset, operands, {"equation": "ij,jk->ik"})
            yield Variant(opset, operands[:1], {"equation": "ij->j"})


@family("Det")
def determinant(op: str) -> Iterator[Variant]:
    for opset in versions(op):
        for shape in ((1, 1), (2, 2), (3, 3), (4, 4), (2, 3, 3), (2, 1, 2, 2), (1, 2, 1, 3, 3), (5, 5)):
            yield Variant(opset, [data(*shape)])
        yield Variant(opset, [np.array([[0, 1], [1, 0]], np.float32)])
        yield Variant(opset, [np.array([[0, 2, 1], [0, 1, 0], [3, 0, 0]], np.float32)])
        yield Variant(opset, [np.ones((3, 3), np.float32)])
        for dtype in dtypes(op, opset):
            yield Variant(opset, [data(3, 3, dtype=dtype)])


@family("AffineGrid")
def affine_grid(op: str) -> Iterator[Variant]:
    for opset in versions(op):
        for align in (None, 0, 1):
            attrs: dict[str, Any] = {} if align is None else {"align_corners": align}
            for theta, size in (((2, 2, 3), (2, 3, 4, 5)), ((1, 2, 3), (1, 1, 2, 2)), ((1, 3, 4), (1, 2, 2, 3, 4)),
                                ((2, 2, 3), (2, 1, 3, 1))):  # fmt: skip
                if align and 1 in size[2:]:
                    continue  # where the centre of a single pixel lies is -1, 0 or 1, or NaN, as one likes
                for constants in ((1,), (), (0, 1)):
                    yield Variant(opset, [data(*theta), ints(*size)], attrs, constants=constants)
            for dtype in dtypes(op, opset):
                yield Variant(opset, [data(1, 2, 3, dtype=dtype), ints(1, 2, 3, 4)], attrs, constants=(1,))
