"""The face-recognition model that decides which comparisons match: an ONNX file, on the CPU."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from sdk.alignment import CROP_SIZE
from sdk.calibrating.embedding_session import EmbeddingSession, listed
from sdk.errors import ModelError
from sdk.files import read_file
from sdk.models.card import InputSpec
from sdk.models.loading import LARGEST
from sdk.runtimes.base import TensorInfo
from sdk.runtimes.shared_runtime import prepare

USUAL_INPUT = InputSpec(0, 0, "RGB", "NCHW", "float32")
"""What most face-recognition models take; height and width come from the file."""


class Judge:
    """A face-recognition model in an ONNX file: aligned faces -> embeddings.

    Args:
        path: The file, with one input (faces) and one output (embeddings).
        spec: How the input wants pixels: colour, dtype, mean and deviation. Layout, height and width are the file's.

    Raises:
        ModelError: The file cannot be read, is not safe to load (see `check_onnx`), or has other inputs or outputs.
    """

    def __init__(self, path: Path, spec: InputSpec = USUAL_INPUT) -> None:
        data = read_file(path, ModelError, "give the .onnx file of a face-recognition model", LARGEST)
        self._session, self._path = EmbeddingSession(data, path), path
        self.name, self.sha256 = path.stem, hashlib.sha256(data).hexdigest()
        tensors = [*self._session.inputs, *self._session.outputs]
        if len(tensors) != 2 or tensors[0].dtype not in ("float32", "uint8") or not _shows_faces(tensors[0]):
            raise ModelError(
                f"{path} has {listed(tensors)}; wanted one input, faces (N, 3, H, W) or (N, H, W, 3) of float32 or "
                "uint8, and one output, embeddings"
            )
        self._spec = _fitted(spec, tensors[0])

    def embed(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed aligned faces. Several threads may call it at once; each call uses one core.

        Args:
            faces: uint8 BGR (N, 112, 112, 3); scaled where the model wants another size.

        Returns:
            float32 (N, D), not normalised.

        Raises:
            ModelError: The model fails, or gives something else.
        """
        height, width = self._spec.height, self._spec.width
        if faces.shape[1:3] != (height, width):
            scaled = [cv2.resize(face, (width, height), interpolation=cv2.INTER_AREA) for face in faces]
            faces = np.stack(scaled).astype(np.uint8, copy=False)
        found = self._session.run(prepare(faces, self._spec))
        if found.shape[1] < 2 or not np.isfinite(found).all():
            raise ModelError(
                f"{self._path} gives {found.shape} for {len(faces)} faces, {np.isfinite(found).mean():.0%} of it "
                f"numbers; wanted embeddings ({len(faces)}, D), D > 1: check that it is a face-recognition model"
            )
        return np.asarray(found, np.float32)


def _shows_faces(tensor: TensorInfo) -> bool:
    """Tell whether an input has the shape of colour images."""
    shape = tensor.shape or ()
    return len(shape) == 4 and 3 in (shape[1], shape[3])


def _fitted(spec: InputSpec, tensor: TensorInfo) -> InputSpec:
    """Return the input with the file's layout, size and type."""
    assert tensor.shape is not None
    rows, columns = (2, 3) if tensor.shape[1] == 3 else (1, 2)
    height, width = tensor.shape[rows] or CROP_SIZE, tensor.shape[columns] or CROP_SIZE
    layout: Literal["NCHW", "NHWC"] = "NCHW" if rows == 2 else "NHWC"
    dtype: Literal["uint8", "float32"] = "uint8" if tensor.dtype == "uint8" else "float32"
    return replace(spec, layout=layout, dtype=dtype, height=height, width=width)
