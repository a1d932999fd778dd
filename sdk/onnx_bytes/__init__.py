"""ONNX files read and rewritten as bytes, without the onnx package."""
