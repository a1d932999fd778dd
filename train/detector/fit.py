"""Train the face detector: the teacher's faces, scenes, the shared loop, and a confidence that means something."""

import hashlib
import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from sdk.detection.boxes import suppress
from sdk.detection.networks import cell_grid, decode
from sdk.errors import InputError
from sdk.files import make_folder
from sdk.models.card import METADATA_KEY
from train.data.archive import unpack
from train.data.dataset import normalised
from train.data.manifest import read_manifest
from train.data.prepare import PrepareSettings, split_people
from train.detector.dataset import SceneDataset
from train.detector.loss import detection_loss
from train.detector.matching import confidence_at, match
from train.detector.network import FaceCells, Head
from train.detector.photos import find_faces, read_photos
from train.fitting.settings import FitSettings
from train.fitting.trainer import Batch, Fit
from train.networks import load_state, read_state, save_network
from train.networks.variants import Variant
from train.recipes import Recipe, check_least, settings_from, training_commit

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
        precision: Share of true finds in validation scenes from a confidence of 0.7 on, the SDK's default.
    """

    size: int = 320
    scenes: int = 8192
    validation_scenes: int = 512
    teacher: str = "yunet"
    precision: float = 0.98

    def __post_init__(self) -> None:
        check_least(self, 1, "scenes", "validation_scenes")
        if self.size < 32 or self.size % 32:
            raise InputError(f"size is {self.size}, wanted a multiple of 32")
        if not 0 <= self.precision <= 1:
            raise InputError(f"precision is {self.precision}, wanted a share from 0 to 1")


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
        landmarks: `.npz` of what is known of them, see `train.detector.photos.find_faces`.
        out: Folder to write; started again, the run goes on there.

    Returns:
        Path of the weights.

    Raises:
        InputError: No photos are left to train on, or the folder is of another run.
        ModelError: The teacher cannot be had.
    """
    scenes = settings_from(SceneSettings, recipe.get("scenes"))
    training = settings_from(FitSettings, recipe.get("training"))
    split = settings_from(PrepareSettings, recipe.get("prepare"))
    make_folder(out)
    manifest = read_manifest(unpack(source, out / "images"))
    photos, people = read_photos(find_faces(manifest, landmarks, scenes.teacher, out / "photos.parquet"))
    splits = split_people(people, split)
    parts = {name: [p for p, person in zip(photos, people, strict=True) if splits[person] == name] for name in SPLITS}
    torch.manual_seed(training.seed)
    network = FaceCells()
    train_set, validation_set = (
        SceneDataset(parts[name], count, scenes.size, training.seed + index, training.cache)
        for index, (name, count) in enumerate(zip(SPLITS, (scenes.scenes, scenes.validation_scenes), strict=True))
    )
    logger.info("%d photos to train on, %d to validate", *(len(part) for part in parts.values()))
    learned = replace(scenes, precision=0.0)  # which is set afterwards
    digest = hashlib.sha256(repr((learned, split)).encode() + (out / "photos.parquet").read_bytes()).hexdigest()
    best = DetectorFit(network, VARIANT, train_set, validation_set, _loss, training, out / "fit", digest).run()
    load_state(network, read_state(best), str(best))
    set_confidence(network, validation_set, scenes.precision)
    weights = out / "weights.safetensors"
    card = {**(recipe.get("card") or {}), "training_commit": training_commit()}
    save_network(network, weights, {METADATA_KEY: json.dumps(card)})
    return weights


@torch.no_grad()
def set_confidence(network: FaceCells, scenes: SceneDataset, precision: float) -> None:
    """Shift the network's confidences, in place, so that from `CONFIDENCE` on this share of finds is true."""
    network.eval()
    confidences, kinds = [], []
    for index in range(len(scenes)):
        scene = scenes.scene(0, index)
        images = torch.from_numpy(np.ascontiguousarray(scene.image[None, ..., ::-1].transpose(0, 3, 1, 2)))
        cells = network(normalised(images, VARIANT.mean, VARIANT.std))[0].numpy()
        sure = np.flatnonzero(cells[:, 0] >= LOWEST)
        rows = suppress(decode(cells[sure], cell_grid(*scene.image.shape[:2])[sure]))
        confidences.append(rows[:, 14])
        kinds.append(match(rows, scene.faces)[0])
    found = confidence_at(precision, np.concatenate(confidences), np.concatenate(kinds))
    logger.info(
        "%.0f %% of finds are true from a confidence of %.3f on, which becomes %.1f", 100 * precision, found, CONFIDENCE
    )
    shift = torch.logit(torch.tensor(CONFIDENCE)) - torch.logit(torch.tensor(found), eps=1e-6)
    for head in network.heads:
        cast(Head, head).face[-1].bias.data += shift  # type: ignore[operator]


CONFIDENCE = 0.7
"""The SDK's default of `min_confidence`."""

LOWEST = 0.05
"""Finds below it are not looked at."""

SPLITS = ("train", "validation")
