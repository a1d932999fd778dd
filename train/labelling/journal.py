"""What a run has finished, on disk, so that a run that was stopped, in whatever way, goes on.

Written with plain unbuffered writes: what a call has written survives the process, and a full disk is an error that can
be told. Under a memory map it would end the process without a word.
"""

import io
import json
import math
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sdk.errors import InputError
from sdk.files import LineFile, make_folder, open_file, write_errors
from sdk.text import shortened
from train.data.embeddings import open_vectors
from train.run_state import RunRecord, parse_record

_ANEW = "delete it to start anew"
_OR_ELSEWHERE = "delete it to start anew, or give another --out"
_LONGEST_LINE = 1 << 20


class Journal:
    """Rows that are done: one JSON object a line under a first line of settings.

    Attributes:
        done: bool (N,), the rows that are done.
        values: float64 (N,), NaN where a row is not done or failed.
        errors: Row -> why it failed.

    Args:
        path: The file; read where it exists.
        settings: Whatever decides the values, as plain values.
        paths: The key of each row.

    Raises:
        InputError: The file is of a run with other settings or images.
    """

    def __init__(self, path: Path, settings: dict[str, Any], paths: Sequence[str]) -> None:
        self.path = path
        self.done = np.zeros(len(paths), bool)
        self.values = np.full(len(paths), np.nan)
        self.errors: dict[int, str] = {}
        self._paths = paths
        self._record = RunRecord({**settings, "rows": len(paths)})
        if path.exists():
            self._read()

    @property
    def has_values(self) -> bool:
        """Whether a row has been done without an error."""
        return int(self.done.sum()) > len(self.errors)

    def _read(self) -> None:
        with open_file(self.path, InputError, _ANEW) as file:
            first = file.readline(_LONGEST_LINE)
            if not first.endswith(b"\n"):
                return
            self._record.check(parse_record(first, self.path), self.path, _OR_ELSEWHERE)
            for line in iter(partial(file.readline, _LONGEST_LINE), b""):
                if not line.endswith(b"\n"):  # it was being written when the run was stopped: that row is done again
                    break
                self._take(parse_record(line, self.path))

    def _take(self, line: dict[str, Any]) -> None:
        row, value, error = line.get("row"), line.get("value"), line.get("error", "")
        good = _is_finite(value) if not error else isinstance(error, str)
        if not isinstance(row, int) or not 0 <= row < len(self._paths) or not good:
            raise InputError(f"{self.path} is damaged ({shortened(repr(line))} is no row of it); {_ANEW}")
        if self._paths[row] != line.get("path"):
            raise InputError(
                f"{self.path} has {shortened(repr(line.get('path')))} as image {row}, this run has "
                f"{self._paths[row]!r}; {_OR_ELSEWHERE}"
            )
        self.done[row] = True
        self.values[row] = np.nan if error else value
        if error:
            self.errors[row] = error

    def __enter__(self) -> "Journal":
        self._file = LineFile(self.path)  # which cuts off a line that was being written
        if not self.done.any():
            self._file.cut()
            self._write([self._record.as_dict()])
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, finished: pa.Table) -> None:
        """Take finished rows: `row`, `value`, `error`.

        Raises:
            OutputError: The disk is full; what was taken before is safe.
        """
        lines = []
        for row, value, error in zip(*(finished[name].to_pylist() for name in ("row", "value", "error")), strict=True):
            result = {"error": error} if error else {"value": value}
            lines.append({"row": row, "path": self._paths[row], **result})
        self._write(lines)
        for line in lines:
            self._take(line)

    def _write(self, lines: list[dict[str, Any]]) -> None:
        self._file.write("".join(json.dumps(line, allow_nan=False) + "\n" for line in lines).encode())

    def remove(self) -> None:
        """Delete the file: its rows are in the output now."""
        with write_errors(self.path):
            self.path.unlink()


def _is_finite(value: object) -> bool:
    try:
        return isinstance(value, int | float) and math.isfinite(value)
    except OverflowError:  # an integer of 400 digits
        return False


class EmbeddingsWriter:
    """Embeddings of a run, written to `<path>.part` as they come, and renamed when all are there.

    Args:
        path: `.npy`, float32 (N, D).
        count: Rows (N).
        journal: Of the same run; its rows have their embeddings here.

    Raises:
        InputError: The journal has rows whose embeddings are gone.
    """

    def __init__(self, path: Path, count: int, journal: Journal) -> None:
        self.path, self._count, self._part = path, count, path.with_name(path.name + ".part")
        self._file: io.FileIO | None = None
        self._start = self._size = 0
        if not journal.has_values:
            return
        if self._part.exists():
            self._open()
        elif not (journal.done.all() and path.exists()):  # else it was renamed, and the run stopped just then
            raise InputError(f"{self._part} is gone, but {journal.path} is there; delete that to start anew")

    def __enter__(self) -> "EmbeddingsWriter":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, rows: Sequence[int], vectors: NDArray[np.float32]) -> None:
        """Put embeddings (M, D) into their rows.

        Raises:
            InputError: A finished file of another shape is in the place.
            OutputError: The disk is full, most often at the first call, which reserves the whole file.
        """
        with write_errors(self._part):
            if self._file is None:
                self._create(vectors.shape[1])
            assert self._file is not None
            for row, vector in zip(rows, vectors.astype("<f4"), strict=True):
                self._file.seek(self._start + row * self._size)
                write_all(self._file, vector.tobytes())

    def finish(self) -> None:
        """Put the file into its place."""
        if self._file is not None:
            self._file.close()
            with write_errors(self.path):
                os.replace(self._part, os.path.realpath(self.path))

    def _create(self, length: int) -> None:
        shape = (self._count, length)
        if self.path.exists():
            found = open_vectors(self.path)
            if found.shape != shape or found.dtype != np.float32:
                raise InputError(
                    f"{self.path} is {found.dtype} {found.shape}, wanted float32 {shape}; delete it or name another"
                )
        make_folder(self.path.parent)
        with self._part.open("wb", buffering=0) as file:
            header = io.BytesIO()
            np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
            write_all(file, header.getvalue())
            block = max(1, 2**24 // (4 * length))
            for start in range(0, self._count, block):
                rows = min(block, self._count - start)
                write_all(file, np.full((rows, length), np.nan, "<f4").tobytes())
        self._open()

    def _open(self) -> None:
        shape = open_vectors(self._part).shape  # which also compares its size with its header
        if shape[0] != self._count:
            raise InputError(f"{self._part} has {shape[0]} rows, wanted {self._count}; delete it and the journal")
        with write_errors(self._part):
            file = self._part.open("r+b", buffering=0)
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        self._file, self._start, self._size = file, file.tell(), 4 * shape[1]


def write_all(file: io.FileIO, data: bytes) -> None:
    """Write everything or fail: an unbuffered file may take a part."""
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]
