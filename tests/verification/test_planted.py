"""Planted miscompilations: each is one that a converter has made or could make; verify sees it, drift names the op.

A fault is put into coremltools' builder: the arguments of a MIL op are changed on their way in, behind the back of the
emitters. Shapes stay right, since a wrong shape would be refused long before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import coregraft
from coregraft.rewriter.manager import PassManager
from coregraft.rewriter.onnx_io.text import parse
from coregraft.verification.failures import reduce_conversion
from coregraft.verification.inputs import draw
from coregraft.verification.verify import verify

#: Changes a MIL op: the builder's own function and the arguments it was to get, to what is emitted instead.
Plant = Callable[[Callable[..., Any], dict[str, Any]], Any]


@dataclass(frozen=True)
class Fault:
    """A miscompilation of one MIL op in a small model, in which the op it comes from is called ``guilty``."""

    title: str
    model: str
    mil: str
    plant: Plant
    precision: str = "fp32"


def using(**changed: Any) -> Plant:
    """The op with other arguments; a function is given the old value."""

    def plant(emit: Callable[..., Any], given: dict[str, Any]) -> Any:
        new = {key: value(given[key]) if callable(value) else value for key, value in changed.items()}
        return emit(**{**given, **new})

    return plant


def swapped(a: str, b: str) -> Plant:
    return lambda emit, given: emit(**{**given, a: given[b], b: given[a]})


def without(key: str) -> Plant:
    return lambda emit, given: emit(**{k: v for k, v in given.items() if k != key})


def wrong_concat_axis(emit: Callable[..., Any], given: dict[str, Any]) -> Any:
    from coremltools.converters.mil.mil import Builder

    joined = emit(**{k: v for k, v in given.items() if k != "name"} | {"axis": 1})
    return Builder.reshape(x=joined, shape=np.array([2, 3, 8], np.int32), name=given["name"])


def wrong_pool_rounding(emit: Callable[..., Any], given: dict[str, Any]) -> Any:
    """The window that ceil_mode adds sits at the front."""
    pad = np.asarray(given["pad"])
    return emit(**{**given, "pad": pad.reshape(-1, 2)[:, ::-1].ravel()})


def nearest(emit: Callable[..., Any], given: dict[str, Any]) -> Any:
    from coremltools.converters.mil.mil import Builder

    factors = {f"scale_factor_{axis}": 2.0 for axis in ("height", "width")}
    return Builder.upsample_nearest_neighbor(x=given["x"], name=given["name"], **factors)


def rolled(array: Any) -> Any:
    return np.roll(array, 4, axis=0)


def flat(text: str) -> str:
    return f"input x: float[2,3,4]\na = Relu(x) @before\n{text}\ny = Tanh(b) @after\noutput y\n"


def image(text: str, size: int = 7) -> str:
    return f"input x: float[1,3,{size},{size}]\na = Tanh(x) @before\n{text}\ny = Sigmoid(b) @after\noutput y\n"


CONV = "const w: float[4,3,3,3] = normal(seed=1, scale=0.3)\nconst bias: float[4] = normal(seed=2)\n"
LSTM = """input x: float[5,2,3]
const w: float[1,16,3] = normal(seed=1)
const r: float[1,16,4] = normal(seed=2)
const bias: float[1,32] = normal(seed=3)
a = Tanh(x) @before
b = LSTM(a, w, r, bias, hidden_size=4) @guilty
y = Sigmoid(b) @after
output y
"""

FAULTS = (
    Fault("swapped operands", flat("c = Exp(a)\nb = Sub(a, c) @guilty"), "sub", swapped("x", "y")),
    Fault("wrong concat axis", flat("c = Neg(a)\nb = Concat(a, c, axis=2) @guilty"), "concat", wrong_concat_axis),
    Fault("wrong softmax axis", flat("b = Softmax(a, axis=1) @guilty"), "softmax", using(axis=2)),
    Fault("wrong reduce axis", "input x: float[4,4]\na = Exp(x)\nb = ReduceMean(a, [1], keepdims=0) @guilty\n"
          "y = Tanh(b)\noutput y\n", "reduce_mean", using(axes=np.array([0], np.int32))),
    Fault("wrong leaky slope", flat("c = Sub(x, a)\nb = LeakyRelu(c, alpha=0.1) @guilty"), "leaky_relu",
          using(alpha=np.float32(0.01))),
    Fault("missing clip bound", flat("c = Add(x, a)\nb = Clip(c, -0.5, 0.5) @guilty"), "clip",
          using(beta=np.float32(np.inf))),
    Fault("tanh gelu as exact", flat('b = Gelu(x, approximate="tanh") @guilty'), "gelu", using(mode="EXACT")),
    Fault("wrong epsilon", flat("const g: float[4] = ones()\nc = Mul(a, 0.1)\n"
          "b = LayerNormalization(c, g, epsilon=1e-05) @guilty"), "layer_norm", using(epsilon=np.float32(1e-3))),
    Fault("gather off by one", flat("b = Gather(a, [0, 1, 2, 1], axis=2) @guilty"), "gather",
          using(indices=lambda i: np.asarray(getattr(i, "val", i)) + 1)),
    Fault("wrong slice begin", flat("b = Slice(a, [0], [2], [2], [1]) @guilty"), "slice_by_index",
          using(begin=np.array([0, 0, 1], np.int32), end=np.array([2, 3, 3], np.int32))),
    Fault("wrong transpose", "input x: float[3,3]\na = Exp(x)\nb = Transpose(a, perm=[1, 0]) @guilty\nc = Cos(b)\n"
          "y = MatMul(c, x)\noutput y\n", "transpose", using(perm=np.array([0, 1], np.int32))),
    Fault("transposed square weight", "input x: float[2,4]\nconst w: float[4,4] = normal(seed=1)\n"
          "const bias: float[4] = normal(seed=2)\na = Tanh(x)\nb = Gemm(a, w, bias, transB=1) @guilty\ny = Relu(b)\n"
          "output y\n", "linear", using(weight=lambda w: np.asarray(getattr(w, "val", w)).T.copy())),
    Fault("lost dilation", image(CONV + "b = Conv(a, w, bias, dilations=[2, 2], pads=[2, 2, 2, 2]) @guilty"), "conv",
          using(dilations=np.array([1, 1], np.int32), pad=np.array([1, 1, 1, 1], np.int32))),
    Fault("wrong pad side", image(CONV + "b = Conv(a, w, bias, pads=[2, 2, 0, 0]) @guilty"), "conv",
          using(pad=np.array([0, 2, 0, 2], np.int32))),
    Fault("dropped bias", image(CONV + "b = Conv(a, w, bias) @guilty"), "conv", without("bias")),
    Fault("mean and shift swapped", "input x: float[1,3,4,4]\nconst s: float[3] = uniform(seed=1, low=1.0, high=2.0)\n"
          "const m: float[3] = normal(seed=2)\na = MaxPool(x, kernel_shape=[2, 2])\n"
          "b = BatchNormalization(a, s, m, s, s) @guilty\nc = Sin(b)\ny = Relu(c)\noutput y\n", "batch_norm",
          swapped("mean", "beta")),
    Fault("padding counted", image("b = AveragePool(a, kernel_shape=[3, 3], pads=[1, 1, 1, 1]) @guilty"), "avg_pool",
          using(exclude_padding_from_average=False)),
    Fault("ceil_mode at the front", image("b = MaxPool(a, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1) @guilty"),
          "max_pool", wrong_pool_rounding),
    Fault("wrong gate order", LSTM, "lstm", using(weight_ih=rolled)),
    Fault("wrong resize mode", image('b = Resize(a, _, [1.0, 1.0, 2.0, 2.0], mode="linear", '
          'coordinate_transformation_mode="half_pixel") @guilty', 4), "resize_bilinear", nearest),
    Fault("comparison with the wrong bound", flat("c = GreaterOrEqual(a, 0.0) @mask\nb = Where(c, x, 2.0) @guilty"),
          "select", swapped("a", "b")),
    Fault("wrong epsilon in fp16", flat("const g: float[4] = ones()\nc = Mul(a, 0.1)\n"
          "b = LayerNormalization(c, g, epsilon=1e-05) @guilty"), "layer_norm", using(epsilon=np.float16(1e-2)),
          "fp16"),
)  # fmt: skip


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Fault], None]]:
    fired = []

    def do(fault: Fault) -> None:
        from coremltools.converters.mil.mil import Builder

        emit = getattr(Builder, fault.mil)

        def planted(**given: Any) -> Any:
            fired.append(fault)
            return fault.plant(emit, given)

        monkeypatch.setattr(Builder, fault.mil, staticmethod(planted))

    yield do
    assert fired, "the op of the fault is not emitted at all"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.title)
def test_caught_and_located(fault: Fault, plant: Callable[[Fault], None], tmp_path: Path) -> None:
    graph = parse(fault.model)
    good, bad = tmp_path / "good.mlpackage", tmp_path / "bad.mlpackage"
    coregraft.convert(graph, precision=fault.precision).save(good)  # type: ignore[arg-type]
    sound = verify(graph, good)
    assert sound.ok, sound.outputs
    assert sound.drift is not None and sound.drift.first is None and sound.drift.layers

    plant(fault)
    coregraft.convert(graph, precision=fault.precision).save(bad)  # type: ignore[arg-type]
    found = verify(graph, bad)
    assert not found.ok
    assert found.drift is not None and found.drift.first is not None
    assert '"guilty"' in found.drift.first.op


@pytest.mark.parametrize("title", ["swapped operands", "wrong epsilon", "lost dilation", "wrong gate order"])
def test_reduced_to_the_op(title: str, plant: Callable[[Fault], None]) -> None:
    fault = next(f for f in FAULTS if f.title == title)
    graph = PassManager("upgrade-opset,infer-shapes").run(parse(fault.model)).graph
    plant(fault)
    reduced = reduce_conversion(graph, draw(graph), {"precision": fault.precision})
    assert len(reduced.ops) == 1 and '"guilty"' in reduced.ops[0]
