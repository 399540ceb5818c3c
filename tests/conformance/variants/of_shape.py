"""Ops that move or make elements without computing: reshapes, broadcasts, constants, triangles, blocks of pixels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tests.conformance.variants.variant import Variant, data, dtypes, family, ints, some, versions

_KINDS: tuple[type[np.generic], ...] = (
    np.float32, np.float16, np.float64, np.int32, np.int64, np.int8, np.uint8, np.int16, np.uint16, np.uint32,
    np.uint64, np.bool_,
)  # fmt: skip


def _each_dtype(op: str, opset: int, *shape: int) -> Iterator[Any]:
    for dtype in dtypes(op, opset):
        yield data(*shape, dtype=dtype, low=0, high=9)


@family("Reshape")
def reshape(op: str) -> Iterator[Variant]:
    targets: Sequence[tuple[tuple[int, ...], tuple[int, ...]]] = (
        ((), ()), ((), (1,)), ((), (1, 1)), ((), (-1,)), ((1,), ()), ((6,), (2, 3)), ((6,), (-1,)), ((6,), (2, -1)),
        ((2, 3), (3, 2)), ((2, 3), (6,)), ((2, 3), (0, -1)), ((2, 3), (0, 0)), ((2, 3), (0, 3, 1)), ((2, 3), (-1, 0)),
        ((2, 3, 4), (0, 0, 2, 2)), ((2, 3, 4), (4, 0, -1)), ((2, 3, 4), (-1, 0)), ((2, 1, 3, 2), (0, 0, -1)),
        ((1, 1, 1), ()), ((2, 3, 2, 1, 2), (4, -1)), ((24,), (1, 2, 3, 2, 2)), ((1, 6), (0, 2, 3)),
    )  # fmt: skip
    for opset in versions(op):
        for shape, target in some(op, opset, targets, 5):
            for constants in ((), (1,)) if target else ((1,),):
                yield Variant(opset, [data(*shape), ints(*target)], constants=constants)
            if opset >= 14 and 0 not in target:
                yield Variant(opset, [data(*shape), ints(*target)], {"allowzero": 1}, constants=(1,))
        for x in _each_dtype(op, opset, 2, 3):
            yield Variant(opset, [x, ints(3, -1)], constants=(1,))
        yield Variant(opset, [data(2, 3), ints(3, 2)], constants=(0, 1))


@family("Flatten")
def flatten(op: str) -> Iterator[Variant]:
    for opset in versions(op):
        for shape in some(op, opset, ((), (3,), (2, 3), (2, 1, 3, 2), (2, 1, 3, 2, 2))):
            if shape:  # a scalar has no axis 1, which is the default
                yield Variant(opset, [data(*shape)])
            for axis in some(op, opset, range(0 if opset < 11 else -len(shape), len(shape) + 1)):
                yield Variant(opset, [data(*shape)], {"axis": axis})
        for x in _each_dtype(op, opset, 2, 3, 2):
            yield Variant(opset, [x], {"axis": 2})


@family("Squeeze", "Unsqueeze")
def squeeze(op: str) -> Iterator[Variant]:
    shapes = (
        ((1,), (0,)), ((1, 3), (0,)), ((1, 3, 1), (0, 2)), ((1, 3, 1), (2,)), ((1, 1, 1), (0, 1, 2)),
        ((2, 1, 3, 1), (1, 3)), ((2, 1, 3, 1), (3, 1)), ((1, 2, 1, 3, 1), (0, 2, 4)), ((1, 2, 1, 3, 1), (2,)),
    )  # fmt: skip
    for opset in versions(op):
        for wide, axes in some(op, opset, shapes, 4):
            narrow = tuple(d for i, d in enumerate(wide) if i not in axes)
            shape = wide if op == "Squeeze" else narrow
            for named in (axes, *([tuple(a - len(wide) for a in axes)] if opset >= 11 else [])):
                if opset < 13:
                    yield Variant(opset, [data(*shape)], {"axes": named})
                else:
                    yield Variant(opset, [data(*shape), ints(*named)], constants=(1,))
                    yield Variant(opset, [data(*shape), ints(*named)])
            if op == "Squeeze":
                yield Variant(opset, [data(*wide)])
        if op == "Squeeze":
            yield Variant(opset, [data(2, 3)])
            yield Variant(opset, [data(1)])
        x = {"Squeeze": (1, 3), "Unsqueeze": (3,)}[op]
        for dtype in dtypes(op, opset):
            value = data(*x, dtype=dtype, low=0, high=9)
            yield Variant(opset, [value], {"axes": [0]}) if opset < 13 else Variant(opset, [value, ints(0)])


@family("Transpose")
def transpose(op: str) -> Iterator[Variant]:
    perms = ((), (0,), (1, 0), (0, 1), (0, 2, 1), (2, 0, 1), (0, 2, 3, 1), (3, 2, 1, 0), (0, 1, 3, 2),
             (4, 0, 3, 1, 2), (0, 1, 2, 4, 3), (1, 0, 2, 3, 4))  # fmt: skip
    for opset in versions(op):
        for perm in some(op, opset, perms):
            yield Variant(opset, [data(*range(2, 2 + len(perm)))], {"perm": perm} if perm else {})
        for rank in some(op, opset, range(6)):
            yield Variant(opset, [data(*range(1, 1 + rank))])
        for x in _each_dtype(op, opset, 2, 3, 2):
            yield Variant(opset, [x], {"perm": (1, 2, 0)})


@family("Expand")
def expand(op: str) -> Iterator[Variant]:
    targets = (
        ((), ()), ((), (2,)), ((), (2, 3)), ((3,), (3,)), ((1,), (3,)), ((3,), (2, 3)), ((3,), (1,)),
        ((3, 1), (2, 1, 6)), ((3, 1), (3, 4)), ((3, 1), (1, 1)), ((2, 3), (1, 2, 1)), ((1, 3, 1, 2), (2, 1, 2, 1)),
        ((3, 1), (2, 2, 2, 3, 2)),
    )  # fmt: skip
    for opset in versions(op):
        for shape, target in some(op, opset, targets, 5):
            for constants in ((), (1,), (0,)) if target else ((1,),):
                yield Variant(opset, [data(*shape), ints(*target)], constants=constants)
        for x in _each_dtype(op, opset, 3, 1):
            yield Variant(opset, [x, ints(2, 3, 2)], constants=(1,))


@family("Tile")
def tile(op: str) -> Iterator[Variant]:
    repeats = (((3,), (2,)), ((3,), (1,)), ((2, 3), (1, 1)), ((2, 3), (2, 1)), ((2, 3), (2, 3)), ((2, 1, 2), (1, 3, 2)),
               ((1, 2, 3, 2), (2, 1, 2, 1)), ((1, 2, 1, 2, 1), (2, 1, 3, 1, 2)))  # fmt: skip
    for opset in versions(op):
        for shape, reps in repeats:
            for constants in ((), (1,), (0,)):
                yield Variant(opset, [data(*shape), ints(*reps)], constants=constants)
        for x in _each_dtype(op, opset, 2, 3):
            yield Variant(opset, [x, ints(2, 2)], constants=(1,))


@family("Shape", "Size")
def sizes(op: str) -> Iterator[Variant]:
    for opset in versions(op):
        for shape in some(op, opset, ((3,), (2, 3), (4, 1, 2, 3), (2, 1, 2, 1, 3), *([()] if op == "Size" else [])), 2):
            yield Variant(opset, [data(*shape)])
        for x in _each_dtype(op, opset, 2, 3):
            yield Variant(opset, [x])
        if op == "Shape" and opset >= 15:
            for attrs in ({"start": 1}, {"start": -2}, {"end": 2}, {"end": -1}, {"start": 1, "end": 3},
                          {"start": -3, "end": -1}, {"start": -9, "end": 9}, {"start": 0, "end": 1}):  # fmt: skip
                yield Variant(opset, [data(2, 3, 4, 1)], attrs)


@family("Constant")
def constant(op: str) -> Iterator[Variant]:
    from onnx import numpy_helper

    for opset in versions(op):
        for dtype in some(op, opset, _KINDS):
            for shape in some(op, opset, ((), (2, 1, 3)), 1):
                value = data(*shape, dtype=dtype, low=0, high=9)
                yield Variant(opset, [], {"value": numpy_helper.from_array(value)})
        if opset >= 12:
            held = {"value_float": 1.5, "value_floats": [1.5, -2.0], "value_int": -3, "value_ints": [4, 5]}
            for name, number in held.items():
                yield Variant(opset, [], {name: number})


@family("ConstantOfShape")
def constant_of_shape(op: str) -> Iterator[Variant]:
    from onnx import numpy_helper

    for opset in versions(op):
        for shape in some(op, opset, ((), (3,), (2, 3), (2, 1, 2, 1, 3)), 2):
            for constants in ((), (0,)) if shape else ((0,),):
                yield Variant(opset, [ints(*shape)], constants=constants)
        for dtype in some(op, opset, _KINDS):
            value = numpy_helper.from_array(np.array([1], dtype))
            for constants in ((), (0,)):
                yield Variant(opset, [ints(2, 3)], {"value": value}, constants=constants)


_EYES: Sequence[Mapping[str, int]] = (
    {}, {"k": 1}, {"k": -1}, {"k": 5}, {"k": -4}, {"dtype": 1}, {"dtype": 6, "k": 1}, {"dtype": 7}, {"dtype": 9},
    {"dtype": 10}, {"dtype": 11}, {"dtype": 3},
)  # fmt: skip


@family("EyeLike")
def eye_like(op: str) -> Iterator[Variant]:
    for opset in versions(op):
        for attrs in some(op, opset, _EYES):
            for shape in some(op, opset, ((3, 3), (2, 4), (4, 2)), 2):
                yield Variant(opset, [data(*shape)], attrs)
        for x in _each_dtype(op, opset, 3, 3):
            yield Variant(opset, [x])


@family("Range")
def span(op: str) -> Iterator[Variant]:
    limits = ((0, 5, 1), (1, 10, 3), (10, 4, -2), (-3, 3, 2), (5, -5, -3), (2, 3, 7))
    for opset in versions(op):
        for dtype in dtypes(op, opset):
            for first, last, step in some(op, opset, limits):
                operands = [np.array(v, dtype) for v in (first, last, step)]
                for constants in some(op, opset, ((), (1,), (0, 2), (0, 1, 2)), 2):
                    yield Variant(opset, operands, constants=constants)
        for limit in ((0.0, 1.0, 0.3), (1.0, -1.0, -0.25), (0.5, 0.6, 1.0), (0.0, 1.0, 0.1)):
            operands = [np.array(v, np.float32) for v in limit]
            yield Variant(opset, operands, constants=(0, 1, 2))
            yield Variant(opset, operands)


@family("Trilu")
def trilu(op: str) -> Iterator[Variant]:
    for opset in versions(op):
        for upper in (0, 1):
            for shape in ((3, 3), (2, 4), (4, 2), (2, 3, 3), (2, 1, 3, 2), (1, 2, 1, 3, 3)):
                yield Variant(opset, [data(*shape)], {"upper": upper})
            for k in (-5, -1, 0, 1, 2, 6):
                for constants in ((), (1,), (0,), (0, 1)):
                    yield Variant(opset, [data(2, 3, 4), np.array(k)], {"upper": upper}, constants=constants)
            for x in _each_dtype(op, opset, 3, 3):
                yield Variant(opset, [x, np.array(1)], {"upper": upper}, constants=(1,))
                yield Variant(opset, [x, np.array(1)], {"upper": upper})
            yield Variant(opset, [np.full((3, 3), -np.inf, np.float32)], {"upper": upper})
            yield Variant(opset, [np.full((3, 3), np.nan, np.float32), np.array(1)], {"upper": upper})
        yield Variant(opset, [data(3, 3)])


@family("OneHot")
def one_hot(op: str) -> Iterator[Variant]:
    for opset in versions(op):
        values = np.array([2, 5], np.float32)
        for shape in some(op, opset, ((), (3,), (2, 3), (2, 1, 2, 2))):
            index = data(*shape, dtype=np.int64, low=-4, high=4)
            yield Variant(opset, [index, np.array(4), values], constants=(1,))
            for axis in some(op, opset, range(-len(shape) - 1, len(shape) + 1)):
                yield Variant(opset, [index, np.array(4), values], {"axis": axis}, constants=(1, 2))
        odd = np.array([-6, -5, -4, 0, 3, 4, 5, 100])
        for constants in ((1,), (1, 2), (0, 1), ()):
            yield Variant(opset, [odd, np.array(4), values], constants=constants)
            yield Variant(opset, [odd, np.array([4]), values], constants=constants)
        for kind in dtypes(op, opset):
            yield Variant(opset, [np.array([0, 2, 1]).astype(kind), np.array(3), values], constants=(1,))
        for kind in dtypes(op, opset, 1):
            yield Variant(opset, [np.array([0, 2, 1]), np.array(3).astype(kind), values], constants=(1,))
        for kind in dtypes(op, opset, 2):
            operands = [np.array([0, 2, 1]), np.array(3), np.array([0, 3]).astype(kind)]
            for constants in ((1,), (1, 2)):
                yield Variant(opset, operands, constants=constants)


@family("DepthToSpace", "SpaceToDepth")
def blocks(op: str) -> Iterator[Variant]:
    for opset in versions(op):
        # onnxruntime's own SpaceToDepth knows no other mode; it came with opset 28.
        modes = ("DCR", "CRD") if (op, opset >= 11) == ("DepthToSpace", True) or opset >= 28 else (None,)
        for mode in (None, *modes) if modes != (None,) else modes:
            attrs = {} if mode is None else {"mode": mode}
            for block in some(op, opset, (1, 2, 3), 1):
                shape = (2, 2 * block**2, 2, 3) if op == "DepthToSpace" else (2, 3, 2 * block, 3 * block)
                yield Variant(opset, [data(*shape)], {"blocksize": block, **attrs})
            shape = (1, 8, 2, 3) if op == "DepthToSpace" else (1, 2, 4, 6)
            for x in _each_dtype(op, opset, *shape):
                yield Variant(opset, [x], {"blocksize": 2, **attrs})


@family("CenterCropPad")
def center_crop_pad(op: str) -> Iterator[Variant]:
    cases: Sequence[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...] | None]] = (
        ((5,), (3,), None), ((5,), (8,), None), ((4, 5), (2, 3), None), ((4, 5), (7, 8), None), ((4, 5), (3, 8), None),
        ((4, 5), (4, 5), None), ((3, 4, 5), (6, 2), (0, 2)), ((3, 4, 5), (2, 6), (-1, -3)), ((3, 4, 5), (7,), (1,)),
        ((1, 3, 4, 5), (5, 3), (2, 3)), ((1, 2, 3, 2, 5), (4, 4), (2, 4)),
    )  # fmt: skip
    for opset in versions(op):
        for shape, target, axes in cases:
            for constants in ((), (1,)):
                attrs = {} if axes is None else {"axes": axes}
                yield Variant(opset, [data(*shape), ints(*target)], attrs, constants=constants)
        for x in _each_dtype(op, opset, 4, 5):
            yield Variant(opset, [x, ints(6, 3)], constants=(1,))
