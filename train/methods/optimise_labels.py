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
from train.data.embeddings import open_embeddings, read_rows
from train.data.label_targets import label_column
from train.data.manifest import Manifest, check_table_path, read_manifest, table_for, write_table
from train.lock import locked
from train.methods.label_optimisation import BLOCK, OptimisationSettings, ReadRows, cluster_people, optimise

logger = logging.getLogger(__name__)


def optimise_manifest(
    source: Path, label: str, embeddings: Path, out: Path, settings: OptimisationSettings, name: str | None = None
) -> pa.Table:
    """Add a column of optimised labels to a labelled manifest.

    Rows without a label are left out, and stay without one. A person's only image has no mated pair, so it keeps its
    rank. Clusters are kept in a file beside the output until the output is written. A run that was stopped goes on
    from that file. A run with other people, embeddings, clusters or seed has another file.

    Args:
        source: Labelled manifest.
        label: Column, or several by commas, see `train.data.label_targets.label_column`.
        embeddings: `.npy` (N, D), a row for each row of the manifest.
        out: `.csv` or `.parquet` to write; it may be the source.
        settings: See `OptimisationSettings`.
        name: New column, `<label>-optimised` by default; a column of that name is replaced.

    Returns:
        The table that was written.

    Raises:
        InputError: Labels are missing or all equal, embeddings are missing, an image has no identity, or nobody has two
            images; or another run is writing the output.
        OutputError: The disk is full; started again, the run goes on.
    """
    check_table_path(out)
    manifest = read_manifest(source)
    open_embeddings(embeddings, manifest, source)
    labels = label_column(manifest, label)
    name = name or f"{label.replace(',', '+')}-optimised"
    rows = _rows_by_name(manifest, ~np.isnan(labels))
    people = _people(manifest, rows)
    read = partial(read_rows, embeddings)
    checksum = _check_embeddings(manifest, rows, read, zlib.crc32(people.tobytes()))
    kept = out.with_name(f"{out.name}.clusters-{settings.clusters}-{settings.seed}-{checksum:08x}")
    improved = np.full(len(labels), np.nan)
    with locked(out):
        clusters = cluster_people(people, lambda chosen: read(rows[chosen]), settings, kept)
        logger.info("%d images of %d people are clustered", len(rows), people[-1] + 1)
        improved[rows] = optimise(labels[rows], people, clusters, lambda chosen: read(rows[chosen]), settings)
        moved = table_for(manifest, out.parent)
        others = moved.select([column for column in moved.column_names if column != name])
        table = others.append_column(name, pa.array(improved, from_pandas=True))
        write_table(table, out)
        kept.unlink()
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
