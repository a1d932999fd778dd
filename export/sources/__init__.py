"""Readers of weights: from a checkpoint, or from an ONNX file, published or exported."""
