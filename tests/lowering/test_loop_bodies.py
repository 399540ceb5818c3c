"""What a body of a loop may hold: everything that the pipeline takes apart, with weights inside and around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from coregraft.rewriter.graph import Graph
from coregraft.rewriter.onnx_io.load import from_model
from coregraft.rewriter.types import Array
from tests.lowering.packages import FORMATS, assert_agrees

RNG = np.random.default_rng(0)
node = helper.make_node


def weight(*shape: int) -> Array:
    return (RNG.normal(size=shape) * 0.5).astype(np.float32)


def contrib(kind: str, inputs: Sequence[str], outputs: Sequence[str], **attrs: Any) -> NodeProto:
    return node(kind, inputs, outputs, domain="com.microsoft", **attrs)


ONE, AXIS, LIMIT = np.array(1), np.array([1]), np.array(1, np.float32)
#: The nodes of a body that make ``r`` of its state ``s``, their shape, the constants.
CASES: dict[str, tuple[list[NodeProto], tuple[int, ...], dict[str, Array]]] = {
    "a cell by hand": (
        [
            node("MatMul", ["s", "w"], ["a"]), node("Gemm", ["a", "v", "b"], ["g"], transB=1, alpha=0.5),
            node("Clip", ["g", "lo", "hi"], ["r"]),
        ],
        (3, 4),
        {"w": weight(4, 5), "v": weight(4, 5), "b": weight(4), "lo": np.negative(LIMIT)[...], "hi": LIMIT},
    ),
    "LayerNormalization": (
        [node("LayerNormalization", ["s", "w", "b"], ["r"])], (3, 4), {"w": weight(4), "b": weight(4)},
    ),
    "Einsum": ([node("Einsum", ["s", "w"], ["r"], equation="ij,jk->ik")], (3, 4), {"w": weight(4, 4)}),
    "Gelu": ([node("Gelu", ["s"], ["r"])], (3, 4), {}),
    "GroupNormalization": (
        [node("GroupNormalization", ["s", "w", "b"], ["r"], num_groups=2)], (1, 4, 5), {"w": weight(4), "b": weight(4)},
    ),
    "Resize": (
        [
            node("Resize", ["s", "", "f"], ["a"], mode="cubic"),
            node("MaxPool", ["a"], ["r"], kernel_shape=[2, 2], strides=[2, 2]),
        ],
        (1, 2, 4, 4),
        {"f": np.array([1, 1, 2, 2], np.float32)},
    ),
    "a block of a network": (
        [
            node("Conv", ["s", "w", "b"], ["a"], dilations=[2, 2], pads=[2, 2, 2, 2]),
            node("BatchNormalization", ["a", "k", "b", "b", "k"], ["n"]), node("HardSwish", ["n"], ["h"]),
            node("ConvTranspose", ["h", "w"], ["t"], strides=[2, 2], output_padding=[1, 1], pads=[1, 1, 1, 1]),
            node("AveragePool", ["t"], ["r"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
        ],
        (1, 3, 5, 5),
        {"w": weight(3, 3, 3, 3), "b": weight(3), "k": np.abs(weight(3)) + np.float32(0.1)},
    ),
    "LSTM": (
        [node("LSTM", ["s", "w", "v", "b"], ["a"], hidden_size=4), node("Squeeze", ["a", "axis"], ["r"])],
        (5, 2, 4),
        {"w": weight(1, 16, 4), "v": weight(1, 16, 4), "b": weight(1, 32), "axis": AXIS},
    ),
    "GRU": (
        [
            node("GRU", ["s", "w", "v", "b"], ["a"], hidden_size=4, linear_before_reset=1),
            node("Squeeze", ["a", "axis"], ["r"]),
        ],
        (5, 2, 4),
        {"w": weight(1, 12, 4), "v": weight(1, 12, 4), "b": weight(1, 24), "axis": AXIS},
    ),
    "shapes and sizes": (
        [
            node("Shape", ["s"], ["shape"]), node("Gather", ["shape", "one"], ["n"]),
            node("Range", ["zero", "n", "one"], ["count"]), node("Cast", ["count"], ["row"], to=1),
            node("Add", ["s", "row"], ["a"]), node("Reshape", ["a", "flat"], ["f"]),
            node("Reshape", ["f", "shape"], ["b"]), node("Slice", ["b", "axis", "end", "axis"], ["p"]),
            node("TopK", ["p", "axis"], ["t", "where"], axis=1), node("Concat", ["t", "s"], ["joined"], axis=1),
            node("ReduceMean", ["joined", "axis"], ["mean"]), node("Add", ["s", "mean"], ["r"]),
        ],
        (3, 4),
        {"one": ONE, "zero": np.array(0), "flat": np.array([-1]), "axis": AXIS, "end": np.array([3])},
    ),
    "more than five dims": (
        [
            node("Reshape", ["s", "six"], ["a"]), node("Transpose", ["a"], ["t"], perm=[0, 2, 4, 1, 3, 5]),
            node("Reshape", ["t", "two"], ["r"]),
        ],
        (8, 8),
        {"six": np.full(6, 2), "two": np.array([8, 8])},
    ),
    "the counter as an index": (
        [node("Gather", ["w", "i"], ["a"]), node("Add", ["s", "a"], ["r"])], (4,), {"w": weight(12, 4)},
    ),
    "a quantised value": (
        [node("DynamicQuantizeLinear", ["s"], ["q", "f", "z"]), node("DequantizeLinear", ["q", "f", "z"], ["r"])],
        (3, 4),
        {},
    ),
    "a captured matrix of the run time": ([node("Gemm", ["s", "x"], ["r"], beta=0.5)], (3, 3), {}),
    "com.microsoft": (
        [
            contrib("BiasGelu", ["s", "b"], ["a"]),
            contrib("FusedMatMul", ["a", "w"], ["p"], alpha=0.5, transB=1),
            contrib("SkipLayerNormalization", ["p", "s", "b", "b"], ["n"], epsilon=1e-5),
            contrib("MultiHeadAttention", ["n", "n", "n"], ["r"], num_heads=2),
        ],
        (2, 3, 4),
        {"b": weight(4), "w": weight(4, 4)},
    ),
}  # fmt: skip


def model(name: str, inside: bool) -> tuple[Graph, tuple[int, ...]]:
    nodes, shape, constants = CASES[name]
    stored = [numpy_helper.from_array(array, key) for key, array in constants.items()]
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [node("Identity", ["c"], ["go"]), *nodes], "body",
        [info("i", TensorProto.INT64, []), info("c", TensorProto.BOOL, []), info("s", TensorProto.FLOAT, shape)],
        [info("go", TensorProto.BOOL, []), info("r", TensorProto.FLOAT, shape)], stored if inside else [],
    )  # fmt: skip
    graph = helper.make_graph(
        [node("Loop", ["m", "", "x"], ["y"], body=body)], "model",
        [info("m", TensorProto.INT64, []), info("x", TensorProto.FLOAT, shape)],
        [info("y", TensorProto.FLOAT, shape)], [] if inside else stored,
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    whole = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    assert isinstance(whole, onnx.ModelProto)
    return from_model(whole), shape


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", CASES)
def test_weights_around_the_loop(name: str, format: str) -> None:
    g, shape = model(name, inside=False)
    assert_agrees(g, [{"m": np.array(n), "x": weight(*shape)} for n in (0, 1, 3)], format, tolerance=2e-4)


@pytest.mark.parametrize("name", CASES)
def test_weights_in_the_body_and_half_precision_around_it(name: str) -> None:
    g, shape = model(name, inside=True)
    feeds = [{"m": np.array(n), "x": weight(*shape)} for n in (0, 3)]
    done = assert_agrees(g, feeds, "mlprogram", precision="fp16", tolerance=2e-2)
    assert done.report.mil_ops["while_loop"] == 1
