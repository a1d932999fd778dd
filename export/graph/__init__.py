"""The ONNX graph: made from torch, given a front end, and brought to a precision."""
