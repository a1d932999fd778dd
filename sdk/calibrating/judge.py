"""The face-recognition model that decides which comparisons match: an ONNX file, on the CPU."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sdk.alignment import CROP_SIZE
from sdk.errors import ModelError
from sdk.files import read_file
from sdk.models.card import InputSpec, ModelCard
from sdk.models.loading import LARGEST, Model
from sdk.onnx_bytes.onnx_file import check_onnx
from sdk.onnx_bytes.prelu_cache import without_prelu
from sdk.runtimes.base import MOST_FACES, pad_batch
from sdk.runtimes.onnxruntime import open_session, run_error, tensor_info
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
        try:
            check_onnx(data)
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from error
        self.name, self.sha256 = path.stem, hashlib.sha256(data).hexdigest()
        self._path = path
        model = Model(data, ModelCard("face-recognition"), path)
        self._session = open_session(without_prelu(data), model, ["CPUExecutionProvider"])
        inputs = [tensor_info(value) for value in self._session.get_inputs()]
        if len(inputs) != 1 or inputs[0].dtype not in ("float32", "uint8"):
            raise self._wrong("takes", inputs, "one input, faces float32 (N, 3, H, W) or (N, H, W, 3)")
        self._spec = _fitted(spec, inputs[0])
        if self._spec is None or len(self._session.get_outputs()) != 1:
            outputs = [tensor_info(value) for value in self._session.get_outputs()]
            raise self._wrong("takes", [*inputs, *outputs], "faces (N, 3, H, W) or (N, H, W, 3), and one output")
        self._input = inputs[0].name
        self._fixed = inputs[0].shape[0] if inputs[0].shape else None
        if self._fixed is not None and not 1 <= self._fixed <= MOST_FACES:
            raise ModelError(f"{path} takes {self._fixed} faces a call, wanted 1 to {MOST_FACES} or any number")

    def embed(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed aligned faces. Several threads may call it at once; each call uses one core.

        Args:
            faces: uint8 BGR (N, 112, 112, 3); scaled where the model wants another size.

        Returns:
            float32 (N, D), not normalised.

        Raises:
            ModelError: The model fails, or gives something else.
        """
        spec = self._spec
        assert spec is not None
        if faces.shape[1:3] != (spec.height, spec.width):
            size = (spec.width, spec.height)
            faces = np.stack([np.asarray(cv2.resize(face, size, interpolation=cv2.INTER_AREA)) for face in faces])
        values, size_ = prepare(faces, spec), self._fixed or len(faces)
        parts = [self._run(values[start : start + size_], size_) for start in range(0, len(values), size_)]
        return np.concatenate(parts)[: len(faces)]

    def _run(self, batch: NDArray[Any], size: int) -> NDArray[np.float32]:
        try:
            found = self._session.run(None, {self._input: pad_batch(batch, size)})[0]
        except Exception as error:  # onnxruntime's errors have no base class of their own
            raise run_error(error, "cpu", len(batch)) from error
        if found.ndim != 2 or len(found) != size or found.shape[1] < 2 or not np.isfinite(found).all():
            raise ModelError(
                f"{self._path} gives {found.shape} for {size} faces, {np.isfinite(found).mean():.0%} of it numbers; "
                f"wanted embeddings ({size}, D), D > 1: check that it is a face-recognition model"
            )
        return np.asarray(found[: len(batch)], np.float32)

    def _wrong(self, does: str, found: list[Any], wanted: str) -> ModelError:
        return ModelError(f"{self._path} {does} {' and '.join(map(str, found)) or 'nothing'}; wanted {wanted}")


def _fitted(spec: InputSpec, found: Any) -> InputSpec | None:
    """Return the input with the file's layout, size and type; None where its shape is none of faces."""
    shape = tuple(found.shape or ())
    if len(shape) != 4 or 3 not in (shape[1], shape[3]):
        return None
    rows, columns = (2, 3) if shape[1] == 3 else (1, 2)
    height, width = shape[rows] or CROP_SIZE, shape[columns] or CROP_SIZE
    return replace(spec, layout="NCHW" if rows == 2 else "NHWC", dtype=found.dtype, height=height, width=width)
