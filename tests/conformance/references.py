"""What a model gives by onnxruntime, or by onnx's own evaluator where that cannot run it."""

from __future__ import annotations

from typing import Any

import numpy as np

from coregraft.rewriter.types import Array


def reference(model: Any, feeds: dict[str, Array]) -> list[Array] | None:
    """What onnxruntime gives, else onnx's evaluator; None where neither can run the model."""
    for run in (by_runtime, by_evaluator):
        try:
            with np.errstate(all="ignore"):
                return [np.asarray(a) for a in run(model, feeds)]
        except Exception:  # noqa: BLE001  # whatever a reference raises, it cannot run the model
            continue
    return None


def by_runtime(model: Any, feeds: dict[str, Array]) -> list[Array]:
    """What onnxruntime gives, its own rewrites off; it raises what it likes."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


def by_evaluator(model: Any, feeds: dict[str, Array]) -> list[Array]:
    """What onnx's evaluator gives; it raises what it likes, and TypeError where the op has no result of that type."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    found = [np.asarray(a) for a in ReferenceEvaluator(model).run(None, feeds)]
    for result, info in zip(found, onnx.shape_inference.infer_shapes(model).graph.output, strict=True):
        kind = info.type.tensor_type.elem_type
        if kind and onnx.helper.tensor_dtype_to_np_dtype(kind) != result.dtype:
            raise TypeError(f"{info.name} is {result.dtype}")
    return found
