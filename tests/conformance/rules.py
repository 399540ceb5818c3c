"""Which of ONNX's backend tests apply to Core ML at all, and what puts one out of reach; both as lists of rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from coregraft.rewriter.types import Array, DType

#: Results drawn at random have nothing to be compared with.
RANDOM_OPS = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
)
#: Element types Core ML cannot take, and which no cast at the border stands in for.
EXCLUDED_TYPES = {
    DType.STRING: "string", DType.COMPLEX64: "complex", DType.COMPLEX128: "complex", DType.BFLOAT16: "bfloat16",
    DType.FLOAT8E4M3FN: "float8", DType.FLOAT8E4M3FNUZ: "float8", DType.FLOAT8E5M2: "float8",
    DType.FLOAT8E5M2FNUZ: "float8", DType.FLOAT8E8M0: "float8", DType.FLOAT4E2M1: "float4",
    DType.INT4: "int4", DType.UINT4: "int4", DType.INT2: "int2", DType.UINT2: "int2",
}  # fmt: skip
#: Ops that make a tensor of the element type that one of these attributes names.
_TYPED_OPS = frozenset(
    {"Cast", "QuantizeLinear", "DequantizeLinear", "EyeLike", "BitCast", "BlackmanWindow", "HannWindow",
     "HammingWindow", "MelWeightMatrix"}
)  # fmt: skip
_TYPE_ATTRS = frozenset({"to", "dtype", "output_dtype", "output_datatype"})
_MAX_RANK = 5


def graphs(graph: Any) -> Iterator[Any]:
    """A ``GraphProto`` and the bodies inside it."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs:
                yield from graphs(body)


def nodes(model: Any) -> Iterator[Any]:
    """Every node of a model: bodies and functions included."""
    for graph in graphs(model.graph):
        yield from graph.node
    for function in model.functions:
        yield from function.node


def free_inputs(model: Any) -> list[Any]:
    """The inputs that have to be fed."""
    held = {tensor.name for tensor in model.graph.initializer}
    return [info for info in model.graph.input if info.name not in held]


def not_applicable(model: Any, feeds: Mapping[str, Array]) -> str | None:
    """The rule that excludes a case; None when it applies."""
    return next((rule for check in _RULES if (rule := check(model, feeds)) is not None), None)


def out_of_reach(arrays: Sequence[Array]) -> str | None:
    """What in the tensors at the border puts an applicable case out of reach; None when nothing does."""
    if any(a.size == 0 for a in arrays):
        return "empty-tensor"
    if any(a.ndim > _MAX_RANK for a in arrays):
        return "rank"
    limits = np.iinfo(np.int32)
    if any(a.dtype.kind in "iu" and not (limits.min <= int(a.min()) <= int(a.max()) <= limits.max) for a in arrays):
        return "beyond-int32"
    return None


def _border_kind(model: Any, _: Mapping[str, Array]) -> str | None:
    for info in (*free_inputs(model), *model.graph.output):
        kind = info.type.WhichOneof("value")
        if kind != "tensor_type":
            return f"boundary:{str(kind).removesuffix('_type')}"
    return None


def _border_type(model: Any, _: Mapping[str, Array]) -> str | None:
    kinds = (info.type.tensor_type.elem_type for info in (*free_inputs(model), *model.graph.output))
    return next((_excluded(kind) for kind in kinds if _excluded(kind)), None)


def _domain(model: Any, _: Mapping[str, Array]) -> str | None:
    for node in nodes(model):
        if node.domain == "ai.onnx.ml":
            return "domain:ai.onnx.ml"
        if node.domain.startswith(("ai.onnx.preview.training", "ai.onnx.training")):
            return "domain:training"
    return None


def _at_random(model: Any, feeds: Mapping[str, Array]) -> str | None:
    for node in nodes(model):
        if node.op_type in RANDOM_OPS:
            return "random-op"
        if node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]:
            known = _Known(model, feeds)
            training, ratio = known(node.input[2]), known(node.input[1]) if node.input[1] else np.float32(0.5)
            if training is not None and bool(training) and (ratio is None or float(ratio) != 0):
                return "random-op"
    return None


def _inner_type(model: Any, _: Mapping[str, Array]) -> str | None:
    held = [tensor.data_type for graph in graphs(model.graph) for tensor in graph.initializer]
    for node in nodes(model):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                held.append(attribute.t.data_type)
            elif attribute.name in _TYPE_ATTRS and node.op_type in _TYPED_OPS:
                held.append(attribute.i)
    return next((_excluded(kind) for kind in held if _excluded(kind)), None)


def _excluded(kind: int) -> str | None:
    found = EXCLUDED_TYPES.get(DType(kind))
    return f"dtype:{found}" if found else None


class _Known:
    """Values of a model that are fed or held by it."""

    def __init__(self, model: Any, feeds: Mapping[str, Array]) -> None:
        self._held = {t.name: t for t in model.graph.initializer}
        for node in model.graph.node:
            for attribute in node.attribute if node.op_type == "Constant" else ():
                self._held[node.output[0]] = attribute.t
        self._feeds = feeds

    def __call__(self, name: str) -> Array | None:
        from onnx import numpy_helper

        if name in self._feeds:
            return self._feeds[name]
        return numpy_helper.to_array(self._held[name]) if name in self._held else None


_RULES: tuple[Callable[[Any, Mapping[str, Array]], str | None], ...] = (
    _border_kind, _border_type, _domain, _at_random, _inner_type,
)  # fmt: skip
