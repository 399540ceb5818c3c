"""Types of values: inference with symbolic dims, the arithmetic of dims, and fixing them."""

from coregraft.rewriter.shapes.inference import (
    Inference,
    Mismatch,
    common,
    completed,
    infer_op_types,
    infer_shapes,
    propagated_value,
    typed_bodies,
)

__all__ = [
    "Inference",
    "Mismatch",
    "common",
    "completed",
    "infer_op_types",
    "infer_shapes",
    "propagated_value",
    "typed_bodies",
]
