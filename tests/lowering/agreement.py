"""A one-op case through its emitter against onnxruntime: what the program computes, and the ops it is made of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from coregraft.rewriter.opset import INTERNAL_OPSET
from coregraft.rewriter.types import Array, DType
from tests.lowering.fold_harness import Case, lowered, ran


def by_runtime(c: Case) -> Case:
    """The case with the results that onnxruntime gives for it."""
    import onnxruntime as ort
    from onnx import ValueInfoProto, helper

    names = [f"x{i}" if a is not None else "" for i, a in enumerate(c.operands)]
    feeds = {n: a for n, a in zip(names, c.operands, strict=True) if a is not None}
    infos = [helper.make_tensor_value_info(n, int(DType.of(a.dtype)), a.shape) for n, a in feeds.items()]
    results = [f"y{i}" for i in range(c.outputs)]
    outs = [ValueInfoProto(name=n) for n in results]
    node = helper.make_node(c.type, names, results, **c.attrs)
    opsets = [helper.make_opsetid("", INTERNAL_OPSET)]
    model = helper.make_model(helper.make_graph([node], "one_op", infos, outs), opset_imports=opsets, ir_version=10)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return replace(c, want=tuple(np.asarray(r) for r in session.run(None, feeds)))


def agree(c: Case, target: str = "iOS17", *, rtol: float = 1e-4, atol: float = 1e-5) -> list[str]:
    """Assert that the program computes what onnxruntime, or the case, says; returns the MIL ops it is made of."""
    c = c if c.want is not None else by_runtime(c)
    assert c.want is not None
    for found, want in zip(ran(c, target), c.want, strict=True):
        _assert_close(found, want, rtol, atol)
    return inner_ops(c, target)


def inner_ops(c: Case, target: str = "iOS17") -> list[str]:
    """The MIL ops of the program in order, constants left out, and the op that only names an output."""
    from tests.lowering.mil_numpy import op_types

    return op_types(lowered(c, target).program)


def mil_op(c: Case, op_type: str, target: str = "iOS17") -> Any:
    """The first MIL op of a type in the program of a case that states its results."""
    from tests.lowering.mil_numpy import find_ops

    return find_ops(lowered(c, target).program, op_type)[0]


def _assert_close(found: Array, want: Array, rtol: float, atol: float) -> None:
    assert found.shape == want.shape
    if want.dtype.kind != "f":
        np.testing.assert_array_equal(found.astype(np.int64), want.astype(np.int64))
        return
    if want.dtype == np.float16:
        rtol, atol = 2e-2, 1e-2
    np.testing.assert_allclose(found.astype(np.float64), want.astype(np.float64), rtol=rtol, atol=atol)
