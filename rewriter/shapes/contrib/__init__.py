"""Result types of the ops that onnxruntime added to ONNX, domain ``com.microsoft``."""

from coregraft.rewriter.shapes.contrib import attention, compute, quantized

__all__ = ["attention", "compute", "quantized"]
