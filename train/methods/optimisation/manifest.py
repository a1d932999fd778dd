"""Label optimisation of a manifest: check it, and add the column of optimised labels.

The result does not depend on the order of the rows: people and images are taken in the order of their names.
"""

import logging
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sdk.commands.console import progress_bar
from sdk.decision.vectors import Indices
from sdk.errors import InputError
from train.data.embeddings import is_named, open_embeddings, read_rows
from train.data.label_targets import label_column
from train.data.manifest import Manifest, check_labels_path, names_in, read_manifest, table_for, write_labels
from train.data.pickles.published import is_pickle, read_clusters
from train.data.tables import numbers, read_table
from train.lock import locked
from train.methods.optimisation.ranks import BLOCK, OptimisationSettings, ReadRows, cluster_people, optimise

logger = logging.getLogger(__name__)


def optimise_manifest(
    source: Path,
    label: str,
    embeddings: Path,
    out: Path,
    settings: OptimisationSettings,
    name: str | None = None,
    clustering: Path | None = None,
) -> pa.Table:
    """Add a column of optimised labels to a labelled manifest.

    Rows without a label are left out, and stay without one. A person's only image has no mated pair, so it keeps its
    rank. Clusters are kept in a file beside the output until the output is written. A run that was stopped goes on
    from that file. A run with other people, embeddings, clusters or seed has another file.

    Args:
        source: Labelled manifest.
        label: Column, or several by commas, see `train.data.label_targets.label_column`.
        embeddings: File of them, see `train.data.embeddings.open_embeddings`.
        out: `.csv`, `.parquet` or `.pkl` to write; it may be the source.
        settings: See `OptimisationSettings`.
        name: New column, `<label>-optimised` by default; a column of that name is replaced.
        clustering: Clusters of each person's images, instead of k-means: a pickle `{identity: {cluster: [paths]}}`, or
            a table with the columns `path` and `cluster`.

    Returns:
        The table that was written.

    Raises:
        InputError: Labels are missing or all equal, embeddings or clusters are missing, an image has no identity, or
            nobody has two images; or another run is writing the output.
        OutputError: The disk is full; started again, the run goes on.
    """
    check_labels_path(out)
    manifest = read_manifest(source)
    vectors = open_embeddings(embeddings, manifest, source)
    labels = label_column(manifest, label)
    name = name or f"{label.replace(',', '+')}-optimised"
    rows = _rows_by_name(manifest, ~np.isnan(labels))
    people = _people(manifest, rows)
    read: ReadRows = (
        (lambda chosen: np.asarray(vectors[chosen], np.float32))
        if is_named(embeddings)
        else partial(read_rows, embeddings)
    )
    checksum = _check_embeddings(manifest, rows, read, zlib.crc32(people.tobytes()))
    kept = out.with_name(f"{out.name}.clusters-{settings.clusters}-{settings.seed}-{checksum:08x}")
    improved = np.full(len(labels), np.nan)
    with locked(out):
        if clustering is None:
            clusters = cluster_people(people, lambda chosen: read(rows[chosen]), settings, kept)
        else:
            clusters = _read_clusters(clustering, manifest)[rows]
            _check_clusters(clusters, manifest, rows, clustering)
        logger.info("%d images of %d people are clustered", len(rows), people[-1] + 1)
        improved[rows] = optimise(labels[rows], people, clusters, lambda chosen: read(rows[chosen]), settings)
        moved = table_for(manifest, out.parent)
        others = moved.select([column for column in moved.column_names if column != name])
        table = others.append_column(name, pa.array(improved, from_pandas=True))
        write_labels(manifest, table, name, out)
        kept.unlink(missing_ok=True)
    return table


def _rows_by_name(manifest: Manifest, labelled: NDArray[np.bool_]) -> Indices:
    """Return the rows with a label, sorted by identity, then by path."""
    keys = [("identity", "ascending"), ("path", "ascending")]
    rows = pc.sort_indices(manifest.table, sort_keys=keys).to_numpy().astype(np.int64)
    return rows[labelled[rows]]


def _people(manifest: Manifest, rows: Indices) -> Indices:
    """Return the person of each row as a number, which rises along the rows, for they are sorted by identity."""
    identities = manifest.table["identity"].combine_chunks()
    nameless = np.asarray(pc.fill_null(pc.equal(identities, ""), True))[rows]
    if nameless.any():
        first = manifest.table["path"][int(rows[nameless][0])]
        raise InputError(f"{nameless.sum()} of {len(rows)} images have no identity, such as {first}; name or drop them")
    codes = identities.dictionary_encode().indices.to_numpy()[rows]
    people = np.cumsum(np.diff(codes, prepend=codes[0]) != 0)
    if people[-1] == len(people) - 1:
        raise InputError(
            f"none of {len(people)} people has two images, so there is no mated pair; give images of the same people"
        )
    return people


def _check_embeddings(manifest: Manifest, rows: Indices, read: ReadRows, checksum: int) -> int:
    """Refuse missing embeddings, and return the checksum, continued over all embeddings."""
    missing = []
    with progress_bar("embeddings", len(rows)) as advance:
        for start in range(0, len(rows), BLOCK):
            block = rows[start : start + BLOCK]
            vectors = read(block)
            missing.append(block[~np.isfinite(vectors).all(axis=1)])
            checksum = zlib.crc32(vectors.tobytes(), checksum)
            advance(len(block))
    without = np.concatenate(missing)
    if len(without):
        raise InputError(
            f"{len(without)} of {len(rows)} labelled images have no embedding, such as "
            f"{manifest.table['path'][int(without[0])]}; drop their rows, or label again with --embeddings"
        )
    return checksum


def _read_clusters(path: Path, manifest: Manifest) -> Indices:
    """Read the cluster of each image of a manifest as a number, -1 where it has none."""
    if is_pickle(path):
        known = read_clusters(path)
        names, numbered = list(known), list(known.values())
    else:
        table = read_table(path)
        if missing := {"path", "cluster"} - set(table.column_names):
            raise InputError(f"{path} has no column {min(missing)!r}, wanted path and cluster")
        names, numbered = table["path"].to_pylist(), [int(value) for value in numbers(table, "cluster")]
    found = dict(zip(names_in(manifest, names), numbered, strict=True))
    return np.array([found.get(name, -1) for name in manifest.paths], np.int64)


def _check_clusters(clusters: Indices, manifest: Manifest, rows: Indices, path: Path) -> None:
    without = rows[clusters < 0]
    if len(without):
        raise InputError(
            f"{len(without)} of {len(rows)} labelled images have no cluster in {path}, such as "
            f"{manifest.table['path'][int(without[0])]}; drop their rows, or leave out --clustering"
        )
