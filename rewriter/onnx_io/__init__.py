"""ONNX files and texts: loading with weights left in the file, saving, graphsurgeon exchange, the text form."""
