"""Where weights come from: a checkpoint, or an ONNX file, published or exported."""
