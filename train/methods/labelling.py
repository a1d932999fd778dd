"""Run a labeller over a manifest: batched, with progress, resumable, and with a row for every image.

Finished rows are appended to a journal beside the output, embeddings to a memory-mapped array; a run that is started
again reads the journal and goes on. The output appears, whole, when every row is there.
"""

import json
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sdk.console import progress_bar
from sdk.errors import FiqaError, InputError
from sdk.parallel import bounded_map
from train.data.manifest import Manifest, check_table_path, write_table

logger = logging.getLogger(__name__)

Row = dict[str, Any]


class Labeller(Protocol):
    """What labels a batch: uint8 BGR (N, 112, 112, 3) and a key an image -> `name` (N,), perhaps `embedding` (N, D)."""

    name: str

    def __call__(self, faces: NDArray[np.uint8], keys: Sequence[str]) -> dict[str, NDArray[Any]]: ...


def label_manifest(
    manifest: Manifest,
    labeller: Labeller,
    out: Path,
    settings: Row,
    batch_size: int = 16,
    embeddings: Path | None = None,
    callers: int = 1,
) -> pa.Table:
    """Label every image and write the manifest with a column `labeller.name` and a column `error`.

    Args:
        manifest: Images.
        labeller: See `Labeller`.
        out: `.csv` or `.parquet` to write.
        settings: Whatever decides the labels, as plain values; a journal made with others is refused.
        batch_size: Faces a call.
        embeddings: `.npy` for the embeddings, float32 (N, D) in the order of the rows, NaN where an image failed.
        callers: Threads that read and label a batch each. On a CPU one a core, each with one torch thread, is faster
            than one caller with all of them, most of all on a machine that has other work too.

    Returns:
        The table that was written.

    Raises:
        InputError: The output has another ending, or its journal was written with other settings or images.
    """
    check_table_path(out)
    paths = manifest.paths
    journal = Journal(out, {**settings, "labeller": labeller.name, "rows": len(paths)}, embeddings, len(paths))
    todo = [row for row in range(len(paths)) if row not in journal.rows]
    if journal.rows:
        logger.info("%d of %d images are labelled already", len(journal.rows), len(paths))
    chunks = [todo[start : start + batch_size] for start in range(0, len(todo), batch_size)]
    with journal, progress_bar(labeller.name, len(todo)) as advance, ThreadPoolExecutor(callers) as pool:
        for done in bounded_map(pool, partial(_label_batch, manifest, labeller), chunks, 2 * callers):
            if embeddings is not None and done.embeddings is not None:
                journal.store_embeddings(done.rows, done.embeddings)
            for row, error in done.errors.items():
                logger.warning("%s", error)
                journal.add({"row": row, "path": paths[row], "error": error})
            for row, value in zip(done.rows, done.values, strict=True):
                journal.add({"row": row, "path": paths[row], "value": value})
            journal.flush()
            advance(len(done.rows) + len(done.errors))
    table = _labelled(manifest.table, labeller.name, journal.rows)
    write_table(table, out)
    journal.remove()
    return table


def _labelled(table: pa.Table, name: str, rows: dict[int, Row]) -> pa.Table:
    kept = table.select([column for column in table.column_names if column not in (name, "error")])
    values = pa.array([rows[row].get("value") for row in range(len(kept))], pa.float64())
    errors = pa.array([rows[row].get("error", "") for row in range(len(kept))], pa.string())
    return kept.append_column(name, values).append_column("error", errors)


@dataclass(frozen=True, slots=True)
class _Done:
    """A labelled batch: its readable rows with their labels, and the errors of the others."""

    rows: list[int]
    values: list[float]
    embeddings: NDArray[np.float32] | None
    errors: dict[int, str]


def _label_batch(manifest: Manifest, labeller: Labeller, rows: Sequence[int]) -> _Done:
    faces, good, errors = [], [], {}
    for row in rows:
        try:
            faces.append(manifest.load_face(row))
            good.append(row)
        except FiqaError as error:
            errors[row] = str(error)
    if not good:
        return _Done([], [], None, errors)
    result = labeller(np.stack(faces), [manifest.table["path"][row].as_py() for row in good])
    return _Done(good, result[labeller.name].tolist(), result.get("embedding"), errors)


class Journal:
    """Rows that are done, one JSON object a line under a first line of settings."""

    def __init__(self, out: Path, settings: Row, embeddings: Path | None, count: int) -> None:
        self._path = out.with_name(out.name + ".journal")
        self._embeddings_path = embeddings
        self._embeddings: NDArray[np.float32] | None = None
        self._count = count
        self._settings = json.loads(json.dumps(settings))
        self.rows: dict[int, Row] = self._read() if self._path.exists() else {}

    def _read(self) -> dict[int, Row]:
        whole = self._path.read_bytes()
        whole = whole[: whole.rfind(b"\n") + 1]  # a line that was being written when the run was killed is done again
        lines = whole.decode().splitlines()
        if not lines:
            return {}
        found = json.loads(lines[0])
        different = sorted(
            key for key in {*found, *self._settings} if found.get(key, ...) != self._settings.get(key, ...)
        )
        if different:
            key = different[0]
            raise InputError(
                f"{self._path} is of a run with {key}={found.get(key)!r}, this one has "
                f"{key}={self._settings.get(key)!r}; delete it to start anew, or give another --out"
            )
        self._path.write_bytes(whole)
        return {row["row"]: row for row in map(json.loads, lines[1:])}

    def __enter__(self) -> "Journal":
        new = not self.rows
        self._file = self._path.open("w" if new else "a")
        if new:
            self._file.write(json.dumps(self._settings) + "\n")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if self._embeddings is not None:
            self._embeddings.flush()  # type: ignore[attr-defined]

    def add(self, row: Row) -> None:
        """Take a finished row; it is safe after `flush`."""
        self._file.write(json.dumps(row) + "\n")
        self.rows[row["row"]] = row

    def flush(self) -> None:
        """Hand all rows so far to the operating system."""
        self._file.flush()

    def store_embeddings(self, rows: Sequence[int], vectors: NDArray[np.float32]) -> None:
        """Put embeddings into their rows of the array on disk."""
        if self._embeddings is None:
            assert self._embeddings_path is not None
            self._embeddings = _open_embeddings(self._embeddings_path, (self._count, vectors.shape[1]))
        self._embeddings[list(rows)] = vectors

    def remove(self) -> None:
        """Delete the file: its rows are in the output now."""
        self._path.unlink()


def _open_embeddings(path: Path, shape: tuple[int, int]) -> NDArray[np.float32]:
    if path.exists():
        found = np.lib.format.open_memmap(path, mode="r+")
        if found.shape == shape and found.dtype == np.float32:
            return found
        raise InputError(f"{path} is {found.dtype} {found.shape}, wanted float32 {shape}; delete it or name another")
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    array[:] = np.nan
    return array
