"""The engine: graph, loading, patterns, driver, passes contract. Knows ONNX and networkx, nothing of Core ML."""
