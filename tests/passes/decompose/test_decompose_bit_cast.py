"""BitCast by arithmetic, against numpy's views."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.decompose_bit_cast import DecomposeBitCast
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.opset import INTERNAL_OPSET
from coregraft.rewriter.target import Target
from coregraft.rewriter.types import DType, TensorType

RULE = DecomposeBitCast()
#: Powers of two and their neighbours, the ends of the subnormal and of all finite numbers, zeros, infinities, NaN.
EDGES = np.array(
    [0, 1, 2, 0x7FFFFF, 0x800000, 0x800001, 0xFFFFFF, 0x3F7FFFFF, 0x3F800000, 0x3F800001, 0x40000000, 0x7F7FFFFF,
     0x7F800000, 0x7FC00000, 0x40490FDB, *(e << 23 for e in range(1, 255)), *((e << 23) - 1 for e in range(1, 255))],
    np.uint32,
)  # fmt: skip
NARROW = [
    (np.int8, np.uint8), (np.uint8, np.int8), (np.int16, np.uint16), (np.uint16, np.int16), (bool, np.uint8),
    (np.float16, np.int16), (np.int16, np.float16), (np.float16, np.uint16), (np.uint16, np.float16),
]  # fmt: skip
WIDE = [(np.float32, np.int32), (np.int32, np.float32)]


def patterns(source: Any, target: Any) -> Any:
    """Every pattern of a narrow type; edges and random ones of a wide one. Of NaN, the one that arithmetic makes."""
    size = np.dtype(source).itemsize
    if np.dtype(source) == bool:
        return np.array([True, False])
    if size < 4:
        bits = np.arange(256**size).astype(f"u{size}")
    else:
        bits = np.concatenate([EDGES, EDGES | np.uint32(2**31), np.random.default_rng(0).integers(0, 2**32, 20_000)])
        bits = bits.astype(np.uint32)
    for dtype in (source, target):
        if np.dtype(dtype).kind == "f":
            bits = np.where(np.isnan(bits.view(dtype)), np.array(np.nan, dtype).view(bits.dtype), bits)
    return bits.view(source)


def graph(source: Any, target: Any, shape: tuple[int, ...]) -> Graph:
    g = Graph()
    g.set_opsets({"": 26})
    g.graph["ir_version"] = 10
    g.add_input("x", TensorType(DType.of(source), shape))
    kind = TensorType(DType.of(target), shape)
    g.add_value("y", kind)
    g.add_op(Op("BitCast", ("x",), ("y",), {"to": int(kind.dtype)}, "", "node"))
    g.set_outputs(["y"])
    return g


@pytest.mark.parametrize(("source", "target"), [*NARROW, *WIDE])
def test_every_bit(harness: Any, source: Any, target: Any) -> None:
    x = patterns(source, target)
    after = harness.rewrite(RULE, graph(source, target, x.shape)).after
    after.set_opsets({"": INTERNAL_OPSET})
    (found,) = harness.run(after, {"x": x})
    assert found.dtype == target
    np.testing.assert_array_equal(found.view(f"u{found.itemsize}"), x.view(f"u{x.itemsize}"))


@pytest.mark.parametrize(
    ("source", "target", "format"),
    [(*pair, "mlprogram") for pair in (*NARROW, *WIDE)] + [(*pair, "neuralnetwork") for pair in NARROW[-5:]],
)
def test_converted(harness: Any, source: Any, target: Any, format: str) -> None:
    x = patterns(source, target)[::7]
    harness.converts(graph(source, target, x.shape), {"x": x}, format, want=[x.view(target)], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("source", "target"),
    [(np.float64, np.int64), (np.int64, np.float64), (np.int32, np.uint32), (np.float32, np.uint32), (np.uint8, bool)],
)
def test_declines(harness: Any, source: Any, target: Any) -> None:
    harness.declines(RULE, graph(source, target, (3,)), "cannot be read as")


@pytest.mark.parametrize(("source", "target"), WIDE)
def test_not_in_a_neuralnetwork(harness: Any, source: Any, target: Any) -> None:
    network = Target("iOS17", "neuralnetwork", ops={}, max_rank=5)
    harness.declines(RULE, graph(source, target, (3,)), "24 bits", network)
