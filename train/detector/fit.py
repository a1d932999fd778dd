"""Train the face detector: the teacher's faces, scenes made of them, the trainer, and the scale of the confidence."""

import json
import logging
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from sdk.detection.boxes import suppress
from sdk.detection.networks import cell_grid, decode
from sdk.errors import InputError
from sdk.files import make_folder
from sdk.models.card import METADATA_KEY
from train.data.dataset import normalised
from train.data.prepare import PrepareSettings, prepare_settings, split_people
from train.data.sources.source import read_sources, sources_of_recipe
from train.detector.dataset import SceneDataset
from train.detector.loss import detection_loss
from train.detector.matching import confidence_at, match
from train.detector.network import FaceCells, Head
from train.detector.photos import find_faces, read_photos
from train.fitting.settings import FREE, FitSettings, recorded
from train.fitting.supervised import Supervised, parameter_group
from train.fitting.task import Batch, Terms
from train.networks import load_state, read_state, save_network
from train.networks.variants import Variant
from train.recipes import Recipe, check_least, settings_from, training_commit
from train.run_state import RunRecord, digest

logger = logging.getLogger(__name__)

VARIANT = Variant(FaceCells, 15)
"""Its normalisation is used, and nothing else of it."""


@dataclass(frozen=True, slots=True)
class SceneSettings:
    """Scenes to train and to validate on.

    Attributes:
        size: Height and width of a scene, pixels: a multiple of 32.
        scenes: Scenes an epoch.
        validation_scenes: Scenes of each validation.
        teacher: The detector whose finds are taught.
        precision: Share of the finds in validation scenes that are true, at a confidence of 0.7, the SDK's default, or
            more.
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


class _Cells(nn.Module):
    """The network with the values of all cells, the first of them a logit, from `forward`."""

    def __init__(self, network: FaceCells) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor]:
        return (self.network.cells(images),)


def _loss(cells: Tensor, batch: Batch, training: bool) -> Terms:
    grid = _grid(int(batch["image"].shape[-1]), cells.device)
    return detection_loss(cells, batch["kinds"], batch["targets"], grid)


@cache
def _grid(size: int, device: torch.device) -> Tensor:
    """Return the cells' places, kept on the device: a copy a batch would make a GPU wait."""
    return torch.from_numpy(cell_grid(size, size)).to(device)


def fit_detector(recipe: Recipe, data: Path, out: Path) -> Path:
    """Train, see `train.fitting.supervised.Supervised.fit`; then set the confidence.

    Args:
        recipe: Sections `prepare` (sources of photos, and how people are divided), `scenes` and `training`.
        data: Folder that the recipe's paths are relative to.
        out: Folder to write; started again, the run goes on there.

    Returns:
        Path of the weights.

    Raises:
        InputError: No photos are left to train on, or the folder is of another run.
        ModelError: The teacher cannot be loaded.
    """
    scenes = settings_from(SceneSettings, recipe.get("scenes"))
    training = settings_from(FitSettings, recipe.get("training"))
    sources = sources_of_recipe(recipe.get("prepare") or {}, data)
    people = prepare_settings(recipe.get("prepare"))
    make_folder(out)
    manifest = read_sources(sources, out)
    found = find_faces(manifest, scenes.teacher, out / "photos.parquet")
    train_set, validation_set = _scene_sets(found, people, scenes, training)
    torch.manual_seed(training.seed)
    network = FaceCells()
    groups = [parameter_group(list(network.parameters()), training.groups[0], training.optimiser)]
    task = Supervised(network, _Cells, groups, VARIANT.mean, VARIANT.std, train_set, _loss, training)
    learned = replace(scenes, precision=0.0)  # which is reached afterwards
    settings = {"scenes": asdict(learned), "prepare": asdict(people), "training": recorded(training)}
    record = RunRecord(settings, {"photos": digest([found.read_bytes()])}, FREE)
    best = task.fit(validation_set, out / "fit", record)
    load_state(network, read_state(best), str(best))
    set_confidence(network, validation_set, scenes.precision)
    card = {**(recipe.get("card") or {}), "training_commit": training_commit()}
    save_network(network, out / "weights.safetensors", {METADATA_KEY: json.dumps(card)})
    return out / "weights.safetensors"


def _scene_sets(
    found: Path, people: PrepareSettings, scenes: SceneSettings, training: FitSettings
) -> tuple[SceneDataset, SceneDataset]:
    """Scenes to train on, and scenes of other people's photos to validate on."""
    photos, names = read_photos(found)
    splits = split_people(names, people)
    parts = [
        [photo for photo, name in zip(photos, names, strict=True) if splits[name] == split]
        for split in ("train", "validation")
    ]
    logger.info("%d photos to train on, %d to validate", *map(len, parts))
    return (
        SceneDataset(parts[0], scenes.scenes, scenes.size, training.seed, training.cache),
        SceneDataset(parts[1], scenes.validation_scenes, scenes.size, training.seed + 1, training.cache),
    )


@torch.no_grad()
def set_confidence(network: FaceCells, scenes: SceneDataset, precision: float) -> None:
    """Shift the network's confidences, in place, so that from `CONFIDENCE` on this share of finds is true."""
    network.cpu().eval()
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
"""Finds of a lower confidence are left out."""
