"""Face-recognition models of every kind, with their input."""

from train.networks.recognition.face_input import FaceInput
from train.networks.recognition.models import (
    RecognitionModel,
    device_of,
    fingerprint,
    is_file,
    load_recognition_model,
    placed,
    recognition_names,
)  # fmt: skip
from train.networks.recognition.onnx_network import OnnxNetwork

__all__ = [
    "FaceInput", "OnnxNetwork", "RecognitionModel", "device_of", "fingerprint", "is_file", "load_recognition_model",
    "placed", "recognition_names",
]  # fmt: skip
