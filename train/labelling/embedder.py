"""Embeddings of images by a face-recognition model, without labels."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdk.errors import InputError
from sdk.files import check_suffix, make_folder
from train.data.dataset import rgb_images
from train.data.embeddings import open_vectors
from train.data.manifest import Manifest
from train.device.batches import OnDevice
from train.labelling.executors import open_engine
from train.labelling.parameters import Colour, Mean, RecognitionName, Size, Std, Weights
from train.labelling.runner import compute
from train.lazy import Lazy
from train.lock import locked
from train.networks.recognition import OnnxNetwork, RecognitionModel, fingerprint, load_recognition_model, placed


class Embedder:
    """A labeller of a face-recognition model: `embedding` float32 (N, D), not normalised, and its length, `norm` (N,).

    Args:
        network: Face-recognition model.
        device: Where to compute.
    """

    name = "norm"

    def __init__(self, network: RecognitionModel, device: str = "cpu") -> None:
        self.record = {"weights": fingerprint(network)}
        self._network = Lazy(partial(placed, network, device))
        self._batches = OnDevice(self._embed, torch.device(device))

    def __call__(self, faces: NDArray[np.uint8], keys: Sequence[str]) -> dict[str, NDArray[Any]]:
        norms, vectors = self._batches(self._batches.pinned(rgb_images(faces)))
        return {self.name: norms, "embedding": vectors}

    @torch.inference_mode()
    def _embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
        vectors = self._network()(images.float() / 255)
        return vectors.norm(dim=1), vectors


def norm_labeller(
    model: RecognitionName = "mobilefacenet128",
    weights: Weights = None,
    mean: Mean = None,
    std: Std = None,
    colour: Colour = None,
    size: Size = None,
    device: str = "cpu",
    embed: bool = True,
) -> Embedder:
    """Make a labeller of the options of `fiqa-train label norm`: `norm`, and the embeddings where they are wanted."""
    network = load_recognition_model(model, weights, mean, std, False, colour, size)
    if isinstance(network.network, OnnxNetwork):
        network.network.use(device)
        device = "cpu"
    return Embedder(network, device)


def embed_manifest(
    manifest: Manifest,
    network: RecognitionModel,
    out: Path,
    batch: int = 32,
    device: str = "auto",
    engine: str = "plain",
    callers: int | None = None,
) -> NDArray[np.float32]:
    """Write the embeddings of all images. A run that was stopped goes on when it is started again.

    Args:
        manifest: Images.
        network: Face-recognition model, see `train.networks.recognition.load_recognition_model`.
        out: `.npy` to write.
        batch: Faces in a batch.
        device: `auto`, `cpu`, `cuda`, ...
        engine: Name of the engine, see `train.labelling.executors.open_engine`.
        callers: Threads or processes, see there.

    Returns:
        float32 (N, D) in the order of the rows, not normalised; NaN where an image failed. The array stays on disk and
        is read as it is used.

    Raises:
        InputError: The file has another ending, no image could be read, or another run is writing the file.
        DeviceError: The device is not there.
        OutputError: The disk is full.
    """
    check_suffix("--out", out, (".npy",))
    make_folder(out.parent)
    if isinstance(network.network, OnnxNetwork):  # it takes and gives tensors on the CPU, and computes on the device
        network.network.use(device)
        device = "cpu"
    with locked(out), open_engine(engine, callers, device) as opened:
        embedder = Embedder(network, opened.device)
        journal = compute(manifest, embedder, out, embedder.record, batch, out, opened)
        journal.remove()
        if not journal.has_values:
            raise InputError(f"none of {len(manifest)} images could be embedded; the first one: {journal.errors[0]}")
    vectors: NDArray[np.float32] = open_vectors(out)
    return vectors
