"""Models with ops that Core ML lacks, in different places, and the same models in standard ops.

Each is written in standard ops; some of their types then become ops of a domain that nobody knows, with the NumPy
function of the standard op as reference. So onnxruntime, on the standard model, says what is right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from coregraft.rewriter.types import Array

DOMAIN = "com.acme"
OPSET = 17


def _argmax(xs: Any, attrs: Mapping[str, Any]) -> list[Array]:
    return [np.argmax(xs[0], axis=attrs["axis"], keepdims=bool(attrs["keepdims"])).astype(np.int64)]


def _prelu(xs: Any, _: Mapping[str, Any]) -> list[Array]:
    return [np.where(xs[0] < 0, xs[0] * xs[1], xs[0])]


REFERENCES: dict[tuple[str, str], Any] = {
    (DOMAIN, "Sin"): lambda xs, _: [np.sin(xs[0])],
    (DOMAIN, "Split"): lambda xs, attrs: np.split(xs[0], 2, axis=attrs["axis"]),
    (DOMAIN, "PRelu"): _prelu,
    (DOMAIN, "ArgMax"): _argmax,
    (DOMAIN, "Not"): lambda xs, _: [~xs[0]],
}


@dataclass(frozen=True)
class Case:
    """A model: its text (inputs called ``w…`` become random weights), and which op types nobody knows."""

    name: str
    text: str
    unknown: tuple[str, ...] = ("Sin",)
    dims: Mapping[str, int] = field(default_factory=dict)

    def standard(self) -> onnx.ModelProto:
        header = f'<ir_version: 8, opset_import: ["" : {OPSET}]>\n'
        model = onnx.parser.parse_model(header + self.text)
        rng = np.random.default_rng(0)
        for value in [i for i in model.graph.input if i.name.startswith("w")]:
            shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
            weights = (rng.standard_normal(shape) / 2).astype(np.float32)
            model.graph.initializer.append(onnx.numpy_helper.from_array(weights, value.name))
            model.graph.input.remove(value)
        return onnx.shape_inference.infer_shapes(model, strict_mode=True)

    def model(self) -> onnx.ModelProto:
        model = self.standard()
        model.opset_import.add(domain=DOMAIN, version=1)
        _rename(model.graph, self.unknown)
        return model

    def feeds(self, seed: int = 0) -> dict[str, Array]:
        rng = np.random.default_rng(seed)
        found: dict[str, Array] = {}
        for value in self.standard().graph.input:
            kind = value.type.tensor_type
            shape = [d.dim_value or self.dims[d.dim_param] for d in kind.shape.dim]
            if kind.elem_type == onnx.TensorProto.BOOL:
                found[value.name] = rng.random(shape) < 0.5
            else:
                found[value.name] = rng.standard_normal(shape).astype(np.float32)
        return found

    def truth(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """What onnxruntime makes of the standard model."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        session = ort.InferenceSession(
            self.standard().SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        names = [o.name for o in session.get_outputs()]
        return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def _rename(graph: onnx.GraphProto, types: tuple[str, ...]) -> None:
    for node in graph.node:
        if node.op_type in types:
            node.domain = DOMAIN
            node.name = f"my_{node.op_type}_{node.output[0]}"
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _rename(attribute.g, types)


CASES = [
    Case(
        "first",
        """g (float[2,8] x, float[8,8] w) => (float[2,8] y) { a = Sin(x) b = MatMul(a, w) y = Relu(b) }""",
    ),
    Case(
        "last",
        """g (float[2,8] x, float[8,8] w) => (float[2,8] y) { a = MatMul(x, w) b = Relu(a) y = Sin(b) }""",
    ),
    Case(
        "residual",
        """g (float[2,8] x, float[8,8] w) => (float[2,8] y) {
            a = MatMul(x, w) b = Relu(a) c = Sin(b) d = Add(c, a) y = MatMul(d, w) }""",
    ),
    Case(
        "twice",
        """g (float[2,8] x, float[8,8] w1, float[8,8] w2, float[8,8] w3) => (float[2,8] y) {
            a = MatMul(x, w1) b = Sin(a) c = MatMul(b, w2) d = Relu(c) e = Sin(d) f = Add(e, c) y = MatMul(f, w3) }""",
    ),
    Case(
        "in_an_if",
        """g (float[2,8] x, bool[1] flag, float[8,8] w) => (float[2,8] y) {
            a = MatMul(x, w)
            b = If(flag) <
                then_branch = yes () => (float[2,8] t) { s = Sin(a) t = Neg(s) },
                else_branch = no () => (float[2,8] e) { e = Relu(a) }>
            y = Add(b, a) }""",
    ),
    Case(
        "several_outputs",
        """g (float[2,8] x, float[8,8] w, float[4,8] w2) => (float[2,8] y) {
            a = MatMul(x, w) p, q = Split<axis = 1>(a) r = Tanh(p) s = Mul(r, q) y = MatMul(s, w2) }""",
        ("Split",),
    ),
    Case(
        "with_weights",
        """g (float[2,8] x, float[8,8] w, float[8] w_slope) => (float[2,8] y) {
            a = MatMul(x, w) b = PRelu(a, w_slope) y = Tanh(b) }""",
        ("PRelu",),
    ),
    Case(
        "integer_output",
        """g (float[2,8] x, float[8,8] w, float[8,4] w_table) => (float[2,4] y, int64[2] best) {
            a = MatMul(x, w) best = ArgMax<axis = 1, keepdims = 0>(a) y = Gather(w_table, best) }""",
        ("ArgMax",),
    ),
    Case(
        "dynamic_batch",
        """g (float[N,8] x, float[8,8] w) => (float[N,8] y) {
            a = MatMul(x, w) b = Sin(a) c = Add(b, x) y = Relu(c) }""",
        dims={"N": 3},
    ),
    Case(
        "shared",
        """g (float[2,8] x, float[8,8] w1, float[8,8] w2) => (float[2,8] y, float[2,8] z) {
            a = MatMul(x, w1) b = Sin(a) c = MatMul(b, w1) d = MatMul(b, w2) y = Add(c, d) z = Relu(b) }""",
    ),
    Case(
        "boolean_values",
        """g (float[2,8] x, float[2,8] u) => (float[2,8] y) { a = Less(x, u) b = Not(a) y = Where(b, x, u) }""",
        ("Not",),
    ),
]
