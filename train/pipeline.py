"""A whole recipe: prepare, label, fit, scale, compare. A stage that was stopped goes on; a finished one is left."""

import io
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sdk.errors import InputError
from sdk.files import check_outputs, write_file, write_json
from sdk.models.card import METADATA_KEY
from sdk.models.loading import is_path, load_model
from sdk.text import shortened
from train.data.archive import unpack
from train.data.embeddings import open_vectors
from train.data.label_targets import label_column
from train.data.labelled import LabelledFaces
from train.data.manifest import Manifest, read_manifest, write_table
from train.data.mislabelled import find_mislabelled
from train.data.prepare import prepare
from train.evaluation.plan import EvaluationPlan, evaluate_plan
from train.evaluation.run import Methods
from train.evaluation.sets import rows_without_errors
from train.fitting.fit_regressor import fit_regressor
from train.fitting.regressor import FILES_OF_PREPARE, FitFiles, RegressorRecipe
from train.labelling.labeller import Labeller
from train.labelling.method import RunOptions, label_images
from train.labelling.network_scores import NetworkScores, rescale
from train.labelling.runner import label_manifest
from train.labelling.sdk_model import SDKModel
from train.methods.baselines import DetectorConfidence, LightQNet, Sharpness
from train.methods.faceqan import FaceQANLabeller, FaceQANSettings
from train.networks import QualityNetwork, get_variant, load_network, save_network
from train.recipes import Recipe, settings_from, text_of, training_commit
from train.run_state import RunRecord, read_record

logger = logging.getLogger(__name__)

SCALE_QUANTILES = (0.005, 0.995)
"""Validation scores that become 0 and 1: the worst and the best faces, but for a few outliers."""


@dataclass(frozen=True, slots=True)
class Files:
    """Paths of what a recipe's stages make, in one folder."""

    folder: Path

    @property
    def labels(self) -> Path:
        """Labelled manifest; it is beside the crops, because its paths are relative."""
        return self.folder / "faces" / "labels.parquet"

    @property
    def scores(self) -> Path:
        """The rows of `labels` that are evaluated, with a column a method."""
        return self.folder / "faces" / "scores.parquet"

    @property
    def scores_record(self) -> Path:
        """The splits and peers that `scores` was made for."""
        return self.scores.with_suffix(".json")

    @property
    def scores_embeddings(self) -> Path:
        """Embeddings of the rows of `scores`."""
        return self.folder / "scores-embeddings.npy"

    @property
    def embeddings(self) -> Path:
        """Embeddings of the rows of `labels`."""
        return self.folder / "embeddings.npy"

    @property
    def weights(self) -> Path:
        """Weights of the network that is trained."""
        return self.folder / "weights.safetensors"


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
    for section in ("prepare", "teacher", "faceqan"):
        if section not in recipe:
            raise InputError(
                f"the recipe has no section {section!r}: it is for `fiqa-train fit`, not for `fiqa-train recipe`"
            )
    files = Files(out)
    outputs = (files.labels, files.scores, files.embeddings, files.weights, out / "recipe.json")
    _check_same(recipe, out / "recipe.json")
    teacher = recipe["teacher"] or {}
    model, weights = text_of(teacher, "model", "teacher"), data / text_of(teacher, "weights", "teacher")
    images, landmarks = (data / text_of(recipe["prepare"] or {}, name, "prepare") for name in FILES_OF_PREPARE)
    check_outputs({path.name: path for path in outputs}, [weights, images, landmarks])
    settings = RegressorRecipe.from_recipe(recipe)
    plan = EvaluationPlan.from_recipe(recipe.get("evaluate"), data)
    prepare(images, out / "faces", settings.prepare, landmarks)
    peers = _others(recipe.get("peers") or {}, data, settings.network)
    _label(dict(recipe["faceqan"] or {}), model, weights, files)
    if settings.targets.average:
        _label_average(settings.targets.average, recipe, data, files)
    inputs = FitFiles(files.labels, weights, files.embeddings, unpack(images, out / "faces" / "images"), landmarks)
    best = fit_regressor(settings, inputs, out / "fit")
    _scale(settings, best, files, dict(recipe.get("card") or {}))
    _compare(recipe, settings, plan, peers, files)
    return files.weights


def _check_same(recipe: Recipe, path: Path) -> None:
    """Keep the recipe beside its results, and refuse to mix results of two."""
    record = RunRecord({name: section for name, section in recipe.items() if name not in ("card", "peers", "evaluate")})
    if path.exists():
        record.check(read_record(path), path, "give another --out")
    else:
        write_json(path, record.as_dict())


def _label(section: dict[str, Any], model: str, weights: Path, files: Files) -> None:
    if files.labels.exists():
        logger.info("%s is there already", files.labels)
        return
    bf16, batch = section.pop("bf16", False), section.pop("batch", 16)
    if not isinstance(bf16, bool) or type(batch) is not int or batch < 1:
        raise InputError(
            f"faceqan has bf16={bf16!r}, batch={batch!r}; wanted true or false, and a whole number above 0"
        )
    options = {"settings": settings_from(FaceQANSettings, section), "model": model, "weights": weights, "bf16": bf16}
    manifest, unchecked = files.folder / "faces" / "manifest.csv", files.labels.with_stem("labels-unchecked")
    if not unchecked.exists():
        label_images(FaceQANLabeller.load, options, manifest, unchecked, files.embeddings, RunOptions(batch))
    write_table(_without_wrong_names(read_manifest(unchecked), open_vectors(files.embeddings)), files.labels)
    unchecked.unlink()


def _label_average(name: str, recipe: Recipe, data: Path, files: Files) -> None:
    """Label all images, once, with the method that targets are averaged with."""
    manifest = read_manifest(files.labels)
    if name in manifest.table.column_names:
        logger.info("%s has the column %s already", files.labels, name)
        return
    for labeller in _others(recipe.get("peers") or {}, data):
        if labeller.name == name:
            label_manifest(manifest, labeller, files.labels, {}, 32)
            return
    raise InputError(f"targets.average is {name!r}, which is not among the recipe's peers; name it there")


def _without_wrong_names(manifest: Manifest, embeddings: NDArray[np.float32]) -> pa.Table:
    """Return the table with the split `mislabelled`, which no later stage takes, for images with a wrong name."""
    clean = np.flatnonzero([not value for value in manifest.column("degradation")])
    wrong = find_mislabelled(embeddings[clean], np.array(manifest.identities)[clean])
    paths = manifest.paths
    originals = {paths[row] for row in clean[wrong]}
    logger.info("%d images carry another person's name and are left out: %s", len(originals), sorted(originals))
    columns = zip(manifest.column("split"), manifest.column("original"), strict=True)
    splits = ["mislabelled" if original in originals else split for split, original in columns]
    return manifest.table.set_column(manifest.table.column_names.index("split"), "split", pa.array(splits))


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
        faces = np.stack([manifest.load_face(row) for row in rows])
        values.append(labeller(faces, [paths[row] for row in rows])[labeller.name])
    return np.concatenate(values)


def _compare(
    recipe: Recipe, settings: RegressorRecipe, plan: EvaluationPlan, peers: list[Labeller], files: Files
) -> None:
    """Score the people of the plan's splits with the network and the methods it is compared with, and evaluate."""
    manifest = read_manifest(files.labels)
    rows = np.concatenate([rows_without_errors(manifest, split) for split in plan.splits]).astype(np.int64)
    part, embeddings = manifest.select(rows), np.asarray(open_vectors(files.embeddings)[rows])
    _score(recipe, settings, plan, peers, part, embeddings, files)
    labels = settings.method.label.split(",")
    methods = dict.fromkeys([settings.network, *labels, "target", *(peer.name for peer in peers), "norm"])
    evaluate_plan(plan, files.scores, files.scores_embeddings, Methods(list(methods)), files.folder)


def _score(
    recipe: Recipe,
    settings: RegressorRecipe,
    plan: EvaluationPlan,
    peers: list[Labeller],
    part: Manifest,
    embeddings: NDArray[np.floating[Any]],
    files: Files,
) -> None:
    """Write the columns of `files.scores` that it lacks. With other peers or splits it is made anew."""
    record, kept = RunRecord({"splits": plan.splits, "peers": recipe.get("peers") or {}}), files.scores_record
    if not kept.exists() or record.difference(read_record(kept)):
        kept.unlink(missing_ok=True)
        files.scores.with_name(files.scores.name + ".journal").unlink(missing_ok=True)
        content = io.BytesIO()  # for NumPy's own errors do not say that a disk is full
        np.save(content, embeddings)
        write_file(files.scores_embeddings, content.getvalue())
        table = _with_column(part.table, "norm", np.linalg.norm(embeddings, axis=1))
        write_table(_with_column(table, "target", _target(settings, part, embeddings)), files.scores)
        write_json(kept, record.as_dict())
    network = load_network(settings.network, files.weights)
    assert isinstance(network, QualityNetwork)
    for labeller in (NetworkScores(settings.network, network, get_variant(settings.network)), *peers):
        scored = read_manifest(files.scores)
        if labeller.name not in scored.table.column_names:
            label_manifest(scored, labeller, files.scores, {}, 32)


def _target(
    settings: RegressorRecipe, part: Manifest, embeddings: NDArray[np.floating[Any]]
) -> NDArray[np.floating[Any]]:
    """Return what the score (N,) was to learn: of several outputs, their weighted mean."""
    method, clean = settings.method, np.array([not value for value in part.column("degradation")])
    columns = (np.array(part.identities, dtype=str), clean, np.array(part.column("split")))
    labels, rows = label_column(part, method.label), np.arange(len(part))
    outputs = method.targets(LabelledFaces(part, rows, labels, *columns, embeddings), settings.targets)
    return outputs.reshape(len(part), -1) @ np.array(method.weights_of_outputs)


def _with_column(table: pa.Table, name: str, values: NDArray[np.floating[Any]]) -> pa.Table:
    others = table.select([column for column in table.column_names if column != name])
    return others.append_column(name, pa.array(values.astype(np.float64)))


def _others(section: dict[str, Any], data: Path, network: str = "") -> list[Labeller]:
    """Return the methods that the network is compared with: `sharpness`, and those of the section `peers`."""
    known = ("lightqnet", "detector", "models")
    if unknown := next((name for name in section if name not in known), None):
        raise InputError(f"peers has {shortened(repr(unknown))}, wanted some of: {', '.join(known)}")
    peers: list[Labeller] = [Sharpness()]
    if "lightqnet" in section:
        peers.append(LightQNet(data / text_of(section, "lightqnet", "peers")))
    if "detector" in section:
        peers.append(DetectorConfidence(text_of(section, "detector", "peers")))
    models = section.get("models") or {}
    if not isinstance(models, dict):
        raise InputError(f"peers.models is {shortened(repr(models))}, wanted a mapping: name of a column to its model")
    for name in models:
        model = text_of(models, name, "peers.models")
        if name in {network, "faceqan", "centre", "target", "norm", *(peer.name for peer in peers)}:
            raise InputError(f"peers.models has the name {name!r}, which another method has; give it a name of its own")
        model = str(data / model) if is_path(model) else model
        load_model(model)  # a wrong file is an error now, not after the training
        peers.append(SDKModel(model, str(name)))
    return peers
