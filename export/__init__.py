"""fiqa-export: from a checkpoint or a published ONNX file to one verified ONNX file that takes images."""
