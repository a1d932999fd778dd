"""Face-recognition models: torch networks and ONNX files, with their normalisation."""

from train.networks.recognition.models import RecognitionModel, device_of, fingerprint, load_recognition_model
from train.networks.recognition.onnx_network import OnnxNetwork, is_onnx

__all__ = ["OnnxNetwork", "RecognitionModel", "device_of", "fingerprint", "is_onnx", "load_recognition_model"]
