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
from train.data.embeddings import is_named, read_rows
from train.data.labelled import LabelledFaces, read_labelled
from train.fitting.quality import TaughtLoss, quality_task
from train.fitting.regressor import FitFiles, RegressorRecipe, Split
from train.fitting.settings import FREE, recorded
from train.fitting.trainer import STATE
from train.fitting.warm_up import head_inputs, warm_up_head
from train.networks import QualityNetwork, create_network, get_variant, load_checkpoint, save_network
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
    network, variant = _network(recipe, files.backbone), get_variant(recipe.network)
    labelled = read_labelled(files.labels, recipe.method.label, files.embeddings, files.sources)
    objective = recipe.method.objective(labelled)
    data = objective.data
    loss = TaughtLoss(objective.loss, network, variant) if objective.teacher else objective.loss
    head = recipe.warm_up.epochs and not variant.early
    if head or "teacher" in objective.targets:
        _check_width(recipe.network, data)
    label = recipe.method.targets(data, recipe.targets)
    held = _validation(data, label.reshape(len(label), -1).mean(axis=1), recipe.method.validation)
    if recipe.warm_up.epochs and not (out / STATE).exists():  # else the run goes on from its own weights
        trained = data.keep(np.flatnonzero(~held))
        warm_up_head(network, _head_inputs(network, recipe, trained), label[~held], recipe.warm_up)
    targets = {"label": data.spread(label), **objective.targets}
    split = Split(data.manifest, data.rows[~held], data.rows[held], targets)
    train_set, validation_set = recipe.method.data_sets(split, recipe, files)
    task = quality_task(network, variant, train_set, loss, recipe.training)
    reads = recipe.targets.centre != "none" or recipe.warm_up.epochs or "teacher" in targets
    best = task.fit(validation_set, out, _record(recipe, data, label, files.embeddings if reads else None))
    return _with_one_output(recipe, best)


def _head_inputs(network: QualityNetwork, recipe: RegressorRecipe, data: LabelledFaces) -> NDArray[np.floating[Any]]:
    """Return what the head takes of each face: the teacher's embedding, where that is it."""
    variant = get_variant(recipe.network)
    if not variant.early:
        return data.embeddings
    return head_inputs(network, variant, data.manifest, data.rows)


def _with_one_output(recipe: RegressorRecipe, best: Path) -> Path:
    """Merge the outputs of a head that has several, and return the path of that network."""
    weights = recipe.method.weights_of_outputs
    if len(weights) == 1:
        return best
    network = create_network(recipe.network, len(weights))
    assert isinstance(network, QualityNetwork)
    load_checkpoint(network, best, str(best))
    network.merge_outputs(weights)
    merged = best.with_name("merged.safetensors")
    save_network(network, merged)
    return merged


def _record(
    recipe: RegressorRecipe, data: LabelledFaces, label: NDArray[np.float32], embeddings: Path | None
) -> RunRecord:
    settings = {
        "network": recipe.network,
        recipe.name: asdict(recipe.method),
        "targets": asdict(recipe.targets),
        "warm_up": asdict(recipe.warm_up),
        "training": recorded(recipe.training),
    }
    paths = data.manifest.paths
    inputs = {"images": digest(["\n".join(paths[row] for row in data.rows)]), "labels": digest([label.tobytes()])}
    if embeddings is not None:
        inputs["embeddings"] = digest(_blocks(embeddings, data))
    return RunRecord(settings, inputs, FREE)


def _blocks(embeddings: Path, data: LabelledFaces) -> Iterator[bytes]:
    for start in range(0, len(data.rows), _BLOCK):
        rows = data.rows[start : start + _BLOCK]
        vectors = np.asarray(data.teacher[rows], np.float32) if is_named(embeddings) else read_rows(embeddings, rows)
        yield vectors.tobytes()


def _network(recipe: RegressorRecipe, backbone: Path) -> QualityNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed)
        network = create_network(recipe.network, len(recipe.method.weights_of_outputs))
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
