"""Files for other engines: OpenVINO, TensorRT and TensorRT-RTX."""
