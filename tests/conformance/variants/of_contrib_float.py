"""Float ops of onnxruntime's own domain: fused products and convolutions, activations, normalisations, and the rest.

Those that onnxruntime runs on a GPU only (BiasSoftmax, NhwcConv, GroupNorm, …) have no reference here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import numpy as np

from coregraft.rewriter.types import Array
from tests.conformance.variants.variant import Variant, data, family, ints

_FUSED: dict[str, list[float]] = {
    "Relu": [], "Tanh": [], "Sigmoid": [], "LeakyRelu": [0.1], "Clip": [-0.5, 0.75], "HardSigmoid": [0.2, 0.6],
}  # fmt: skip


def _ms(*names: str) -> list[str]:
    return [f"com.microsoft::{name}" for name in names]


@family(*_ms("FusedConv"))
def fused_conv(op: str) -> Iterator[Variant]:
    x, w, b = data(2, 4, 6, 7), data(6, 4, 3, 2, seed=1), data(6, seed=2)
    for name, values in _FUSED.items():
        given = {"activation": name, **({"activation_params": values} if values else {})}
        for constants in ((1, 2), ()):
            yield Variant(1, [x, w, b], given, constants=constants)
        yield Variant(1, [x, w], {**given, "pads": [1, 0, 0, 1], "strides": [2, 1]}, constants=[1])
    z = data(2, 6, 4, 6, seed=3)
    windows: tuple[dict[str, Any], ...] = (
        {"dilations": [2, 2]}, {"auto_pad": "SAME_UPPER"}, {"auto_pad": "VALID"}, {"pads": [3, 2, 0, 1]},
    )  # fmt: skip
    plain: dict[str, Any] = {}
    for style in (plain, {"activation": "Relu"}):
        yield Variant(1, [x, w, b, z], style, constants=[1, 2])
        yield Variant(1, [x, w, None, z], style, constants=[1])
        for window in windows:
            yield Variant(1, [x, w, b], {**style, **window}, constants=[1, 2])
        yield Variant(1, [x, data(6, 2, 3, 2), b], {**style, "group": 2}, constants=[1, 2])


@family(*_ms("FusedMatMul", "TransposeMatMul"))
def fused_matmul(op: str) -> Iterator[Variant]:
    for rank, flip_a, flip_b in product((2, 3, 4), (0, 1), (0, 1)):
        batch = (2, 3)[: rank - 2]
        a = data(*batch, *((5, 4) if flip_a else (4, 5)))
        b = data(*batch, *((6, 5) if flip_b else (5, 6)), seed=1)
        attrs = {"transA": flip_a, "transB": flip_b}
        for constants in ((), (1,), (0,)):
            yield Variant(1, [a, b], attrs, constants=constants)
        yield Variant(1, [a, b], {**attrs, "alpha": 0.25}, constants=[1])
        if rank == 4:
            yield Variant(1, [a, b[0]], attrs)
            yield Variant(1, [a, b[:, :1]], {**attrs, "alpha": 2.0})
    yield Variant(1, [data(2, 3, 4), data(4, 5, seed=1)], constants=[1])
    yield Variant(1, [data(4), data(4, 5, seed=1)])
    yield Variant(1, [data(3, 4), data(4, seed=1)])
    if op.endswith("::TransposeMatMul"):
        return
    for batch, (batch_a, batch_b), flip_a, flip_b in product(((2,), (2, 3)), ((1, 0), (0, 1), (1, 1)), (0, 1), (0, 1)):
        a, b = data(*batch, *((5, 4) if flip_a else (4, 5))), data(*batch, *((6, 5) if flip_b else (5, 6)), seed=1)
        if batch_a:  # the first of the two dims of a matrix comes before the batch
            a = np.moveaxis(a, -2, 0)
        if batch_b:
            b = np.moveaxis(b, -2, 0)
        attrs = {"transA": flip_a, "transB": flip_b, "transBatchA": batch_a, "transBatchB": batch_b}
        yield Variant(1, [a, b], attrs)
        yield Variant(1, [a, b], {**attrs, "alpha": 0.5}, constants=[1])


@family(*_ms("FusedGemm"))
def fused_gemm(op: str) -> Iterator[Variant]:
    given: dict[str, dict[str, float]] = {
        "Relu": {}, "LeakyRelu": {"activation_alpha": 0.2}, "Tanh": {}, "Sigmoid": {}, "Elu": {"activation_alpha": 0.5},
        "HardSigmoid": {"activation_alpha": 0.2, "activation_beta": 0.4}, "Softplus": {}, "Softsign": {},
        "ThresholdedRelu": {"activation_alpha": 0.7}, "Celu": {"activation_alpha": 0.5},
        "Selu": {"activation_alpha": 1.5, "activation_gamma": 1.1},
        "ParametricSoftplus": {"activation_alpha": 0.5, "activation_beta": 2.0},
        "ScaledTanh": {"activation_alpha": 0.5, "activation_beta": 2.0},
    }  # fmt: skip
    a, b = data(3, 4), data(4, 5, seed=1)
    for name, values in given.items():
        yield Variant(1, [a, b, data(5, seed=2)], {"activation": name, **values}, constants=[1, 2])
        yield Variant(1, [a, b], {"activation": name, **values})
    for flip_a, flip_b, scales in product((0, 1), (0, 1), ({}, {"alpha": 0.5, "beta": 2.0})):
        attrs = {"activation": "Relu", "transA": flip_a, "transB": flip_b, **scales}
        operands = [a.T.copy() if flip_a else a, b.T.copy() if flip_b else b]
        for c in (data(5, seed=2), data(3, 1, seed=2), data(3, 5, seed=2), data(1, seed=2)):
            yield Variant(1, [*operands, c], attrs, constants=[1])


@family(*_ms("Gelu", "QuickGelu", "FastGelu", "BiasGelu"))
def gelus(op: str) -> Iterator[Variant]:
    kind = op.partition("::")[2]
    special = np.array([-np.inf, -30, -5, -1e-3, -0.0, 0.0, 1e-3, 5, 30], np.float32)  # nan of -inf is as it falls
    for shape in ((5,), (2, 3), (2, 3, 4), (2, 1, 3, 4), (1, 2, 1, 2, 3)):
        x, bias = data(*shape, low=-4, high=4), data(shape[-1], seed=1)
        if kind == "Gelu":
            yield Variant(1, [x])
        elif kind == "QuickGelu":
            for alpha in (1.702, 1.0, 0.5, 2.0, -1.0):
                yield Variant(1, [x], {"alpha": alpha})
            yield Variant(1, [x])
        else:
            if kind == "FastGelu":
                yield Variant(1, [x])
            for constants in ((), (1,), (0,)):
                yield Variant(1, [x, bias], constants=constants)
    plain = special[1:]
    yield Variant(1, [plain, np.zeros_like(plain)] if kind == "BiasGelu" else [plain])
    if kind != "BiasGelu":
        yield Variant(1, [data(2, 3, dtype=np.float16)])


@family("SimplifiedLayerNormalization", *_ms("SkipLayerNormalization", "SkipSimplifiedLayerNormalization"))
def norms(op: str) -> Iterator[Variant]:
    shape, width = (2, 3, 4), 4
    x, skip = data(*shape), data(*shape, seed=1)
    gamma, beta, bias = (data(width, seed=i) for i in (2, 3, 4))
    if op == "SimplifiedLayerNormalization":
        styles: tuple[dict[str, Any], ...] = ({}, {"epsilon": 0.1}, {"stash_type": 1})
        for axis, attrs in product((-1, 1, 2), styles):
            scale = data(*shape[axis:], seed=2)
            yield Variant(17, [x, scale], {**attrs, "axis": axis}, constants=[1])
            yield Variant(17, [x, scale], {**attrs, "axis": axis})
        yield Variant(17, [x, gamma], outputs=2)
        for dtype in (np.float16, np.float64):
            yield Variant(17, [x.astype(dtype), gamma.astype(dtype)], constants=[1])
        return
    forms: list[list[Array | None]] = [[x, skip, gamma], [x, skip, gamma, beta], [x, skip, gamma, beta, bias]]
    forms.append([x, skip, gamma, None, bias])
    if op.endswith("::SkipSimplifiedLayerNormalization"):
        forms = [[x, skip, gamma], [x, skip, gamma, bias]]
    results: tuple[int | tuple[bool, ...], ...] = (1, (True, False, False, True))
    for operands, outputs, attrs in product(forms, results, ({}, {"epsilon": 0.05})):
        weights = [i for i, a in enumerate(operands) if i > 1 and a is not None]
        for constants in (weights, []):
            yield Variant(1, operands, attrs, constants=constants, outputs=outputs)
    for smaller in (skip[:1], skip[0]):
        yield Variant(1, [x, smaller, *forms[1][2:]], constants=[2], outputs=(True, False, False, True))
    yield Variant(1, [x[0], skip[0], *forms[-1][2:]], outputs=(True, False, False, True))
    half = [None if a is None else a.astype(np.float16) for a in forms[-1]]
    yield Variant(1, half, outputs=(True, False, False, True))


@family(*_ms("EmbedLayerNormalization"))
def embedded(op: str) -> Iterator[Variant]:
    words = np.array([[3, 0, 1], [4, 2, 2]], np.int32)
    segments = np.array([[0, 0, 1], [1, 0, 1]], np.int32)
    tables = [data(5, 4), data(6, 4, seed=1), data(2, 4, seed=2)]
    scale = [data(4, seed=3), data(4, seed=4)]
    mask = np.array([[1, 1, 0], [1, 1, 1]], np.int32)
    places = np.array([[2, 0, 5], [1, 1, 3]], np.int32)
    weights = [2, 3, 4, 5, 6]
    for masked, placed, split in product((None, mask), (None, places, places[:1]), (True, False)):
        first = [words, segments if split else None, *tables[:2], tables[2] if split else None, *scale]
        operands: list[Array | None] = [*first, masked, placed]
        while operands[-1] is None:
            operands.pop()
        constants = [i for i in weights if operands[i] is not None]
        for attrs in ({}, {"epsilon": 0.1}, {"mask_index_type": 1}):
            yield Variant(1, operands, attrs, constants=constants, outputs=2)
        yield Variant(1, operands, constants=constants, outputs=3)
        yield Variant(1, operands, constants=constants, outputs=(True, False, True))
        yield Variant(1, operands, outputs=3)


@family(*_ms("Inverse"))
def inverse(op: str) -> Iterator[Variant]:
    for shape in ((1, 1), (2, 2), (3, 3), (4, 4), (2, 3, 3), (2, 2, 2, 2), (1, 5, 5)):
        eye = np.eye(shape[-1], dtype=np.float32) * np.float32(4)
        yield Variant(1, [data(*shape) + eye])
        yield Variant(1, [(data(*shape) + eye).astype(np.float64)])
    yield Variant(1, [np.array([[0, 1], [1, 0]], np.float32)])
    yield Variant(1, [np.array([[0, 2, 0], [0, 0, 3], [4, 0, 0]], np.float32)])


@family(*_ms("CropAndResize"))
def crop(op: str) -> Iterator[Variant]:
    x = data(2, 3, 6, 5)
    boxes = np.array([[0, 0, 1, 1], [0.2, 0.1, 0.7, 0.9], [-0.3, 0, 1.4, 0.5], [0.9, 0.8, 0.1, 0.2]], np.float32)
    which = np.array([0, 1, 1, 0], np.int32)
    for size, mode in product(([3, 4], [1, 1], [6, 5], [1, 3]), ("bilinear", "nearest")):
        operands = [x, boxes, which, np.array(size, np.int32)]
        for attrs, constants in product(({}, {"extrapolation_value": 1.5}), ((3,), (1, 2, 3))):
            yield Variant(1, operands, {**attrs, "mode": mode}, constants=constants)
    yield Variant(1, [x, boxes, which, np.array([2, 2], np.int32)])


@family(*_ms("GridSample"))
def grid_sample(op: str) -> Iterator[Variant]:
    x, grid = data(1, 2, 4, 5), data(1, 3, 4, 2, seed=1, low=-1.3, high=1.3)
    for mode, padding, align in product(
        ("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection"), (0, 1)
    ):  # fmt: skip
        attrs = {"mode": mode, "padding_mode": padding, "align_corners": align}
        yield Variant(1, [x, grid], attrs)
        yield Variant(1, [x, grid], attrs, constants=[1])
    yield Variant(1, [x, grid])


@family(*_ms("Trilu", "Pad", "ExpandDims", "Range", "SampleOp", "GatherND"))
def renamed(op: str) -> Iterator[Variant]:
    kind = op.partition("::")[2]
    if kind == "Trilu":
        for upper, k, constants in product((0, 1), (None, 0, 1, -1, 3, -4), ((), (1,))):
            if k is None:
                yield Variant(1, [data(2, 3, 4)], {"upper": upper})
            else:
                yield Variant(1, [data(2, 3, 4), np.array(k, np.int64)], {"upper": upper}, constants=constants)
    elif kind == "Pad":
        for mode, pads in product(("constant", "reflect", "edge"), ((0, 1, 2, 0), (1, 1, 1, 1))):
            x, flat = data(3, 4), ints(*pads)
            for sizes, constants in product((flat, flat.reshape(1, -1)), ((1,), ())):
                yield Variant(1, [x, sizes], {"mode": mode}, constants=constants)
            for value in (np.array(0.5, np.float32), np.array([0.5], np.float32)) if mode == "constant" else ():
                yield Variant(1, [x, flat, value], constants=[1, 2])
                yield Variant(1, [x, flat, value], constants=[1])
        yield Variant(1, [data(3, 4), ints(0, -1, 1, 0)], constants=[1])
    elif kind == "ExpandDims":
        for axis, constants in product((0, 1, 2, -1, -2), ((1,), ())):
            yield Variant(1, [data(2, 3), np.array(axis, np.int32)], constants=constants)
    elif kind == "Range":
        for values in ((0, 5, 2), (5, 0, -1), (1, 4)):
            for dtype, shape in product((np.float32, np.int32, np.int64), ((), (1,))):
                yield Variant(1, [np.full(shape, v, dtype) for v in values], constants=range(len(values)))
    elif kind == "GatherND":
        yield Variant(1, [data(2, 3, 4), np.array([[0, 2], [1, 0]], np.int32)])
        yield Variant(1, [data(2, 3, 4), ints(1, 2)], constants=[1])
    else:
        yield Variant(1, [data(2, 3)])


@family(*_ms("ConvTransposeWithDynamicPads"))
def transposed(op: str) -> Iterator[Variant]:
    x, w, b = data(1, 3, 4, 5), data(3, 2, 3, 2, seed=1), data(2, seed=2)
    styles: tuple[Mapping[str, Any], ...] = ({}, {"strides": [2, 2]}, {"strides": [2, 2], "output_padding": [1, 0]})
    for attrs in (*styles, {"dilations": [2, 1]}, {"kernel_shape": [3, 2]}):
        for pads in (ints(0, 0, 0, 0), ints(1, 0, 1, 1)):
            for operands in ([x, w, pads], [x, w, pads, b]):
                yield Variant(1, operands, attrs, constants=range(1, len(operands)))


@family(*_ms("NhwcMaxPool"))
def nhwc_pool(op: str) -> Iterator[Variant]:
    windows: tuple[dict[str, Any], ...] = (
        {}, {"strides": [2, 2]}, {"pads": [1, 0, 0, 1]}, {"dilations": [2, 1]}, {"ceil_mode": 1, "strides": [2, 2]},
        {"auto_pad": "SAME_UPPER"}, {"auto_pad": "VALID"}, {"auto_pad": "SAME_LOWER", "strides": [2, 1]},
    )  # fmt: skip
    for dtype, attrs in product((np.int8, np.uint8), windows):
        low = 0 if dtype is np.uint8 else -100
        yield Variant(1, [data(1, 6, 5, 3, dtype=dtype, low=low, high=100)], {"kernel_shape": [3, 2], **attrs})


@family(*_ms("RotaryEmbedding"))
def rotary(op: str) -> Iterator[Variant]:
    batch, heads, length, size, most = 2, 3, 4, 8, 10
    x = data(batch, heads, length, size)
    flat = x.transpose(0, 2, 1, 3).reshape(batch, length, -1)
    offset, ids = ints(2), np.array([[0, 1, 2, 3], [5, 2, 9, 0]])
    for interleaved, part, places in product((0, 1), (0, 4), (offset, ids)):
        tables = [data(most, (part or size) // 2, seed=i, low=-1, high=1) for i in (1, 2)]
        attrs: dict[str, Any] = {"interleaved": interleaved}
        named = {**attrs, "num_heads": heads, **({"rotary_embedding_dim": part} if part else {})}
        for constants in ((), (2, 3), (1, 2, 3)):
            if not part:
                yield Variant(1, [x, places, *tables], attrs, constants=constants)
            yield Variant(1, [flat, places, *tables], named, constants=constants)
        yield Variant(1, [flat, places, *tables], {**named, "scale": 1.0})
