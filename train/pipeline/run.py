"""The stages in their order."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdk.errors import InputError
from sdk.files import check_outputs, write_json
from sdk.models.card import METADATA_KEY
from train.data.manifest import Manifest, read_manifest
from train.data.prepare import prepare
from train.data.sources.source import sources_of_recipe, unpacked
from train.evaluation.plan import EvaluationPlan
from train.fitting.fit_regressor import fit_regressor
from train.fitting.regressor import FitFiles, RegressorRecipe
from train.labelling.labeller import Labeller
from train.labelling.network_scores import NetworkScores, rescale
from train.networks import QualityNetwork, get_variant, load_network, save_network
from train.pipeline.calibrate import CalibrateSettings, calibrate_network
from train.pipeline.compare import compare
from train.pipeline.files import Files
from train.pipeline.labels import add_label, label
from train.pipeline.peers import load_peers
from train.pipeline.start import PACKAGED, packaged_backbone
from train.pipeline.teacher import Teacher
from train.recipes import Recipe, settings_from, training_commit
from train.run_state import RunRecord, read_record

logger = logging.getLogger(__name__)

LATER = ("peers", "evaluate", "calibrate")
"""Sections that may change between two starts of a run: nothing that was made before depends on them."""

SCALE_QUANTILES = (0.005, 0.995)
"""Validation scores that become 0 and 1: the worst and the best faces, but for a few outliers."""


def run_recipe(recipe: Recipe, data: Path, out: Path) -> Path:
    """Run every stage of a recipe.

    Args:
        recipe: Sections: see `train.recipes.SECTIONS` and `train/configs/fiqa-nano.yaml`.
        data: Folder that the recipe's paths are relative to.
        out: Folder to write; started again, the run goes on there.

    Returns:
        Path of the network's weights.

    Raises:
        InputError: The recipe lacks a section, the folder is of another recipe, or a stage refuses its input.
    """
    for section in ("prepare", "teacher"):
        if section not in recipe:
            raise InputError(
                f"the recipe has no section {section!r}: it is for `fiqa-train fit`, not for `fiqa-train recipe`"
            )
    files = Files(out)
    outputs = (files.labels, files.scores, files.embeddings, files.weights, out / "recipe.json")
    _check_same(recipe, out / "recipe.json")
    if recipe.get("start", PACKAGED) != PACKAGED:
        raise InputError(f"start is {recipe['start']!r}, wanted {PACKAGED}")
    teacher = Teacher.from_recipe(recipe["teacher"] or {}, data)
    if "start" not in recipe and teacher.weights is None:
        raise InputError(
            "the recipe has neither teacher.weights nor 'start', so there is no backbone to start from; give one"
        )
    sources = sources_of_recipe(recipe["prepare"] or {}, data)
    read = [*teacher.files, *(file for item in sources for file in item.files)]
    check_outputs({path.name: path for path in outputs}, read)
    settings = RegressorRecipe.from_recipe(recipe)
    plan = EvaluationPlan.from_recipe(recipe.get("evaluate"), data)
    calibration = None if "calibrate" not in recipe else settings_from(CalibrateSettings, recipe["calibrate"])
    if calibration is not None:
        calibration.check(plan)
    prepare(sources, out / "faces", settings.prepare)
    peers = load_peers(recipe.get("peers") or {}, data, recipe.get("name", settings.network))
    label(recipe, teacher, files)
    for name in filter(None, (*settings.method.label.split(","), settings.targets.average)):
        add_label(name, peers, files)
    backbone = teacher.weights if teacher.weights and "start" not in recipe else None
    if backbone is None:
        backbone = packaged_backbone(settings.network, out / "backbone.safetensors")
    inputs = FitFiles(files.labels, backbone, files.embeddings, unpacked(sources, out / "faces"))
    best = fit_regressor(settings, inputs, out / "fit")
    _scale(settings, best, files, dict(recipe.get("card") or {}))
    compare(recipe, settings, plan, peers, files)
    if calibration is not None:
        calibrate_network(calibration, plan, settings.network, files, recipe.get("name", ""))
    return files.weights


def _check_same(recipe: Recipe, path: Path) -> None:
    """Keep the recipe beside its results, and refuse to mix results of two."""
    record = RunRecord({name: section for name, section in recipe.items() if name not in ("card", *LATER)})
    if path.exists():
        record.check(read_record(path), path, "give another --out")
    else:
        write_json(path, record.as_dict())


def _scale(settings: RegressorRecipe, best: Path, files: Files, card: dict[str, Any]) -> None:
    """Put scores on a scale from 0 to 1, and write the weights with the facts for their card."""
    network = load_network(settings.network, best)
    assert isinstance(network, QualityNetwork)
    manifest = read_manifest(files.labels)
    rows = np.flatnonzero(np.array(manifest.column("split")) == "validation")
    scores = _scores(manifest.select(rows), NetworkScores("scale", network, get_variant(settings.network)))
    low, high = np.quantile(scores, SCALE_QUANTILES).tolist()
    rescale(network, low, high)
    logger.info("scores %.3f and %.3f become 0 and 1", low, high)
    card["training_commit"] = training_commit()
    save_network(network, files.weights, {METADATA_KEY: json.dumps(card)})


def _scores(manifest: Manifest, labeller: Labeller, batch: int = 32) -> NDArray[np.floating[Any]]:
    paths, values = manifest.paths, []
    for start in range(0, len(manifest), batch):
        rows = range(start, min(start + batch, len(manifest)))
        values.append(labeller(manifest.load_faces(rows), [paths[row] for row in rows])[labeller.name])
    return np.concatenate(values)
