"""Face-recognition networks in ONNX files: they embed faces, and give no gradients."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sdk.calibrating.embedding_session import EmbeddingSession, listed
from sdk.errors import InputError, ModelError
from sdk.files import read_file
from sdk.models.loading import LARGEST
from train.lazy import Lazy


def is_onnx(name: str) -> bool:
    """Tell whether the name of a face-recognition model is that of an ONNX file."""
    return name.lower().endswith(".onnx")


class OnnxNetwork(nn.Module):
    """A network in an ONNX file: normalised RGB faces, float32 (N, 3, 112, 112) -> embeddings, float32 (N, D).

    onnxruntime runs it on the CPU. Several threads may call it at once; each call uses one core. A pickled copy opens
    the file's content again.

    Args:
        path: The file, with one input and one output of these types and shapes. A fixed batch size will do.

    Raises:
        ModelError: The file cannot be read, is not safe to load (see `check_onnx`), or has other inputs or outputs.
    """

    content: Tensor
    """The file's bytes. As a buffer, they are a part of the fingerprint of a network."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        data = read_file(path, ModelError, "give the .onnx file of a face-recognition model", LARGEST)
        self.register_buffer("content", torch.frombuffer(bytearray(data), dtype=torch.uint8))
        self._session = Lazy(partial(_session, data, path))
        self._session()  # a wrong file is an error here, not at the first face

    def forward(self, faces: Tensor) -> Tensor:
        if faces.requires_grad:
            raise InputError("an ONNX file gives no gradients; give a torch network")
        return torch.from_numpy(self._session().run(faces.float().contiguous().numpy()))


def _session(data: bytes, path: Path) -> EmbeddingSession:
    """Open a file; see `OnnxNetwork`."""
    session = EmbeddingSession(data, path)
    inputs, outputs = session.inputs, session.outputs
    if len(inputs) != 1 or not _fits(inputs[0], (3, 112, 112)):
        raise ModelError(f"{path} takes {listed(inputs)}; wanted one input, faces float32 (N, 3, 112, 112)")
    if len(outputs) != 1 or not _fits(outputs[0], (None,)):
        raise ModelError(f"{path} gives {listed(outputs)}; wanted one output, embeddings float32 (N, D)")
    return session


def _fits(tensor: Any, sizes: tuple[int | None, ...]) -> bool:
    """Tell whether a tensor is float32 (N, *sizes). A size that the file leaves open fits any."""
    if tensor.dtype != "float32" or tensor.shape is None:
        return tensor.dtype == "float32"
    pairs = zip(tensor.shape[1:], sizes, strict=False)
    return len(tensor.shape) == len(sizes) + 1 and all(None in pair or pair[0] == pair[1] for pair in pairs)
