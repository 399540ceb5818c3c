"""Small ONNX models made of protobuf messages, for what the text form cannot say."""

from __future__ import annotations

from collections.abc import Callable

import onnx
import pytest
from onnx import TensorProto, helper
from onnx.external_data_helper import set_external_data

from coregraft.rewriter.errors import CoregraftError, InputError


def info(name: str, shape: list[int | str | None] | None = None, dtype: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape or [2])


def model_of(
    nodes: list[onnx.NodeProto],
    inputs: list[str] = ["x"],  # noqa: B006
    outputs: list[str] = ["y"],  # noqa: B006
    initializers: list[TensorProto] = [],  # noqa: B006
    opsets: dict[str, int] | None = None,
) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "g", [info(i) for i in inputs], [info(o) for o in outputs], initializers)
    imports = [helper.make_opsetid(d, v) for d, v in (opsets or {"": 24}).items()]
    return helper.make_model(graph, opset_imports=imports)


def external(name: str, location: str, **place: int) -> TensorProto:
    tensor = TensorProto(name=name, dims=[2], data_type=TensorProto.FLOAT, raw_data=b"")
    set_external_data(tensor, location, **place)  # type: ignore[arg-type]
    tensor.ClearField("raw_data")
    return tensor


def code_of(action: Callable[[], object]) -> str:
    with pytest.raises(CoregraftError) as caught:
        action()
    assert isinstance(caught.value, InputError)
    return caught.value.code


RELU = helper.make_node("Relu", ["x"], ["y"])
ADD = helper.make_node("Add", ["x", "w"], ["y"])
