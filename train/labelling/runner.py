"""Run a labeller over a manifest: in batches, with progress, and with a row for every image.

Finished rows are appended to a journal beside the output, and embeddings to a file beside theirs. A run that was
stopped goes on from its journal when it is started again, on any engine. The output is written when all rows are done.
"""

import logging
from contextlib import closing, nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sdk.commands.console import progress_bar
from sdk.errors import InputError
from train.data.manifest import NO_CROP, Manifest, check_labels_path, read_manifest, table_for, write_labels
from train.labelling.embeddings_writer import EmbeddingsWriter
from train.labelling.executors import Engine, Threads
from train.labelling.journal import Journal
from train.labelling.labeller import Labeller, TableLabeller
from train.lock import locked

logger = logging.getLogger(__name__)


def label_manifest(
    manifest: Manifest,
    labeller: Labeller,
    out: Path,
    settings: dict[str, Any] | None = None,
    batch_size: int = 16,
    embeddings: Path | None = None,
    engine: Engine | None = None,
) -> pa.Table:
    """Label every image, and write the manifest with a column `labeller.name` and a column `error`.

    In another folder than the manifest's its paths lead to the same images, see `train.data.manifest.table_for`.

    Args:
        manifest: Images.
        labeller: See `Labeller`.
        out: `.csv`, `.parquet` or `.pkl` to write, see `train.data.manifest.write_labels`.
        settings: What decides the labels, as plain values; by default `labeller.record`. A journal that was made with
            others is refused.
        batch_size: Faces in a batch.
        embeddings: `.npy` for the embeddings, float32 (N, D) in the order of the rows, NaN where an image failed.
        engine: Where to compute; one thread of this process by default.

    Returns:
        The table that was written.

    Raises:
        InputError: The output has another ending, another run is writing it, its journal is of other settings or
            images, or embeddings are asked for and the labeller gives none.
        OutputError: The disk is full; started again, the run goes on.
    """
    check_labels_path(out)
    with locked(out, embeddings):
        decides = getattr(labeller, "record", {}) if settings is None else settings
        decides = {**decides, "labeller": labeller.name, "embeddings": embeddings is not None}
        journal = compute(manifest, labeller, out, decides, batch_size, embeddings, engine or Threads())
        table = _labelled(table_for(manifest, out.parent), labeller.name, journal)
        write_labels(manifest, table, labeller.name, out)
        journal.remove()
    return table


def add_column(path: Path, labeller: Labeller, batch_size: int = 32) -> None:
    """Label the images of a table into a column of the table itself, unless it has that column.

    A run that is killed after it wrote the column leaves the column's journal. It is deleted, for the next column has a
    journal of the same name.

    Args:
        path: Manifest, `.csv` or `.parquet`.
        labeller: See `Labeller`.
        batch_size: Faces in a batch.

    Raises:
        InputError: See `label_manifest`.
        OutputError: The disk is full; started again, the run goes on.
    """
    manifest, left = read_manifest(path), path.with_name(path.name + ".journal")
    if labeller.name not in manifest.table.column_names:
        label_manifest(manifest, labeller, path, {}, batch_size)
        return
    logger.info("%s has the column %s already", path, labeller.name)
    if left.exists():
        with suppress(InputError):  # it is another column's
            Journal(left, {"labeller": labeller.name, "embeddings": False}, manifest.paths).remove()


def compute(
    manifest: Manifest,
    labeller: Labeller,
    out: Path,
    settings: dict[str, Any],
    batch_size: int,
    embeddings: Path | None,
    engine: Engine,
) -> Journal:
    """Label the rows that are not in `<out>.journal` yet, see `label_manifest`.

    Returns:
        The journal with every row. The caller removes it when its rows are written elsewhere. The embeddings are
        written.
    """
    paths = manifest.paths
    journal = Journal(out.with_name(out.name + ".journal"), settings, paths)
    todo = pa.array(np.flatnonzero(~journal.done))
    if len(todo) < len(paths):
        logger.info("%d of %d images are done already", len(paths) - len(todo), len(paths))
    writer = None if embeddings is None else EmbeddingsWriter(embeddings, len(paths), journal)
    columns = [name for name in ("path", "landmarks") if name in manifest.table.column_names]
    rows = manifest.table.select(columns).take(todo).append_column("row", todo)
    finished = engine.map(TableLabeller(labeller, manifest.root.resolve()), rows, batch_size)
    no_crops: list[str] = []  # usually all images of a folder of photos: said once
    with journal, writer or nullcontext(), progress_bar(labeller.name, len(todo)) as advance, closing(finished):
        for done in finished:
            if writer is not None:
                _write_embeddings(done, labeller, writer)
            journal.add(done)
            for error in filter(None, done["error"].to_pylist()):
                if NO_CROP in error:
                    no_crops.append(error)
                else:
                    logger.warning("%s", error)
            advance(len(done))
        if writer is not None:
            writer.finish()
    if no_crops:
        logger.warning("%d of %d images are no crops; the first one: %s", len(no_crops), len(paths), no_crops[0])
    return journal


def _write_embeddings(done: pa.Table, labeller: Labeller, writer: EmbeddingsWriter) -> None:
    found = done.filter(pc.is_valid(done["embedding"]))
    if len(found) == 0 and done["value"].null_count < len(done):
        raise InputError(f"the labeller {labeller.name!r} gives no embeddings; leave out --embeddings")
    if len(found):
        vectors = [np.frombuffer(vector, np.float32) for vector in found["embedding"].to_pylist()]
        writer.write(found["row"].to_pylist(), np.stack(vectors))


def _labelled(table: pa.Table, name: str, journal: Journal) -> pa.Table:
    kept = table.select([column for column in table.column_names if column not in (name, "error")])
    errors = [journal.errors.get(row, "") for row in range(len(kept))]
    values = pa.array(journal.values, pa.float64(), mask=np.array([bool(error) for error in errors]))
    return kept.append_column(name, values).append_column("error", pa.array(errors, pa.string()))
