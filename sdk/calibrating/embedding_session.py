"""A face-recognition network in an ONNX file, opened on the CPU: what `Judge` and training share."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdk.errors import ModelError
from sdk.models.card import ModelCard
from sdk.models.loading import Model
from sdk.onnx_bytes.onnx_file import check_onnx
from sdk.onnx_bytes.prelu_cache import without_prelu
from sdk.runtimes.base import MOST_FACES, TensorInfo, pad_batch
from sdk.runtimes.onnxruntime import open_session, run_error, tensor_info


class EmbeddingSession:
    """An open file. Several threads may run it at once; each call uses one core.

    The caller checks `inputs` and `outputs`: one each.

    Args:
        data: Content of the file.
        path: The file, for errors.

    Attributes:
        inputs: What it takes.
        outputs: What it gives.

    Raises:
        ModelError: The file is not safe to load (see `check_onnx`), cannot be loaded, or takes another number of faces.
    """

    def __init__(self, data: bytes, path: Path) -> None:
        try:
            check_onnx(data)
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from error
        model = Model(data, ModelCard("face-recognition"), path)  # open_session takes a model, for its errors
        self._session, self._path = open_session(without_prelu(data), model, ["CPUExecutionProvider"]), path
        self.inputs: list[TensorInfo] = [tensor_info(value) for value in self._session.get_inputs()]
        self.outputs: list[TensorInfo] = [tensor_info(value) for value in self._session.get_outputs()]
        self._fixed = self.inputs[0].shape[0] if self.inputs and self.inputs[0].shape else None
        if self._fixed is not None and not 1 <= self._fixed <= MOST_FACES:
            raise ModelError(f"{path} takes {self._fixed} faces a call, wanted 1 to {MOST_FACES} or any number")

    def run(self, faces: NDArray[Any]) -> NDArray[np.float32]:
        """Embed faces (N, ...), as the file takes them: (N, D). A fixed batch size is filled up.

        Raises:
            ModelError: The network fails, or gives something else.
        """
        size = self._fixed or max(len(faces), 1)
        parts = [faces[start : start + size] for start in range(0, len(faces), size)]
        return np.concatenate([self._embed(part, size)[: len(part)] for part in parts])

    def _embed(self, faces: NDArray[Any], size: int) -> NDArray[np.float32]:
        try:
            found: NDArray[np.float32] = self._session.run(None, {self.inputs[0].name: pad_batch(faces, size)})[0]
        except Exception as error:  # onnxruntime's errors have no base class of their own
            raise run_error(error, "cpu", len(faces)) from error
        if found.ndim != 2 or len(found) != size:
            raise ModelError(f"{self._path} gives {found.shape} for {size} faces; wanted embeddings ({size}, D)")
        return found


def listed(tensors: list[TensorInfo]) -> str:
    """Name inputs or outputs in an error."""
    return " and ".join(map(str, tensors)) or "nothing"
