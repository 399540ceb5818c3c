"""Operators that onnxruntime added to ONNX (domain ``com.microsoft``), written in ONNX's own."""
