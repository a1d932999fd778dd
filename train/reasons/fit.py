"""Train the network behind reasons: clean faces, damage, the trainer."""

import json
import logging
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdk.errors import InputError
from sdk.files import make_folder
from sdk.models.card import METADATA_KEY
from train.data.manifest import Manifest
from train.data.prepare import PrepareSettings, split_people
from train.data.sources.source import joined, read_source, sources_of_recipe, unpacked
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
        recipe: Sections `prepare` (sources, and how people are divided), `damage` and `training`.
        data: Folder that the recipe's paths are relative to.
        out: Folder to write; started again, the run goes on there.

    Returns:
        Path of the weights.

    Raises:
        InputError: No face is left to train on, or the folder is of another run.
    """
    section = dict(recipe.get("prepare") or {})
    sources = sources_of_recipe(section, data)
    people = settings_from(PrepareSettings, {name: section[name] for name in section if name != "sources"})
    damage = settings_from(DamageSettings, recipe.get("damage"))
    training = settings_from(FitSettings, recipe.get("training"))
    make_folder(out)
    manifest = joined([read_source(source) for source in unpacked(sources, out)])
    train_faces, validation_faces = _split(manifest, people, damage)
    train_set = DamagedFaces(train_faces, damage, 1, training.flip, training.seed)
    validation_set = DamagedFaces(validation_faces, damage, damage.validation_copies, 0, training.seed + 1)
    torch.manual_seed(training.seed)
    network = DamageNet()
    groups = [parameter_group(list(network.parameters()), training.groups[0], training.optimiser)]
    task = Supervised(network, _Logits, groups, HALF, HALF, train_set, damage_loss, training)
    settings = {"damage": asdict(damage), "prepare": asdict(people), "training": asdict(training)}
    record = RunRecord(settings, {"images": digest(["\n".join(manifest.column("source"))])}, FREE)
    best = task.fit(validation_set, out / "fit", record)
    load_state(network, read_state(best), str(best))
    card = {**(recipe.get("card") or {}), "training_commit": training_commit()}
    save_network(network, out / "weights.safetensors", {METADATA_KEY: json.dumps(card)})
    return out / "weights.safetensors"


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
