"""Train the network behind reasons: clean faces, damage, the trainer."""

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdk.errors import InputError
from sdk.files import make_folder
from sdk.models.card import METADATA_KEY
from train.data.manifest import Manifest
from train.data.prepare import PrepareSettings, prepare_settings, split_people
from train.data.sources.source import read_sources, sources_of_recipe
from train.fitting.settings import FREE, FitSettings
from train.fitting.supervised import Supervised, parameter_group
from train.fitting.task import Batch, Terms
from train.networks import load_state, read_state, save_network
from train.networks.variants import HALF
from train.reasons.dataset import DamagedFaces, DamageSettings
from train.reasons.faces import CleanFaces, read_faces
from train.reasons.network import DamageNet
from train.recipes import Recipe, settings_from, training_commit
from train.run_state import RunRecord, digest

logger = logging.getLogger(__name__)


class Stage(NamedTuple):
    """A training: the folder's name, what is done to faces, and how the network is trained."""

    name: str
    damage: DamageSettings
    training: FitSettings


class _Logits(nn.Module):
    """The network with its logits from `forward`."""

    def __init__(self, network: DamageNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor]:
        return (self.network.logits(images),)


def damage_loss(logits: Tensor, batch: Batch, training: bool) -> Terms:
    """Return the cross-entropy of grades and yaw, which are shares: it is least where each output is the mean grade.

    Args:
        logits: (N, 9), see `train.reasons.outputs.OUTPUTS`.
        batch: See `DamagedFaces`.
        training: Not used.
    """
    grades = F.binary_cross_entropy_with_logits(logits[:, :-1], batch["grades"])
    yaws = F.binary_cross_entropy_with_logits(logits[:, -1], batch["yaw"], reduction="none")
    aligned = batch["aligned"]
    yaw = (yaws * aligned).sum() / aligned.sum().clamp(min=1)
    return {"total": grades + 0.125 * yaw, "grades": grades, "yaw": yaw}


def fit_reasons(recipe: Recipe, data: Path, out: Path) -> Path:
    """Train, see `train.fitting.supervised.Supervised.fit`.

    Args:
        recipe: Sections `prepare` (sources, and how people are divided), `damage` and `training`; and `refine`, where
            it is trained a second time, with what differs in its own `damage` and `training`.
        data: Folder that the recipe's paths are relative to.
        out: Folder to write; started again, the run goes on there.

    Returns:
        Path of the weights.

    Raises:
        InputError: No face is left to train on, or the folder is of another run.
    """
    sources = sources_of_recipe(recipe.get("prepare") or {}, data)
    people = prepare_settings(recipe.get("prepare"))
    stages = _stages(recipe)
    make_folder(out)
    manifest = read_sources(sources, out)
    faces = _split(manifest, people, stages[0].damage)
    torch.manual_seed(stages[0].training.seed)
    network = DamageNet()
    images = digest(["\n".join(manifest.column("source"))])
    for stage in stages:
        best = _train(network, faces, stage, people, images, out / stage.name)
        load_state(network, read_state(best), str(best))
    card = {**(recipe.get("card") or {}), "training_commit": training_commit()}
    save_network(network, out / "weights.safetensors", {METADATA_KEY: json.dumps(card)})
    return out / "weights.safetensors"


def _stages(recipe: Recipe) -> list[Stage]:
    """Read how the network is trained, and how it is trained again."""
    parts = {name: recipe.get(name) or {} for name in ("damage", "training")}
    refine = recipe.get("refine") or {}
    if unknown := sorted(set(refine) - set(parts)):
        raise InputError(f"refine has no section {unknown[0]!r}, wanted damage and training")
    refined = {name: {**part, **(refine.get(name) or {})} for name, part in parts.items()}
    return [
        Stage(name, settings_from(DamageSettings, part["damage"]), settings_from(FitSettings, part["training"]))
        for name, part in (("fit", parts), ("refine", refined))
        if name == "fit" or refine
    ]


def _train(
    network: DamageNet,
    faces: tuple[CleanFaces, CleanFaces],
    stage: Stage,
    people: PrepareSettings,
    images: str,
    out: Path,
) -> Path:
    """Train the network in place; returns the path of the best weights."""
    damage, training = stage.damage, stage.training
    train_set = DamagedFaces(faces[0], damage, 1, training.flip, training.seed)
    validation_set = DamagedFaces(faces[1], damage, damage.validation_copies, 0, training.seed + 1)
    groups = [parameter_group(list(network.parameters()), training.groups[0], training.optimiser)]
    task = Supervised(network, _Logits, groups, HALF, HALF, train_set, damage_loss, training)
    settings = {"damage": asdict(damage), "prepare": asdict(people), "training": asdict(training)}
    return task.fit(validation_set, out, RunRecord(settings, {"images": images}, FREE))


def _split(manifest: Manifest, people: PrepareSettings, damage: DamageSettings) -> tuple[CleanFaces, CleanFaces]:
    """Read the faces to train on, and those of other people to validate on."""
    splits = split_people(manifest.identities, people)
    parts = []
    for split in ("train", "validation"):
        rows = [row for row, name in enumerate(manifest.identities) if splits[name] == split]
        if not rows:
            raise InputError(f"no face is of a {split} person; wanted more people, or other shares in prepare")
        parts.append(read_faces(manifest, rows, damage.profiles))
    logger.info("%d faces to train on, %d to validate on", *map(len, parts))
    return parts[0], parts[1]
