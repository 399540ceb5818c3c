"""Models to measure on, made on the spot and the same every time: ``python -m benchmarks.workloads DIR NAME ...``.

Names:

* ``W1``: ResNet-50 at 224 x 224 as an exporter leaves it: batch norms, Dropout and Identity in place (102 MB).
* ``W2``: BERT-base at 1 x 128 tokens, LayerNorm, GELU and shape arithmetic spelled out (438 MB).
* ``W6``: DeepLabV3 on the dilated ResNet-50 at 513 x 513, pyramid of rates 6, 12 and 18, two Resizes (159 MB).
* ``D<n>``: at least n nodes of narrow residual conv blocks and transformer layers; few weights, for counting nodes.
* ``W5``: 384 layers of 1408 x 1408 weights in external data (3 GB).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.feeds import Array

OPSET, IR_VERSION = 17, 8


class Author:
    """Writes a graph node by node, the way an exporter does; methods return the name of the value they make."""

    def __init__(self, name: str, seed: int) -> None:
        self.graph = onnx.GraphProto(name=name)
        self.rng = np.random.default_rng(seed)
        self.count = 0

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        self.count += 1
        output = f"{kind.lower()}_{self.count}"
        self.graph.node.append(helper.make_node(kind, inputs, [output], f"/{kind}_{self.count}", **attributes))
        return output

    def weight(self, value: Array, hint: str = "weight") -> str:
        self.count += 1
        self.graph.initializer.append(numpy_helper.from_array(value, f"{hint}_{self.count}"))
        return str(self.graph.initializer[-1].name)

    def random(self, *shape: int, scale: float) -> str:
        value = self.rng.standard_normal(shape, dtype=np.float32)
        value *= np.float32(scale)
        return self.weight(value)

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """A Constant node, which is what exporters write for small numbers."""
        return self.node("Constant", value=numpy_helper.from_array(np.array(value, dtype)))

    def ints(self, *values: int) -> str:
        return self.constant(values, np.int64)

    def input(self, name: str, shape: Iterable[int], dtype: int = TensorProto.FLOAT) -> str:
        self.graph.input.append(helper.make_tensor_value_info(name, dtype, list(shape)))
        return name

    def output(self, value: str, shape: Iterable[int]) -> None:
        self.graph.output.append(helper.make_tensor_value_info(value, TensorProto.FLOAT, list(shape)))

    def model(self) -> onnx.ModelProto:
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(
            self.graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="coregraft-benchmarks"
        )

    # ---------------------------------------------------------------- convolutional blocks

    def conv(self, x: str, c_in: int, c_out: int, k: int, stride: int = 1, rate: int = 1, bias: bool = False) -> str:
        operands = [x, self.random(c_out, c_in, k, k, scale=(2 / (c_in * k * k)) ** 0.5)]
        if bias:
            operands.append(self.weight(np.zeros(c_out, np.float32)))
        window = {"kernel_shape": [k, k], "strides": [stride] * 2, "dilations": [rate] * 2, "group": 1}
        return self.node("Conv", *operands, pads=[rate * (k // 2)] * 4, **window)

    def conv_norm(self, x: str, c_in: int, c_out: int, k: int, stride: int = 1, rate: int = 1) -> str:
        scale, bias, mean, deviation = (self.rng.normal(0, 0.1, c_out).astype(np.float32) for _ in range(4))
        statistics = [self.weight(v, "norm") for v in (1 + scale, bias, mean, 1 + np.abs(deviation))]
        return self.node("BatchNormalization", self.conv(x, c_in, c_out, k, stride, rate), *statistics, epsilon=1e-5)

    def conv_norm_relu(self, x: str, c_in: int, c_out: int, k: int, stride: int = 1, rate: int = 1) -> str:
        return self.node("Relu", self.conv_norm(x, c_in, c_out, k, stride, rate))

    def bottleneck(self, x: str, c_in: int, width: int, stride: int, rate: int) -> str:
        y = self.conv_norm_relu(x, c_in, width, 1)
        y = self.conv_norm_relu(y, width, width, 3, stride, rate)
        y = self.conv_norm(y, width, 4 * width, 1)
        if stride > 1 or c_in != 4 * width:
            x = self.conv_norm(x, c_in, 4 * width, 1, stride)
        return self.node("Relu", self.node("Add", y, x))

    def resnet50(self, x: str, *, dilated: bool = False) -> str:
        """The backbone; dilated: output stride 8, with rates 2 and 4 in its last two stages."""
        x = self.conv_norm_relu(x, 3, 64, 7, stride=2)
        x = self.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
        channels = 64
        for stage, blocks in enumerate((3, 4, 6, 3)):
            rate = 2 ** (stage - 1) if dilated and stage > 1 else 1
            for block in range(blocks):
                stride = 2 if block == 0 and stage > 0 and rate == 1 else 1
                x = self.bottleneck(x, channels, 64 << stage, stride, rate)
                channels = 256 << stage
        return x

    # ---------------------------------------------------------------- transformer blocks

    def size(self, x: str, axis: int) -> str:
        """One size of a value as a vector of one element, by Shape, Gather and Unsqueeze."""
        gathered = self.node("Gather", self.node("Shape", x), self.constant(axis, np.int64), axis=0)
        return self.node("Unsqueeze", gathered, self.ints(0))

    def linear(self, x: str, n_in: int, n_out: int) -> str:
        product = self.node("MatMul", x, self.random(n_in, n_out, scale=0.02))
        return self.node("Add", self.weight(np.zeros(n_out, np.float32), "bias"), product)

    def layer_norm(self, x: str, width: int) -> str:
        centred = self.node("Sub", x, self.node("ReduceMean", x, axes=[-1]))
        variance = self.node("ReduceMean", self.node("Pow", centred, self.constant(2)), axes=[-1])
        y = self.node("Div", centred, self.node("Sqrt", self.node("Add", variance, self.constant(1e-12))))
        y = self.node("Mul", y, self.weight(np.ones(width, np.float32), "scale"))
        return self.node("Add", y, self.weight(np.zeros(width, np.float32), "bias"))

    def gelu(self, x: str) -> str:
        erf = self.node("Erf", self.node("Div", x, self.constant(2**0.5)))
        y = self.node("Mul", x, self.node("Add", erf, self.constant(1)))
        return self.node("Mul", y, self.constant(0.5))

    def attention(self, x: str, width: int, heads: int, mask: str | None) -> str:
        def split(y: str, perm: list[int]) -> str:
            shape = self.node("Concat", self.size(y, 0), self.size(y, 1), self.ints(heads), self.ints(each), axis=0)
            return self.node("Transpose", self.node("Reshape", y, shape), perm=perm)

        each = width // heads
        query = split(self.linear(x, width, width), [0, 2, 1, 3])
        key = split(self.linear(x, width, width), [0, 2, 3, 1])
        value = split(self.linear(x, width, width), [0, 2, 1, 3])
        scores = self.node("Div", self.node("MatMul", query, key), self.constant(each**0.5))
        if mask is not None:
            scores = self.node("Add", scores, mask)
        weights = self.node("Identity", self.node("Softmax", scores, axis=-1))
        y = self.node("Transpose", self.node("MatMul", weights, value), perm=[0, 2, 1, 3])
        merged = self.node("Concat", self.size(y, 0), self.size(y, 1), self.ints(width), axis=0)
        return self.linear(self.node("Reshape", y, merged), width, width)

    def transformer(self, x: str, width: int, heads: int, inner: int, mask: str | None = None) -> str:
        x = self.layer_norm(self.node("Add", self.attention(x, width, heads, mask), x), width)
        y = self.linear(self.gelu(self.linear(x, width, inner)), inner, width)
        return self.layer_norm(self.node("Add", y, x), width)


def resnet50() -> onnx.ModelProto:
    """W1."""
    a = Author("resnet50", 1)
    x = a.resnet50(a.node("Identity", a.input("input", [1, 3, 224, 224])))
    x = a.node("GlobalAveragePool", x)
    x = a.node("Reshape", x, a.node("Concat", a.size(x, 0), a.ints(-1), axis=0))
    x = a.node("Dropout", x, a.constant(0.2), a.constant(False, np.bool_))
    x = a.node("Gemm", x, a.random(1000, 2048, scale=0.01), a.weight(np.zeros(1000, np.float32), "bias"), transB=1)
    a.output(a.node("Identity", x), [1, 1000])
    return a.model()


def bert_base() -> onnx.ModelProto:
    """W2."""
    a = Author("bert_base", 2)
    batch, length, width = 1, 128, 768
    ids, mask, kinds = (
        a.input(n, [batch, length], TensorProto.INT64) for n in ("input_ids", "attention_mask", "token_type_ids")
    )
    mask = a.node("Unsqueeze", a.node("Unsqueeze", mask, a.ints(1)), a.ints(2))
    mask = a.node("Sub", a.constant(1), a.node("Cast", mask, to=TensorProto.FLOAT))
    mask = a.node("Mul", mask, a.constant(-10000))
    positions = a.weight(np.arange(512, dtype=np.int64)[None], "position_ids")
    positions = a.node("Slice", positions, a.ints(0), a.size(ids, 1), a.ints(1), a.ints(1))
    x = a.node("Gather", a.random(30522, width, scale=0.02), ids)
    x = a.node("Add", x, a.node("Gather", a.random(2, width, scale=0.02), kinds))
    x = a.node("Add", x, a.node("Gather", a.random(512, width, scale=0.02), positions))
    x = a.layer_norm(x, width)
    for _ in range(12):
        x = a.transformer(x, width, 12, 3072, mask)
    first = a.node("Gather", x, a.constant(0, np.int64), axis=1)
    bias = a.weight(np.zeros(width, np.float32), "bias")
    pooled = a.node("Tanh", a.node("Gemm", first, a.random(width, width, scale=0.02), bias, transB=1))
    a.output(x, [batch, length, width])
    a.output(pooled, [batch, width])
    return a.model()


def deeplab(size: int = 513) -> onnx.ModelProto:
    """W6."""

    def resize(x: str, scale: int) -> str:
        factors = a.constant([1, 1, scale, scale])
        mode = {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"}
        return a.node("Resize", x, "", factors, **mode)

    a = Author("deeplab", 6)
    inner = (size + 7) // 8
    x = a.resnet50(a.input("input", [1, 3, size, size]), dilated=True)
    branches = [a.conv_norm_relu(x, 2048, 256, 1)]
    branches += [a.conv_norm_relu(x, 2048, 256, 3, rate=rate) for rate in (6, 12, 18)]
    branches.append(resize(a.conv_norm_relu(a.node("GlobalAveragePool", x), 2048, 256, 1), inner))
    y = a.conv_norm_relu(a.node("Concat", *branches, axis=1), 5 * 256, 256, 1)
    y = a.node("Dropout", y, a.constant(0.5), a.constant(False, np.bool_))
    y = a.conv(a.conv_norm_relu(y, 256, 256, 3), 256, 21, 1, bias=True)
    a.output(resize(y, 8), [1, 21, 8 * inner, 8 * inner])
    return a.model()


def deep(nodes: int) -> onnx.ModelProto:
    """D<nodes>."""
    a = Author(f"deep_{nodes}", 3)
    channels = 8
    image, tokens = a.weight(np.array([1, channels, 8, 8])), a.weight(np.array([1, channels, 64]))
    x = a.input("input", [1, channels, 8, 8])
    while len(a.graph.node) < nodes:
        for _ in range(8):
            y = a.conv_norm(a.conv_norm_relu(x, channels, channels, 3), channels, channels, 3)
            x = a.node("Relu", a.node("Add", y, x))
        y = a.node("Transpose", a.node("Reshape", x, tokens), perm=[0, 2, 1])
        y = a.transformer(y, channels, 2, 2 * channels)
        x = a.node("Reshape", a.node("Transpose", y, perm=[0, 2, 1]), image)
    a.output(x, [1, channels, 8, 8])
    return a.model()


def write_large(path: Path, layers: int = 384, width: int = 1408) -> None:
    """W5, written straight to disk."""
    a = Author("large_weights", 5)
    data = path.with_name(path.name + ".data")
    nbytes = 4 * width * width
    x = a.input("input", [1, 16, width])
    with data.open("wb") as file:
        for layer in range(layers):
            file.write((a.rng.standard_normal((width, width), dtype=np.float32) / np.float32(width**0.5)).tobytes())
            tensor = TensorProto(name=f"layer{layer}", data_type=TensorProto.FLOAT, dims=[width, width])
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", data.name), ("offset", layer * nbytes), ("length", nbytes)):
                tensor.external_data.add(key=key, value=str(value))
            a.graph.initializer.append(tensor)
            x = a.node("Add", a.node("MatMul", x, tensor.name), a.weight(np.zeros(width, np.float32), "bias"))
            x = a.node("Relu", x)
    a.output(x, [1, 16, width])
    path.write_bytes(a.model().SerializeToString())


def write(name: str, folder: Path) -> Path:
    """Make sure that a workload is in a folder; its path.

    Raises:
        ValueError: no workload has that name.
    """
    path = folder / f"{name}.onnx"
    if path.is_file():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    makers = {"W1": resnet50, "W2": bert_base, "W6": deeplab}
    if name == "W5":
        write_large(path)
    elif name in makers:
        path.write_bytes(makers[name]().SerializeToString())
    elif name[:1] == "D" and name[1:].isdigit():
        path.write_bytes(deep(int(name[1:])).SerializeToString())
    else:
        raise ValueError(f"no workload is called {name!r}")
    return path


if __name__ == "__main__":
    for wanted in sys.argv[2:]:
        print(write(wanted, Path(sys.argv[1])))
