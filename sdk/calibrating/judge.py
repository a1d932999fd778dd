"""The face-recognition model that decides which comparisons match: an ONNX file, on the CPU."""

from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sdk.calibrating.embedding_session import EmbeddingSession, read_recognition
from sdk.errors import ModelError
from sdk.runtimes.shared_runtime import prepare


class Judge:
    """A face-recognition model in an ONNX file: aligned faces -> embeddings.

    Args:
        model: Name in the catalogue, or path of the file. Its one input takes faces. It has one output, embeddings, or
            several, of which one has the name `embedding`.
        given: What the input wants otherwise than the card says: `colour`, `mean` or `std` of `InputSpec`.

    Raises:
        ModelError: The file cannot be fetched or read, is not safe to load (see `check_onnx`), or has other inputs or
            outputs.
    """

    def __init__(self, model: str | PathLike[str], given: Mapping[str, Any] | None = None) -> None:
        loaded = read_recognition(model)
        self._session, self._path = EmbeddingSession(loaded), loaded.path
        self.name, self.sha256 = loaded.path.stem, loaded.sha256
        self._spec = replace(self._session.input, **(given or {}))

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
