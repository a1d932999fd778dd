"""The comparison of a recipe's network with its peers, on people that it has not seen."""

import io
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sdk.files import write_file, write_json
from train.data.embeddings import open_vectors
from train.data.label_targets import label_column
from train.data.labelled import LabelledFaces
from train.data.manifest import Manifest, read_manifest, write_table
from train.evaluation.plan import EvaluationPlan, evaluate_plan
from train.evaluation.run import Methods
from train.evaluation.sets import rows_without_errors
from train.fitting.regressor import RegressorRecipe
from train.labelling.labeller import Labeller
from train.labelling.network_scores import NetworkScores
from train.labelling.runner import add_column
from train.networks import QualityNetwork, get_variant, load_network
from train.pipeline.files import Files
from train.recipes import Recipe
from train.run_state import RunRecord, read_record


def compare(
    recipe: Recipe, settings: RegressorRecipe, plan: EvaluationPlan, peers: list[Labeller], files: Files
) -> None:
    """Score the people of the plan's splits with the network and the methods it is compared with, and evaluate."""
    manifest = read_manifest(files.labels)
    rows = np.concatenate([rows_without_errors(manifest, split) for split in plan.splits]).astype(np.int64)
    part, embeddings = manifest.select(rows), np.asarray(open_vectors(files.embeddings)[rows])
    _score(recipe, settings, plan, peers, part, embeddings, files)
    labels = settings.method.label.split(",")
    methods = dict.fromkeys(
        [recipe.get("name", settings.network), *labels, "target", *(peer.name for peer in peers), "norm"]
    )
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
    name = recipe.get("name", settings.network)
    for labeller in (NetworkScores(name, network, get_variant(settings.network)), *peers):
        add_column(files.scores, labeller)


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
