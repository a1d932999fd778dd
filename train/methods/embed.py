"""Embeddings of a manifest's images by a face-recognition model, without labels."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sdk.console import progress_bar
from sdk.errors import ImageError, InputError
from train.data.manifest import Manifest
from train.methods.recognition import RecognitionModel, device_of

logger = logging.getLogger(__name__)


class Embedder:
    """A face-recognition model over batches: uint8 BGR (N, 112, 112, 3) -> raw `embedding` float32 (N, D)."""

    name = "embedding"

    def __init__(self, network: RecognitionModel, device: torch.device | None = None) -> None:
        self.device = device or torch.device("cpu")
        self._network = network.eval().to(self.device)

    @torch.inference_mode()
    def __call__(self, faces: NDArray[np.uint8], keys: Sequence[Any]) -> dict[str, NDArray[Any]]:
        images = torch.from_numpy(np.ascontiguousarray(faces[..., ::-1])).permute(0, 3, 1, 2).to(self.device)
        return {self.name: self._network(images.float() / 255).float().cpu().numpy()}


def embed_manifest(
    manifest: Manifest, network: RecognitionModel, out: Path, batch: int = 32, device: str = "auto"
) -> NDArray[np.float32]:
    """Write the embeddings of every image.

    Args:
        manifest: Images.
        network: Face-recognition model, see `train.methods.recognition.load_recognition_model`.
        out: `.npy` to write.
        batch: Faces a call.
        device: auto, cpu, cuda, ...

    Returns:
        float32 (N, D) in the order of the rows, not normalised; NaN rows where an image failed.

    Raises:
        InputError: No image could be read.
    """
    embedder = Embedder(network, device_of(device))
    vectors: NDArray[np.float32] | None = None
    with progress_bar("embeddings", len(manifest)) as advance:
        for start in range(0, len(manifest), batch):
            rows, faces = [], []
            for row in range(start, min(start + batch, len(manifest))):
                try:
                    faces.append(manifest.load_face(row))
                    rows.append(row)
                except ImageError as error:
                    logger.warning("%s", error)
            if rows:
                found = embedder(np.stack(faces), rows)["embedding"]
                if vectors is None:
                    vectors = np.full((len(manifest), found.shape[1]), np.nan, np.float32)
                vectors[rows] = found
            advance(min(batch, len(manifest) - start))
    if vectors is None:
        raise InputError(f"no image of {manifest.root} could be read; see the log for each one's reason")
    temporary = out.with_name(out.name + ".tmp")
    with temporary.open("wb") as file:
        np.save(file, vectors)
    temporary.replace(out)
    return vectors
