"""Train a tiny network on random faces, for `test_trainer.py`: FOLDER BATCH, in each process that was started."""

import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tests.support.tiny_networks import TINY, fit_tiny
from train.data.dataset import FaceDataset
from train.data.manifest import make_manifest
from train.fitting.settings import FitSettings, Group
from train.networks import QualityNetwork


class RandomFaces(FaceDataset):
    """Faces of one brightness each, which is their label."""

    def _face(self, row: int, rng: np.random.Generator) -> NDArray[np.uint8]:
        return np.full((112, 112, 3), 10 * (7 * row % 25), np.uint8)


def loss(features: Tensor, prediction: Tensor, batch: dict[str, Tensor], training: bool) -> dict[str, Tensor]:
    """L1 on the label."""
    return {"total": (prediction.squeeze(-1) - batch["label"]).abs().mean()}


def main(folder: Path, batch: int) -> None:
    """Train for four epochs on 16 images; norms are frozen, for each process has its own batch's."""
    manifest = make_manifest([{"path": str(row)} for row in range(25)], Path())
    targets = {"label": (7 * np.arange(25, dtype=np.float32) % 25) / 25}
    settings = FitSettings(epochs=4, batch_size=batch, groups=(Group(0.01), Group(0.01)), frozen_norm=True)
    torch.manual_seed(0)
    network = QualityNetwork(TINY.backbone(), 16, 8)
    sets = (RandomFaces(manifest, rows, targets) for rows in (range(16), range(16, 25)))
    fit_tiny(network, *sets, loss, settings, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
