"""CUDA: the driver, a GPU's memory for engines, and onnxruntime's sessions on a GPU."""
