"""The ONNX graph: from torch, its front end, and its precision."""
