"""coregraft: a linter and compiler that takes ONNX models to Core ML."""
