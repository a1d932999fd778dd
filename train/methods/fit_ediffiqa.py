"""From a labelled manifest to a trained network: eDifFIQA's preparation, targets and loss in the shared loop."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdk.errors import InputError
from train.data.dataset import FaceDataset, even_validation
from train.data.embeddings import open_embeddings
from train.data.manifest import Manifest, read_manifest
from train.methods.ediffiqa import Preparation, losses, prepare
from train.methods.fitting import FitSettings, LossFunction, fit
from train.methods.targets import TargetSettings, label_column, make_targets
from train.methods.warm_up import WarmUpSettings, warm_up_head
from train.networks import QualityNetwork, create_network, get_variant, load_state, read_state
from train.recipes import Recipe, settings_from

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EDifFIQASettings:
    """The published values of preparation and loss, see `train.methods.ediffiqa`; validation as published too.

    Attributes:
        label: Column of the labels, or several by commas, whose ranks are averaged; see `label_column`.
        beta: See `prepare`.
        min_images: See `prepare`.
        epsilon: See `losses`.
        theta: See `losses`.
        validation: Fraction taken evenly along the sorted labels, unless the manifest has a column `split`.
    """

    label: str = "faceqan"
    beta: float = 0.2
    min_images: int = 10
    epsilon: float = 0.5
    theta: float = 0.5
    validation: float = 0.1


@dataclass(frozen=True, slots=True)
class EDifFIQARecipe:
    """All of a recipe's sections that `fiqa-train fit ediffiqa` reads."""

    network: str
    method: EDifFIQASettings = field(default_factory=EDifFIQASettings)
    targets: TargetSettings = field(default_factory=TargetSettings)
    warm_up: WarmUpSettings = field(default_factory=WarmUpSettings)
    training: FitSettings = field(default_factory=FitSettings)

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> "EDifFIQARecipe":
        """Read the sections `network`, `ediffiqa`, `targets`, `warm_up` and `training`.

        Raises:
            InputError: There is no network, or a section has an unknown setting.
        """
        if "network" not in recipe:
            raise InputError("the recipe has no 'network', wanted the name of one, such as ediffiqa-t")
        return cls(
            recipe["network"],
            settings_from(EDifFIQASettings, recipe.get("ediffiqa")),
            settings_from(TargetSettings, recipe.get("targets")),
            settings_from(WarmUpSettings, recipe.get("warm_up")),
            settings_from(FitSettings, recipe.get("training")),
        )


def fit_ediffiqa(recipe: EDifFIQARecipe, labels: Path, embeddings: Path, backbone: Path, out: Path) -> Path:
    """Train, see `train.methods.fitting.fit`.

    Args:
        recipe: Network and settings.
        labels: Labelled manifest, as `fiqa-train label` writes it. A column `split` divides it into `train` and
            `validation`, other values are left out; a column `degradation` marks damaged copies.
        embeddings: `.npy` of the teacher's embeddings, a row a row of the manifest.
        backbone: Checkpoint of the face-recognition network to start from: the teacher.
        out: Folder to write.

    Returns:
        Path of the best checkpoint.

    Raises:
        InputError: Labels and embeddings do not belong together, or nothing is left to train on.
        ModelError: The backbone does not fit.
    """
    variant = get_variant(recipe.network)
    network = create_network(recipe.network)
    if not isinstance(network, QualityNetwork):
        raise InputError(f"{recipe.network} has no quality head, wanted a quality network, such as ediffiqa-t")
    load_state(network.base_model, read_state(backbone), f"{backbone} as the backbone of {recipe.network}")
    data = load_training_data(recipe, labels, embeddings)
    settings = recipe.training
    train_rows, validation_rows = (data.preparation.rows[mask] for mask in (~data.validation, data.validation))
    logger.info("%d images to train on, %d to validate", len(train_rows), len(validation_rows))
    train_set = FaceDataset(data.manifest, train_rows, data.targets, settings.flip, settings.seed, settings.cache)
    validation_set = FaceDataset(data.manifest, validation_rows, data.targets, cache=settings.cache)
    warm_up_head(network, data.targets["teacher"][train_rows], data.targets["label"][train_rows], recipe.warm_up)
    loss = batch_loss(recipe.method, data.preparation)
    return fit(network, variant, train_set, validation_set, loss, settings, out)


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Rows to train and validate on.

    Attributes:
        manifest: All images.
        preparation: Centres and rows.
        validation: bool (M,), which of `preparation.rows` are for validation.
        targets: Arrays over the manifest's rows: `label` in [0, 1], `teacher` (N, D), `class`.
    """

    manifest: Manifest
    preparation: Preparation
    validation: NDArray[np.bool_]
    targets: dict[str, NDArray[Any]]


def load_training_data(recipe: EDifFIQARecipe, labels: Path, embeddings: Path) -> TrainingData:
    """Read labels and embeddings, and prepare them (see `fit_ediffiqa`)."""
    manifest = read_manifest(labels)
    vectors = open_embeddings(embeddings, manifest, labels)
    has = manifest.table.column_names
    split = np.array(manifest.column("split") if "split" in has else ["train"] * len(manifest))
    clean = np.array([not value for value in manifest.column("degradation")] if "degradation" in has else [True])
    clean = np.broadcast_to(clean, len(manifest))
    values = label_column(manifest, recipe.method.label)
    used = np.flatnonzero(np.isin(split, ("train", "validation")) & ~np.isnan(values))
    if len(used) == 0:
        raise InputError(f"{labels} has no row with a {recipe.method.label} label to train on")
    identities = np.array(manifest.identities, dtype=str)
    method, part = recipe.method, np.asarray(vectors[used])
    prepared = prepare(values[used], part, identities[used], method.beta, method.min_images, clean[used])
    kept = prepared.rows
    label = make_targets(values[used][kept], part[kept], identities[used][kept], clean[used][kept], recipe.targets)
    rows = used[kept]
    if (split == "validation").any():
        validation = split[rows] == "validation"
    else:
        validation = even_validation(label, method.validation)
    targets = {
        "label": _spread(label, rows, len(manifest)),
        "teacher": vectors,
        "class": _spread(prepared.classes, rows, len(manifest)),
    }
    return TrainingData(manifest, Preparation(prepared.centres, rows, prepared.classes), validation, targets)


def _spread(values: NDArray[Any], rows: NDArray[np.int64], count: int) -> NDArray[Any]:
    result = np.zeros(count, values.dtype)
    result[rows] = values
    return result


def batch_loss(settings: EDifFIQASettings, preparation: Preparation) -> LossFunction:
    """EDifFIQA's loss as the loop calls it; in validation the distance from the centre is not applied."""
    centres = torch.from_numpy(preparation.centres)

    def loss(features: Tensor, prediction: Tensor, batch: dict[str, Tensor], training: bool) -> dict[str, Tensor]:
        device = features.device
        terms = losses(
            features,
            prediction,
            batch["label"].to(device),
            batch["teacher"].to(device),
            centres[batch["class"].cpu()].to(device),
            settings.epsilon if training else 0.0,
            settings.theta,
        )
        return {"total": terms.total, "quality": terms.quality, "consistency": terms.consistency}

    return loss
