"""From a labelled manifest to a trained network: a method's objective, targets, warm-up, and the trainer."""

import logging
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sdk.errors import InputError
from train.data.dataset import even_validation
from train.data.embeddings import read_rows
from train.data.label_targets import label_column, make_targets
from train.data.labelled import LabelledFaces, read_labelled
from train.fitting.quality import quality_task
from train.fitting.regressor import FitFiles, RegressorRecipe, Split
from train.fitting.settings import FREE
from train.fitting.warm_up import warm_up_head
from train.networks import QualityNetwork, create_network, get_variant, load_checkpoint
from train.run_state import RunRecord, digest

logger = logging.getLogger(__name__)

_BLOCK = 8192
"""Embeddings that are read at once: all may be larger than memory."""


def fit_regressor(recipe: RegressorRecipe, files: FitFiles, out: Path) -> Path:
    """Train, see `train.fitting.supervised.Supervised.fit`.

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
    objective = recipe.method.objective(read_labelled(files.labels, recipe.method.label, files.embeddings))
    data = objective.data
    _check_width(recipe.network, data)
    embeddings = data.embeddings if recipe.targets.centre != "none" or recipe.warm_up.epochs else None
    label = _targets(recipe, data, embeddings)
    held = _validation(data, label, recipe.method.validation)
    if embeddings is not None:
        warm_up_head(network, embeddings[~held], label[~held], recipe.warm_up)
    targets = {"label": data.spread(label), **objective.targets}
    split = Split(data.manifest, data.rows[~held], data.rows[held], targets)
    train_set, validation_set = recipe.method.data_sets(split, recipe, files)
    task = quality_task(network, get_variant(recipe.network), train_set, objective.loss, recipe.training)
    used = files.embeddings if embeddings is not None or "teacher" in targets else None
    return task.fit(validation_set, out, _record(recipe, data, label, used))


def _targets(
    recipe: RegressorRecipe, data: LabelledFaces, embeddings: NDArray[np.floating[Any]] | None
) -> NDArray[np.float32]:
    average = recipe.targets.average
    other = label_column(data.manifest, average)[data.rows] if average else None
    return make_targets(data.labels, embeddings, data.identities, data.clean, recipe.targets, other)


def _record(
    recipe: RegressorRecipe, data: LabelledFaces, label: NDArray[np.float32], embeddings: Path | None
) -> RunRecord:
    settings = {
        "network": recipe.network,
        recipe.name: asdict(recipe.method),
        "targets": asdict(recipe.targets),
        "warm_up": asdict(recipe.warm_up),
        "training": asdict(recipe.training),
    }
    paths = data.manifest.paths
    inputs = {"images": digest(["\n".join(paths[row] for row in data.rows)]), "labels": digest([label.tobytes()])}
    if embeddings is not None:
        inputs["embeddings"] = digest(_blocks(embeddings, data.rows))
    return RunRecord(settings, inputs, FREE)


def _blocks(embeddings: Path, rows: NDArray[np.int64]) -> Iterator[bytes]:
    for start in range(0, len(rows), _BLOCK):
        yield read_rows(embeddings, rows[start : start + _BLOCK]).tobytes()


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
    """Choose the rows to validate on: the manifest's own, or some along the sorted labels."""
    chosen = data.split == "validation"
    if not chosen.any():
        chosen = even_validation(label, fraction)
    if chosen.all():
        raise InputError(f"all {len(chosen)} images are for validation, wanted some to train on")
    logger.info("%d images to train on, %d to validate", (~chosen).sum(), chosen.sum())
    return chosen
