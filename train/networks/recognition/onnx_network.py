"""Face-recognition networks in ONNX files, run by onnxruntime: they embed faces, and give no gradients."""

from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from sdk.calibrating.embedding_session import EmbeddingSession
from sdk.errors import InputError
from sdk.models.card import InputSpec
from sdk.models.loading import Model
from train.lazy import Lazy


class OnnxNetwork(nn.Module):
    """A network in an ONNX file: faces as the file takes them -> embeddings, float32 (N, D).

    Several threads may call it at once; on the CPU each call uses one core. A pickled copy opens the file's content
    again. Faces and embeddings are tensors on the CPU, whatever the device.

    Args:
        model: See `sdk.calibrating.embedding_session.read_recognition`. A fixed batch size will do.

    Attributes:
        input: How the file takes faces, see `EmbeddingSession.input`.
        sides: Height and width that the file fixes, see `EmbeddingSession.sides`.

    Raises:
        ModelError: The file cannot be loaded, or has other inputs or outputs than a face-recognition model.
    """

    content: Tensor
    """The file's bytes. As a buffer, they are a part of the fingerprint of a network."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.register_buffer("content", torch.frombuffer(bytearray(model.data), dtype=torch.uint8))
        self._model = model
        self.use("cpu")  # a wrong file is an error here, not at the first face
        self.input: InputSpec = self._session().input
        self.sides = self._session().sides

    def use(self, device: str) -> None:
        """Run on a device: `auto`, `cpu`, `cuda`, `cuda:1`.

        Raises:
            DeviceError: It is not there.
        """
        self._session = Lazy(partial(EmbeddingSession, self._model, device))
        self._session()

    def forward(self, faces: Tensor) -> Tensor:
        if faces.requires_grad:
            raise InputError("onnxruntime gives no gradients; load the model with gradients=True")
        dtype = np.uint8 if self.input.dtype == "uint8" else np.float32
        return torch.from_numpy(self._session().run(faces.contiguous().numpy().astype(dtype, copy=False)))
