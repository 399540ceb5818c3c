"""Normalisations: LRN, batch, instance, layer, group and RMS."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from coregraft.rewriter.types import Array
from tests.conformance.variants.variant import Variant, data, family, versions

#: Shapes with a batch and channels; the statistics of a batch need more than one row.
_SHAPES: tuple[tuple[int, ...], ...] = ((3, 4), (2, 4, 5), (2, 4, 3, 5), (2, 4, 3, 2, 3))


@family("LRN")
def local(op: str) -> Iterator[Variant]:
    # Of an even size there is no reference: onnxruntime refuses it, and onnx's evaluator sums few of the channels.
    for opset, size in product(versions(op), (1, 3, 5, 9)):
        yield Variant(opset, [data(2, 6, 3, 4)], {"size": size})
    for shape, size in product(((2, 5, 4), (1, 5, 3, 4), (1, 5, 2, 3, 2)), (3, 5)):
        for attrs in ({"alpha": 0.5}, {"beta": 0.5}, {"bias": 2.0}, {"alpha": 1.0, "beta": 1.5, "bias": 0.5}):
            yield Variant(13, [data(*shape)], {**attrs, "size": size})
    yield Variant(13, [data(2, 6, 3, 4, dtype=np.float16)], {"size": 3})
    yield Variant(13, [data(2, 6, 3, 4, dtype=np.float64)], {"size": 3})


def _channels(count: int, dtype: type = np.float32) -> list[Array]:
    """Scale, bias, mean and variance."""
    return [data(count, dtype=dtype, seed=i, low=low) for i, low in ((1, -2), (2, -2), (3, -2), (4, 0.1))]


@family("BatchNormalization")
def batch(op: str) -> Iterator[Variant]:
    for opset, shape in product(versions(op), _SHAPES):
        for constants in ((), (1, 2, 3, 4), (3, 4), (1, 2)):
            yield Variant(opset, [data(*shape), *_channels(4)], constants=constants)
    for opset, attrs in product(versions(op), ({"epsilon": 0.1}, {"momentum": 0.5}, {"epsilon": 0.0})):
        yield Variant(opset, [data(2, 4, 3), *_channels(4)], attrs, constants=[1, 2, 3, 4])
    for dtype in (np.float16, np.float64):
        for constants in ((), (1, 2, 3, 4)):
            yield Variant(15, [data(2, 4, 3, dtype=dtype), *_channels(4, dtype)], constants=constants)
    yield Variant(15, [data(2, 4, 3, dtype=np.float16), *_channels(4)], constants=[1, 2, 3, 4])
    for opset, shape, momentum in product((14, 15), _SHAPES, (0.9, 0.5)):
        attrs = {"training_mode": 1, "momentum": momentum}
        for outputs in (1, 3):
            yield Variant(opset, [data(*shape), *_channels(4)], attrs, outputs=outputs)
            yield Variant(opset, [data(*shape), *_channels(4)], attrs, constants=[1, 2, 3, 4], outputs=outputs)
    for opset in (7, 9):
        yield Variant(opset, [data(2, 4, 3), *_channels(4)], outputs=5)
    yield Variant(7, [data(2, 4, 3), *_channels(4)], {"spatial": 1})
    yield Variant(7, [data(2, 2, 2), *(a.reshape(2, 2) for a in _channels(4))], {"spatial": 0}, constants=[1, 2, 3, 4])


@family("InstanceNormalization")
def instance(op: str) -> Iterator[Variant]:
    for opset, shape in product(versions(op), _SHAPES[1:]):
        for constants in ((), (1,), (1, 2)):
            yield Variant(opset, [data(*shape), data(4, seed=1), data(4, seed=2)], constants=constants)
    for epsilon in (0.0, 1e-12, 0.1):
        yield Variant(6, [data(2, 4, 5), data(4, seed=1), data(4, seed=2)], {"epsilon": epsilon}, constants=[1, 2])
    for dtype in (np.float16, np.float64):
        yield Variant(22, [data(2, 4, 5, dtype=dtype), data(4, dtype=dtype), data(4, dtype=dtype)], constants=[1, 2])
    same = np.full((1, 2, 3, 3), 5, np.float32)
    yield Variant(22, [same, data(2), data(2, seed=1)], {"epsilon": 1e-5}, constants=[1, 2])
    yield Variant(22, [same * 1e4 + data(1, 2, 3, 3), data(2), data(2, seed=1)], constants=[1, 2])


@family("LayerNormalization")
def layer(op: str) -> Iterator[Variant]:
    for rank in range(1, 6):
        shape = (2, 3, 4, 2, 3)[-rank:]
        for axis in range(-rank, rank):
            x, scale = data(*shape), data(*shape[axis:], seed=1)
            bias = data(*shape[axis:], seed=2)
            attrs = {"axis": axis}
            yield Variant(17, [x, scale, bias], attrs, constants=[1, 2])
            yield Variant(17, [x, scale], attrs, outputs=3)
    x, scale, bias = data(2, 3, 4), data(4, seed=1), data(4, seed=2)
    results: tuple[int | tuple[bool, ...], ...] = (1, 2, 3, (True, False, True))
    for constants, outputs in product(((), (1,), (2,), (1, 2)), results):
        yield Variant(17, [x, scale, bias], constants=constants, outputs=outputs)
    for epsilon in (0.0, 1e-12, 0.1):
        yield Variant(17, [x, scale, bias], {"epsilon": epsilon, "stash_type": 1}, constants=[1, 2], outputs=3)
    for dtype, stash in ((np.float16, 1), (np.float16, 10), (np.float64, 1), (np.float64, 11)):
        operands = [a.astype(dtype) for a in (x, scale, bias)]
        for constants in ((), (1, 2)):
            yield Variant(17, operands, {"stash_type": stash}, constants=constants, outputs=3)
    small: tuple[tuple[int, ...], ...] = ((), (1,), (1, 1), (3, 4))  # scale and bias broadcast to the normalised dims
    for sizes, constants in product(small, ((), (1, 2))):
        yield Variant(17, [x, data(*sizes, seed=1), data(*sizes, seed=2)], {"axis": 1}, constants=constants)
    yield Variant(17, [x * np.float32(100) + np.float32(1000), scale, bias], constants=[1, 2])
    yield Variant(17, [np.full((2, 4), 3, np.float32), scale, bias], constants=[1, 2])


@family("GroupNormalization")
def group(op: str) -> Iterator[Variant]:
    for opset, shape, groups in product((18, 21), _SHAPES[1:], (1, 2, 4)):
        count = groups if opset == 18 else 4
        operands = [data(*shape), data(count, seed=1), data(count, seed=2)]
        for constants in ((), (1, 2), (1,)):
            yield Variant(opset, operands, {"num_groups": groups}, constants=constants)
        yield Variant(opset, operands, {"num_groups": groups, "epsilon": 0.1}, constants=[1, 2])
    for dtype, stash in ((np.float16, 1), (np.float16, 10), (np.float64, 1), (np.float64, 11)):
        operands = [data(2, 4, 3, dtype=dtype), data(4, dtype=dtype), data(4, dtype=dtype)]
        yield Variant(21, operands, {"num_groups": 2, "stash_type": stash}, constants=[1, 2])


@family("RMSNormalization")
def rms(op: str) -> Iterator[Variant]:
    for rank in range(1, 6):
        shape = (2, 3, 4, 2, 3)[-rank:]
        for axis in range(-rank, rank):
            for constants in ((), (1,)):
                yield Variant(23, [data(*shape), data(*shape[axis:], seed=1)], {"axis": axis}, constants=constants)
    for epsilon in (0.0, 1e-12, 0.1):
        yield Variant(23, [data(2, 4), data(4, seed=1)], {"epsilon": epsilon, "stash_type": 1}, constants=[1])
    for dtype, stash in ((np.float16, 1), (np.float16, 10), (np.float64, 1), (np.float64, 11)):
        for constants in ((), (1,)):
            operands = [data(2, 4, dtype=dtype), data(4, dtype=dtype, seed=1)]
            yield Variant(23, operands, {"stash_type": stash}, constants=constants)
    for shape in ((), (1,), (1, 1), (3, 4), (3, 1)):
        yield Variant(23, [data(2, 3, 4), data(*shape, seed=1)], {"axis": 1}, constants=[1])
        yield Variant(23, [data(2, 3, 4), data(*shape, seed=1)], {"axis": 1})
    yield Variant(23, [np.zeros((2, 4), np.float32), data(4)], constants=[1])
