"""Train the face detector: the teacher's faces, scenes, the shared loop, and a confidence that means something."""

import dataclasses
import hashlib
import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from sdk.detectors import cell_grid
from sdk.errors import InputError
from train.data.dataset import normalised
from train.data.photos import Photo, find_faces, read_photos
from train.data.prepare import PrepareSettings, split_people, unpack
from train.data.manifest import read_manifest
from train.data.scene_dataset import SceneDataset
from train.methods.detector_loss import detection_loss
from train.methods.fit_settings import FitSettings
from train.methods.fitting import Batch, Fit
from train.networks.detector import FaceCells
from train.networks.variants import HALF, Variant
from train.recipes import Recipe, settings_from

logger = logging.getLogger(__name__)

VARIANT = Variant(FaceCells, 15)
"""For its normalisation."""


@dataclass(frozen=True, slots=True)
class SceneSettings:
    """What is trained on.

    Attributes:
        size: Height and width of a scene, pixels: a multiple of 32.
        scenes: Scenes an epoch.
        validation_scenes: Scenes of each validation.
        teacher: The detector whose finds are taught.
        width: Channels of the network from stride 8 on.
    """

    size: int = 320
    scenes: int = 8192
    validation_scenes: int = 512
    teacher: str = "yunet"
    width: int = 64


class DetectorFit(Fit):
    """The shared loop with a detector in it, all of whose parameters are trained alike."""

    def _trained(self, network: nn.Module) -> nn.Module:
        return _Cells(cast(FaceCells, network))

    def _parameter_groups(self) -> list[dict[str, Any]]:
        group = self.settings.groups[0]
        parameters = list(self.network.parameters())
        return [{"params": parameters, "lr": group.lr, "base_lr": group.lr, "weight_decay": group.weight_decay}]


class _Cells(nn.Module):
    """The network with logits from `forward`, which is what wrappers for several devices call."""

    def __init__(self, network: FaceCells) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor]:
        return (self.network.cells(images),)


def _loss(cells: Tensor, batch: Batch, training: bool) -> dict[str, Tensor]:
    del training  # nothing is random here
    size = int(batch["image"].shape[-1])
    kinds, targets, grid = batch["kinds"], batch["targets"], torch.from_numpy(cell_grid(size, size))
    return detection_loss(cells, *(part.to(cells.device) for part in (kinds, targets, grid)))


def fit_detector(recipe: Recipe, source: Path, landmarks: Path | None, out: Path) -> Path:
    """Train.

    Args:
        recipe: Sections `prepare` (how people are divided), `scenes` and `training`.
        source: Photos: folder, manifest, or a .tar of a folder.
        landmarks: `.npz` of what is known of them, see `train.data.photos.find_faces`.
        out: Folder to write; started again, the run goes on there.

    Returns:
        Path of the weights.

    Raises:
        InputError: No photos are left to train on, or the folder is of another run.
        ModelError: The teacher cannot be had.
    """
    scenes, training, split = (settings_from(kind, recipe.get(name)) for kind, name in SECTIONS)
    out.mkdir(parents=True, exist_ok=True)
    manifest = read_manifest(unpack(source, out / "images"))
    photos, people = read_photos(find_faces(manifest, landmarks, scenes.teacher, out / "photos.parquet"))
    splits = split_people(people, split)
    parts = {name: [p for p, person in zip(photos, people, strict=True) if splits[person] == name] for name in SPLITS}
    torch.manual_seed(training.seed)
    network = FaceCells(scenes.width)
    counts = (scenes.scenes, scenes.validation_scenes)
    sets = [
        SceneDataset(part, count, scenes.size, training.seed + index, training.cache)
        for index, (part, count) in enumerate(zip(parts.values(), counts, strict=True))
    ]
    return DetectorFit(network, VARIANT, *sets, _loss, training, out / "fit", "").run()


SECTIONS = ((SceneSettings, "scenes"), (FitSettings, "training"), (PrepareSettings, "prepare"))
SPLITS = ("train", "validation")
