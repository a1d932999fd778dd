"""`fiqa-train evaluate`: files in, results out."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from train.data.embeddings import open_embeddings
from train.data.manifest import read_manifest
from train.evaluation.output import contact_sheet, plot_histograms, write_results
from train.evaluation.protocol import EvaluationSettings, SetResult, evaluate_set, set_rows


def evaluate(
    labels: Path,
    embeddings: Path,
    methods: Sequence[str],
    sets: Sequence[str],
    split: str | None,
    settings: EvaluationSettings,
    out: Path,
) -> list[SetResult]:
    """Compare score columns of a labelled manifest and write table, plots and contact sheets.

    Args:
        labels: Labelled manifest, see `fiqa-train label`.
        embeddings: `.npy` (N, D) of the model that judges, a row a row of the manifest.
        methods: Columns; the first is the reference of `worse_than_first`.
        sets: See `train.evaluation.protocol.SETS`.
        split: Only rows with this value in the column `split`; all where None.
        settings: See `EvaluationSettings`.
        out: Folder for the results.

    Raises:
        InputError: A column is missing, or rows and embeddings do not belong together.
    """
    manifest = read_manifest(labels)
    vectors = open_embeddings(embeddings, manifest, labels)
    columns = {method: np.array(manifest.column(method), np.float64) for method in methods}
    results = []
    for name in sets:
        rows = set_rows(manifest, name, split, settings.seed)
        part = manifest.select(rows)
        scores = {method: values[rows] for method, values in columns.items()}
        results.append(evaluate_set(name, part.identities, np.asarray(vectors[rows]), scores, settings))
        out.mkdir(parents=True, exist_ok=True)
        contact_sheet(part, scores[methods[0]], out / f"faces-{name}.png")
        if "degradation" in part.table.column_names:
            damaged = np.array([bool(value) for value in part.column("degradation")])
            plot_histograms(scores, damaged, out / f"histograms-{name}.png")
    write_results(results, out)
    return results
