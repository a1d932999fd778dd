"""Run a labeller over a manifest: batched, with progress, resumable, and with a row for every image.

Finished rows are appended to a journal beside the output, embeddings to a file beside theirs; a run that is started
again reads the journal and goes on, on whichever engine. The output appears, whole, when every row is there.
"""

import logging
import math
from collections.abc import Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sdk.commands.console import progress_bar
from sdk.errors import FiqaError
from train.data.manifest import Manifest, check_table_path, write_table
from train.labelling.executors import Engine, Threads
from train.labelling.journal import EmbeddingsWriter, Journal
from train.lock import locked

logger = logging.getLogger(__name__)

Row = dict[str, Any]

DONE = pa.schema([("row", pa.int64()), ("value", pa.float64()), ("error", pa.string()), ("embedding", pa.binary())])
"""A finished row: its number, label, error (empty where it has a label) and float32 embedding as bytes."""


class Labeller(Protocol):
    """What labels a batch: uint8 BGR (N, 112, 112, 3) and a key an image -> `name` (N,), perhaps `embedding` (N, D).

    It is picklable, so that it can work in other processes and on other machines; what cannot travel is made there, see
    `train.lazy`.
    """

    name: str

    def __call__(self, faces: NDArray[np.uint8], keys: Sequence[str]) -> dict[str, NDArray[Any]]: ...


class TableLabeller:
    """A labeller over a batch of a manifest: rows with `row`, `path` and perhaps `landmarks` -> rows as in `DONE`.

    Picklable, and all that an engine needs to know; `ray.data.Dataset.map_batches` takes it as it is.

    Args:
        labeller: See `Labeller`.
        root: Folder that the paths are relative to.
    """

    def __init__(self, labeller: Labeller, root: Path) -> None:
        self._labeller, self._root = labeller, root

    def __call__(self, batch: pa.Table) -> pa.Table:
        manifest = Manifest(batch, self._root)
        faces, good = [], []
        errors = [""] * len(batch)
        for index in range(len(batch)):
            try:
                faces.append(manifest.load_face(index))
                good.append(index)
            except FiqaError as error:
                errors[index] = str(error)
        values: list[float | None] = [None] * len(batch)
        embeddings: list[bytes | None] = [None] * len(batch)
        if good:
            paths = manifest.paths
            result = self._labeller(np.stack(faces), [paths[index] for index in good])
            for index, value in zip(good, result[self._labeller.name].tolist(), strict=True):
                values[index] = value
            for index, vector in zip(good, result.get("embedding", ()), strict=False):
                embeddings[index] = vector.astype(np.float32).tobytes()
                if not np.isfinite(vector).all():
                    values[index] = np.nan
            for index in good:
                if not math.isfinite(values[index] or 0.0):
                    errors[index] = f"{self._root / paths[index]}: the network gave NaN or infinity, wanted numbers"
                    values[index] = embeddings[index] = None
        return pa.table([batch["row"], values, errors, embeddings], schema=DONE)


def label_manifest(
    manifest: Manifest,
    labeller: Labeller,
    out: Path,
    settings: Row,
    batch_size: int = 16,
    embeddings: Path | None = None,
    engine: Engine | None = None,
) -> pa.Table:
    """Label every image and write the manifest with a column `labeller.name` and a column `error`.

    Args:
        manifest: Images.
        labeller: See `Labeller`.
        out: `.csv` or `.parquet` to write.
        settings: Whatever decides the labels, as plain values; a journal made with others is refused.
        batch_size: Faces a call.
        embeddings: `.npy` for the embeddings, float32 (N, D) in the order of the rows, NaN where an image failed.
        engine: Where to compute; one thread of this process by default.

    Returns:
        The table that was written.

    Raises:
        InputError: The output has another ending, another run is writing it, or its journal was written with other
            settings or images.
        OutputError: The disk is full; started again, the run goes on.
    """
    check_table_path(out)
    with locked(out, embeddings):
        decides = {**settings, "labeller": labeller.name, "embeddings": embeddings is not None}
        journal = compute(manifest, labeller, out, decides, batch_size, embeddings, engine or Threads())
        table = _labelled(manifest.table, labeller.name, journal)
        write_table(table, out)
        journal.remove()
    return table


def compute(
    manifest: Manifest,
    labeller: Labeller,
    out: Path,
    settings: Row,
    batch_size: int,
    embeddings: Path | None,
    engine: Engine,
) -> Journal:
    """Run a labeller over the rows that `<out>.journal` does not have yet, see `label_manifest`.

    Returns:
        The journal with every row, to be removed when its rows are safe elsewhere; the embeddings are in their place.
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
    with journal, writer or nullcontext(), progress_bar(labeller.name, len(todo)) as advance, closing(finished):
        for done in finished:
            if writer is not None:
                _keep_embeddings(done, writer)
            journal.add(done)
            for error in filter(None, done["error"].to_pylist()):
                logger.warning("%s", error)
            advance(len(done))
        if writer is not None:
            writer.finish()
    return journal


def _keep_embeddings(done: pa.Table, writer: EmbeddingsWriter) -> None:
    found = done.filter(pc.is_valid(done["embedding"]))
    if len(found):
        vectors = [np.frombuffer(vector, np.float32) for vector in found["embedding"].to_pylist()]
        writer.write(found["row"].to_pylist(), np.stack(vectors))


def _labelled(table: pa.Table, name: str, journal: Journal) -> pa.Table:
    kept = table.select([column for column in table.column_names if column not in (name, "error")])
    errors = [journal.errors.get(row, "") for row in range(len(kept))]
    values = pa.array(journal.values, pa.float64(), mask=np.array([bool(error) for error in errors]))
    return kept.append_column(name, values).append_column("error", pa.array(errors, pa.string()))
