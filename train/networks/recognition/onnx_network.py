"""Face-recognition networks in ONNX files: they embed faces, and give no gradients."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sdk.errors import InputError, ModelError
from sdk.files import read_file
from sdk.models.card import ModelCard
from sdk.models.loading import LARGEST, Model
from sdk.onnx_bytes.onnx_file import check_onnx
from sdk.onnx_bytes.prelu_cache import without_prelu
from sdk.runtimes.base import MOST_FACES, pad_batch
from sdk.runtimes.onnxruntime import open_session, run_error, tensor_info
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
        self._run = Lazy(partial(_Session, data, path))
        self._run()  # a wrong file is an error here, not at the first face

    def forward(self, faces: Tensor) -> Tensor:
        if faces.requires_grad:
            raise InputError("an ONNX file gives no gradients; give a torch network")
        return torch.from_numpy(self._run()(faces.float().contiguous().numpy()))


class _Session:
    """An open file; see `OnnxNetwork`."""

    def __init__(self, data: bytes, path: Path) -> None:
        try:
            check_onnx(data)
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from error
        model = Model(data, ModelCard("face-recognition"), path)  # open_session takes a model, for its errors
        self._session = open_session(without_prelu(data), model, ["CPUExecutionProvider"])
        inputs = [tensor_info(value) for value in self._session.get_inputs()]
        outputs = [tensor_info(value) for value in self._session.get_outputs()]
        if len(inputs) != 1 or not _fits(inputs[0], (3, 112, 112)):
            raise ModelError(f"{path} takes {_listed(inputs)}; wanted one input, faces float32 (N, 3, 112, 112)")
        if len(outputs) != 1 or not _fits(outputs[0], (None,)):
            raise ModelError(f"{path} gives {_listed(outputs)}; wanted one output, embeddings float32 (N, D)")
        self._input, self._path = inputs[0].name, path
        self._fixed = inputs[0].shape[0] if inputs[0].shape else None
        if self._fixed is not None and not 1 <= self._fixed <= MOST_FACES:
            raise ModelError(f"{path} takes {self._fixed} faces a call, wanted 1 to {MOST_FACES} or any number")

    def __call__(self, faces: NDArray[np.float32]) -> NDArray[np.float32]:
        size = self._fixed or max(len(faces), 1)
        parts = [faces[start : start + size] for start in range(0, len(faces), size)]
        return np.concatenate([self._embed(part, size)[: len(part)] for part in parts])

    def _embed(self, faces: NDArray[np.float32], size: int) -> NDArray[np.float32]:
        try:
            found: NDArray[np.float32] = self._session.run(None, {self._input: pad_batch(faces, size)})[0]
        except Exception as error:  # onnxruntime's errors have no base class of their own
            raise run_error(error, "cpu", len(faces)) from error
        if found.ndim != 2 or len(found) != size:
            raise ModelError(f"{self._path} gives {found.shape} for {size} faces; wanted embeddings ({size}, D)")
        return found


def _fits(tensor: Any, sizes: tuple[int | None, ...]) -> bool:
    """Tell whether a tensor is float32 (N, *sizes). A size that the file leaves open fits any."""
    if tensor.dtype != "float32" or tensor.shape is None:
        return tensor.dtype == "float32"
    pairs = zip(tensor.shape[1:], sizes, strict=False)
    return len(tensor.shape) == len(sizes) + 1 and all(None in pair or pair[0] == pair[1] for pair in pairs)


def _listed(tensors: list[Any]) -> str:
    return " and ".join(map(str, tensors)) or "nothing"
