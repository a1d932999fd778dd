"""From a labelled manifest to a trained network: a method's preparation, targets and loss in the shared loop."""

import hashlib
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sdk.errors import InputError
from train.data.dataset import FaceDataset, even_validation
from train.data.embeddings import read_rows
from train.data.label_targets import TargetSettings, label_column, make_targets
from train.data.labelled import LabelledFaces, read_labelled
from train.data.prepare import PrepareSettings
from train.data.source_images import PerturbedDataset, source_faces
from train.fitting.settings import FitSettings
from train.fitting.trainer import Fit
from train.fitting.warm_up import WarmUpSettings, warm_up_head
from train.methods.regressors import AIKD, METHODS, EDifFIQA, Method
from train.networks import QualityNetwork, create_network, get_variant, load_checkpoint
from train.recipes import Recipe, settings_from

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RegressorRecipe:
    """All of a recipe's sections that `fiqa-train fit` reads for a regressor."""

    network: str
    method: Method = field(default_factory=EDifFIQA)
    targets: TargetSettings = field(default_factory=TargetSettings)
    warm_up: WarmUpSettings = field(default_factory=WarmUpSettings)
    training: FitSettings = field(default_factory=FitSettings)
    prepare: PrepareSettings = field(default_factory=PrepareSettings)

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> "RegressorRecipe":
        """Read the sections `network`, that of the method, `targets`, `warm_up`, `training` and `prepare`.

        Raises:
            InputError: There is no network, not one method, or a section has an unknown setting.
        """
        if "network" not in recipe:
            raise InputError("the recipe has no 'network', wanted the name of one, such as ediffiqa-t")
        methods = [name for name in METHODS if name in recipe]
        if len(methods) != 1:
            found = " and ".join(methods) or "none"
            raise InputError(f"the recipe has the sections of {found}, wanted one of: {', '.join(METHODS)}")
        prepared = {key: value for key, value in (recipe.get("prepare") or {}).items() if key not in FILES_OF_PREPARE}
        return cls(
            recipe["network"],
            settings_from(METHODS[methods[0]], recipe[methods[0]]),
            settings_from(TargetSettings, recipe.get("targets")),
            settings_from(WarmUpSettings, recipe.get("warm_up")),
            settings_from(FitSettings, recipe.get("training")),
            settings_from(PrepareSettings, prepared),
        )


FILES_OF_PREPARE = ("source", "landmarks")
"""What the section `prepare` names beside its settings."""


@dataclass(frozen=True, slots=True)
class FitFiles:
    """What a regressor is trained from.

    Attributes:
        labels: Labelled manifest, see `train.data.labelled.read_labelled`.
        backbone: Checkpoint of the face-recognition network to start from: the teacher.
        embeddings: `.npy` of the teacher's embeddings, a row a row of the manifest.
        images: AI-KD on prepared crops: folder of their source images, see `train.data.source_images.source_faces`.
        landmarks: AI-KD on prepared crops: `.npz` of the landmarks in those images.
    """

    labels: Path
    backbone: Path
    embeddings: Path | None = None
    images: Path | None = None
    landmarks: Path | None = None


def fit_regressor(recipe: RegressorRecipe, files: FitFiles, out: Path) -> Path:
    """Train, see `train.fitting.trainer.Fit`.

    Args:
        recipe: Network, method and settings.
        files: See `FitFiles`.
        out: Folder to write.

    Returns:
        Path of the best checkpoint.

    Raises:
        InputError: The files do not belong together, or nothing is left to train on.
        ModelError: The backbone does not fit.
    """
    network = _network(recipe, files.backbone)
    plan = recipe.method.plan(read_labelled(files.labels, recipe.method.label, files.embeddings))
    data = plan.data
    _check_width(recipe.network, data)
    embeddings = data.embeddings if recipe.targets.centre != "none" or recipe.warm_up.epochs else None
    average = recipe.targets.average
    other = label_column(data.manifest, average)[data.rows] if average else None
    label = make_targets(data.labels, embeddings, data.identities, data.clean, recipe.targets, other)
    validation = _validation(data, label, recipe.method.validation)
    logger.info("%d images to train on, %d to validate", (~validation).sum(), validation.sum())
    if embeddings is not None:
        warm_up_head(network, embeddings[~validation], label[~validation], recipe.warm_up)
    targets = {"label": data.spread(label), **plan.targets}
    train_set, validation_set = _datasets(recipe, files, data, validation, targets)
    variant = get_variant(recipe.network)
    used = files.embeddings if embeddings is not None or "teacher" in targets else None
    task = _task(recipe, data, label, used)
    return Fit(network, variant, train_set, validation_set, plan.loss, recipe.training, out, task).run()


def _task(recipe: RegressorRecipe, data: LabelledFaces, label: NDArray[np.float32], embeddings: Path | None) -> str:
    """Digest of all that decides what is learned, but for `training`, which is compared by itself."""
    digest = hashlib.sha256(repr((recipe.network, recipe.method, recipe.targets, recipe.warm_up)).encode())
    digest.update("\n".join(data.manifest.paths[row] for row in data.rows).encode())
    digest.update(label.tobytes())
    if embeddings is not None:
        for start in range(0, len(data.rows), 8192):  # in parts, for they may be larger than memory
            digest.update(read_rows(embeddings, data.rows[start : start + 8192]).tobytes())
    return digest.hexdigest()


def _network(recipe: RegressorRecipe, backbone: Path) -> QualityNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed)
        network = create_network(recipe.network)
    if not isinstance(network, QualityNetwork):
        raise InputError(f"{recipe.network} has no quality head, wanted a quality network, such as ediffiqa-t")
    load_checkpoint(network.base_model, backbone, f"{backbone} as the backbone of {recipe.network}")
    return network


def _check_width(name: str, data: LabelledFaces) -> None:
    features = get_variant(name).features
    if data.vectors is not None and data.vectors.shape[1] != features:
        raise InputError(
            f"the embeddings have {data.vectors.shape[1]} values and {name} gives {features}, wanted those of the "
            "network to start from; label again with it and --embeddings"
        )


def _validation(data: LabelledFaces, label: NDArray[np.float32], fraction: float) -> NDArray[np.bool_]:
    """Mask of rows to validate on: the manifest's own, or some along the sorted labels."""
    chosen = data.split == "validation"
    if not chosen.any():
        chosen = even_validation(label, fraction)
    if chosen.all():
        raise InputError(f"all {len(chosen)} images are for validation, wanted some to train on")
    return chosen


def _datasets(
    recipe: RegressorRecipe,
    files: FitFiles,
    data: LabelledFaces,
    validation: NDArray[np.bool_],
    targets: dict[str, NDArray[Any]],
) -> tuple[FaceDataset, FaceDataset]:
    """To train on, and to validate on."""
    method, settings, manifest = recipe.method, recipe.training, data.manifest
    train, held = data.rows[~validation], data.rows[validation]
    if not isinstance(method, AIKD):
        return (
            FaceDataset(manifest, train, targets, settings.flip, settings.seed, settings.cache),
            FaceDataset(manifest, held, targets, cache=settings.cache),
        )
    sources = source_faces(manifest, data.rows, files.images, files.landmarks, recipe.prepare)
    pixels, scaled = method.perturbation, method.scaled
    return (
        PerturbedDataset(manifest, sources, train, targets, pixels, scaled, settings.flip, settings.seed),
        PerturbedDataset(manifest, sources, held, targets, pixels=0.0),
    )
