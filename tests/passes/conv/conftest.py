"""Running a graph, and rewriting one, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from coregraft.rewriter.contract import Context, Pass
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.onnx_io.load import load
from coregraft.rewriter.onnx_io.save import to_model
from coregraft.rewriter.opset import INTERNAL_OPSET
from coregraft.rewriter.shapes import infer_shapes
from coregraft.rewriter.types import Array

Run = Callable[[Graph | onnx.ModelProto, Mapping[str, Array]], list[Array]]


def _run(model: Graph | onnx.ModelProto, feeds: Mapping[str, Array]) -> list[Array]:
    import onnxruntime as ort

    proto = to_model(model) if isinstance(model, Graph) else model
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, dict(feeds))  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def run() -> Run:
    """Outputs of a graph or model by onnxruntime, one thread, without its optimisations."""
    return _run


def _single(
    op_type: str,
    inputs: Mapping[str, Sequence[Any] | Array],
    dtype: Any = np.float32,
    outputs: int = 1,
    **attrs: Any,
) -> Graph:
    node = helper.make_node(op_type, list(inputs), [f"y{i}" for i in range(outputs)], name="node", **attrs)
    elem = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    fed = [helper.make_tensor_value_info(n, elem, s) for n, s in inputs.items() if n and not isinstance(s, np.ndarray)]
    consts = [numpy_helper.from_array(a, n) for n, a in inputs.items() if isinstance(a, np.ndarray)]
    results = [helper.make_tensor_value_info(f"y{i}", elem, None) for i in range(outputs)]
    graph = helper.make_graph([node], "g", fed, results, consts)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", INTERNAL_OPSET)], ir_version=10)
    g = load(model)
    infer_shapes(g)
    return g


@pytest.fixture(scope="session")
def single() -> Callable[..., Graph]:
    """A graph of one op: ``single("Conv", {"x": [1, 2, 8], "w": array}, pads=[1, 1])``; arrays are constants."""
    return _single


def _rewrite(g: Graph, *passes: Pass) -> tuple[Graph, Context]:
    after: Graph = g.copy()
    ctx = Context(checked=True)
    for p in passes:
        ctx.pass_name = p.name
        p.run(after, ctx)
    return after, ctx


@pytest.fixture(scope="session")
def rewrite() -> Callable[..., tuple[Graph, Context]]:
    """A copy of a graph after passes, and the context with their statistics."""
    return _rewrite
