"""ONNX files as bytes: read, check and rewrite them without the onnx package."""
