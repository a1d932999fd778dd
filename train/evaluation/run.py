"""Evaluation from files to files: what `fiqa-train evaluate` and `evaluate-video` do."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sdk.decision.comparisons import Pairs, mated_pairs, non_mated_pairs
from sdk.decision.vectors import cosines
from sdk.errors import InputError
from sdk.files import check_outputs, make_folder
from train.data.manifest import Manifest, read_manifest
from train.evaluation.accuracy import FOLDS, ten_fold_accuracy
from train.evaluation.by_group.grouping import Grouping, evaluate_groups, groups_of
from train.evaluation.by_group.tables import write_groups
from train.evaluation.curves import EvaluationSettings, Scores, SetResult, evaluate_set
from train.evaluation.inputs import EmbeddingSource, method_scores
from train.evaluation.insightface import unpack_bin
from train.evaluation.pairs import read_pairs
from train.evaluation.results.plots import contact_sheet, plot_histograms
from train.evaluation.results.tables import write_results, write_videos
from train.evaluation.selection import ALL_IMAGES, Selection
from train.evaluation.sets import rows_without_errors, set_rows
from train.evaluation.tracks import VideoResult, evaluate_tracks
from train.lock import locked

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Protocol:
    """The comparisons of an evaluation.

    Attributes:
        source: Manifest, folder of images, or insightface's `.bin`, which has its own pairs.
        pairs: List of pairs, see `train.evaluation.pairs`. None compares all mated pairs and random non-mated ones.
        sets: See `train.evaluation.sets.SETS`.
        split: Only rows with this value in the column `split`; all where None.
        selection: Images to compare, by their names. Not for a list of pairs, which names its images.

    Raises:
        InputError: There is a list of pairs and a selection.
    """

    source: Path
    pairs: Path | None = None
    sets: tuple[str, ...] = ("clean",)
    split: str | None = None
    selection: Selection = ALL_IMAGES

    def __post_init__(self) -> None:
        if self.selection != ALL_IMAGES and (self.pairs is not None or self.source.suffix.lower() == ".bin"):
            raise InputError(
                f"{self.pairs or self.source} lists its pairs, so their images cannot be chosen by name, too; "
                "drop the patterns or the list"
            )


@dataclass(frozen=True, slots=True)
class Methods:
    """Quality measures. The first one is the reference that the others are compared with.

    Attributes:
        columns: Columns of the manifest.
        models: Quality models of the SDK, names or ONNX files; they come after the columns.
    """

    columns: Sequence[str] = ()
    models: Sequence[str] = ()


def evaluate(
    protocol: Protocol,
    recognition: EmbeddingSource,
    methods: Methods,
    settings: EvaluationSettings,
    out: Path,
    grouping: Grouping | None = None,
) -> list[SetResult]:
    """Compare quality measures and write tables, plots and contact sheets.

    Args:
        protocol: See `Protocol`.
        recognition: See `EmbeddingSource`.
        methods: See `Methods`.
        settings: See `EvaluationSettings`.
        out: Folder for the results, and for the embeddings and scores that had to be made.
        grouping: Groups of people to evaluate for themselves, too; None for no groups.

    Raises:
        InputError: A file is damaged or lacks something, there are too few comparisons, or another run is writing the
            folder.
        OutputError: The disk is full.
    """
    _check_outputs(out, recognition, protocol.source, protocol.pairs, None if grouping is None else grouping.people)
    make_folder(out)
    with locked(out):
        return _evaluate(protocol, recognition, methods, settings, out, grouping)


WRITTEN = (
    "table.csv", "table.md", "correlations.csv", "groups.csv", "groups.md", "scores.parquet", "video.csv", "video.md",
    "embeddings.json",
)  # fmt: skip
"""Files that an evaluation writes into its folder."""


def _check_outputs(out: Path, recognition: EmbeddingSource, *inputs: Path | None) -> None:
    """Refuse a folder in which a file that is read would be overwritten."""
    made = {"embeddings.npy"} if recognition.is_model else set()
    outputs = {f"--out, {name}": out / name for name in (*WRITTEN, *made)}
    check_outputs({"--out": out, **outputs}, filter(None, (*inputs, recognition.weights, Path(recognition.source))))


def _evaluate(
    protocol: Protocol,
    recognition: EmbeddingSource,
    methods: Methods,
    settings: EvaluationSettings,
    out: Path,
    grouping: Grouping | None,
) -> list[SetResult]:
    if protocol.source.suffix.lower() == ".bin":
        folder = unpack_bin(protocol.source, out)
        protocol = replace(protocol, source=folder / "manifest.csv", pairs=folder / "pairs.csv")
    manifest = read_manifest(protocol.source)
    compared = {name: pairs_of_set(manifest, protocol, name, settings) for name in protocol.sets}
    if grouping is not None:
        for rows, _ in compared.values():
            groups_of(manifest.select(rows), grouping)  # what is wrong with them is an error now, not after embedding
    used = np.unique(np.concatenate([rows for rows, _ in compared.values()]))
    part = manifest.select(used)
    vectors = recognition.read(manifest, used, out)
    scores = method_scores(part, methods.columns, methods.models, out)
    results, accuracies, by_group = [], [], []
    for name, (rows, pairs) in compared.items():
        local = np.searchsorted(used, rows)
        if protocol.pairs is not None and min(len(pairs.mated), len(pairs.non_mated)) >= FOLDS:
            mean, deviation = ten_fold_accuracy(pairs, vectors[local])
            accuracies.append(f"{name} {mean:.2%} (deviation {deviation:.2%})")
        of_set = {method: values[local] for method, values in scores.items()}
        images = part.select(local)
        result = evaluate_set(name, pairs, images.identities, vectors[local], of_set, settings)
        results.append(result)
        if grouping is not None:
            mated = cosines(pairs.mated, vectors[local]).astype(np.float64)
            by_group.append(evaluate_groups(name, images, pairs, mated, result.points, of_set, grouping, settings))
    if grouping is not None:
        write_groups(by_group, grouping.threshold, out)
    notes = protocol_note(manifest, protocol, recognition, settings)
    if accuracies:
        notes["accuracy on ten folds"] = ", ".join(accuracies)
    write_results(results, notes, out)
    for name, (rows, _) in compared.items():
        local = np.searchsorted(used, rows)
        _draw_faces(name, part.select(local), {method: values[local] for method, values in scores.items()}, out)
    return results


def pairs_of_set(
    manifest: Manifest, protocol: Protocol, name: str, settings: EvaluationSettings
) -> tuple[NDArray[np.int64], Pairs]:
    """Return the rows of the manifest that a set compares, and its pairs as indices of these rows."""
    rows = set_rows(manifest, name, protocol.split, settings.seed)
    part = manifest.select(rows)
    if protocol.pairs is None:
        first, second = protocol.selection.sides(part)
        used = first | second
        rows, sides, people = rows[used], (first[used], second[used]), part.select(np.flatnonzero(used)).identities
        mated = mated_pairs(people, settings.mated_limit, settings.seed, sides)
        return rows, Pairs(mated, non_mated_pairs(people, settings.non_mated, settings.seed, sides))
    pairs = read_pairs(protocol.pairs, part)
    named, indices = np.unique(np.concatenate([pairs.mated, pairs.non_mated]), return_inverse=True)
    indices = indices.reshape(-1, 2)
    return rows[named], Pairs(indices[: len(pairs.mated)], indices[len(pairs.mated) :])


def protocol_note(
    manifest: Manifest, protocol: Protocol, recognition: EmbeddingSource, settings: EvaluationSettings
) -> dict[str, str]:
    """Describe an evaluation, so that a reader can repeat or cite it: plain text by name."""
    drawn = f"all mated pairs, at most {settings.mated_limit} a person; up to {settings.non_mated} non-mated ones"
    drawn = ": ".join(filter(None, (str(protocol.selection), drawn)))
    versions = {"unknown"}
    if "degradations_version" in manifest.table.column_names:
        versions = {str(version) for version in manifest.column("degradations_version")}
    damaged = any(name != "clean" for name in protocol.sets)
    return {
        "judge": recognition.name or Path(recognition.source).name,
        "comparisons": protocol.pairs.name if protocol.pairs else drawn,
        "split": protocol.split or "all",
        "degradations": f"version {', '.join(sorted(versions))}" if damaged else "none",
        "bootstrap": f"{settings.repetitions} draws of identities, seed {settings.seed}",
    }


ALL_ROWS = "all"
"""Value of `--split` that takes every row."""


def chosen_split(source: Path, pairs: Path | None, split: str | None) -> str | None:
    """Return the split that a command evaluates: `test` where there is one and neither split nor pairs are given.

    Args:
        source: See `Protocol`.
        pairs: See `Protocol`; a list of pairs names its images.
        split: What is asked for; `ALL_ROWS` for every row, None for the default.

    Returns:
        See `Protocol.split`. The log names a split that is chosen here.

    Raises:
        InputError: The manifest cannot be read.
    """
    if split is not None or pairs is not None or source.suffix.lower() not in (".csv", ".parquet"):
        return None if split == ALL_ROWS else split
    table = read_manifest(source).table
    if "split" not in table.column_names or "test" not in table["split"].to_pylist():
        return None
    logger.info("only the people of the split 'test' are compared; --split %s compares all of them", ALL_ROWS)
    return "test"


def _draw_faces(name: str, part: Manifest, scores: Scores, out: Path) -> None:
    contact_sheet(part, next(iter(scores.values())), out / f"faces-{name}.png")
    damaged = np.zeros(len(part), bool)
    if "degradation" in part.table.column_names:
        damaged = np.array([bool(value) for value in part.column("degradation")])
    plot_histograms(scores, damaged, out / f"histograms-{name}")


def evaluate_video(
    source: Path, recognition: EmbeddingSource, methods: Methods, settings: EvaluationSettings, out: Path
) -> list[VideoResult]:
    """Evaluate the choice of a track's best frame, see `train.evaluation.tracks`, and write tables.

    Args:
        source: Manifest with columns `track` (empty for a single reference image) and `identity`.
        recognition: See `EmbeddingSource`.
        methods: See `Methods`.
        settings: See `EvaluationSettings`; discard rates are not used.
        out: Folder for the results.

    Raises:
        InputError: There is no column `track`, another run is writing the folder, or as `evaluate_tracks`.
        OutputError: The disk is full.
    """
    _check_outputs(out, recognition, source)
    make_folder(out)
    with locked(out):
        return _evaluate_video(source, recognition, methods, settings, out)


def _evaluate_video(
    source: Path, recognition: EmbeddingSource, methods: Methods, settings: EvaluationSettings, out: Path
) -> list[VideoResult]:
    manifest = read_manifest(source)
    if "track" not in manifest.table.column_names:
        raise InputError(f"{source} has no column 'track', only {', '.join(manifest.table.column_names)}")
    rows = np.array(rows_without_errors(manifest), np.int64)
    part = manifest.select(rows)
    vectors = recognition.read(manifest, rows, out)
    scores = method_scores(part, methods.columns, methods.models, out)
    tracks = ["" if track is None else str(track) for track in part.column("track")]
    results = evaluate_tracks(tracks, part.identities, vectors, scores, settings)
    write_videos(results, out)
    return results
