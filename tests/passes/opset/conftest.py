"""Small models of any opset, run before and after the upgrade."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from coregraft.passes.opset.upgrade_opset import UpgradeOpset
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.onnx_io.load import from_model
from coregraft.rewriter.onnx_io.save import to_model
from coregraft.rewriter.passes import Context

Arrays = Mapping[str, np.ndarray[Any, Any]]


@dataclass
class Model:
    """An op (or a few), what feeds it, and the constants among its operands."""

    opset: int
    nodes: Sequence[onnx.NodeProto]
    feeds: Arrays
    consts: Arrays = field(default_factory=dict)
    outputs: Sequence[str] = ("y",)
    functions: Sequence[onnx.FunctionProto] = ()
    domains: Mapping[str, int] = field(default_factory=dict)

    def proto(self) -> onnx.ModelProto:
        def typed(name: str, array: np.ndarray[Any, Any]) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)

        graph = helper.make_graph(
            list(self.nodes),
            "small",
            [typed(name, array) for name, array in self.feeds.items()],
            [onnx.ValueInfoProto(name=name) for name in self.outputs],
            [numpy_helper.from_array(array, name) for name, array in self.consts.items()],
        )
        imports = [helper.make_opsetid("", self.opset), *(helper.make_opsetid(d, v) for d, v in self.domains.items())]
        model = helper.make_model(graph, opset_imports=imports, functions=list(self.functions))
        model.ir_version = 10
        return model

    def graph(self) -> Graph:
        return from_model(self.proto())


def run(model: onnx.ModelProto, feeds: Arrays) -> list[Any]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, dict(feeds))  # type: ignore[no-any-return]


def upgraded(g: Graph) -> Graph:
    UpgradeOpset().run(g, Context(pass_name="upgrade-opset"))
    return g


@pytest.fixture
def differ() -> Callable[[Model], Graph]:
    """Upgrade a model and hold its results, in onnxruntime, against those of the original: equal bit by bit."""

    def check(model: Model) -> Graph:
        before = run(model.proto(), model.feeds)
        g = upgraded(model.graph())
        assert g.opsets[""] == 24
        after = run(to_model(g), model.feeds)
        for a, b in zip(before, after, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
        return g

    return check
