"""Embeddings of a labelling run, on disk while it runs.

Written without a buffer, and not through a memory map: what a call has written survives the end of the process, and a
full disk is an error, where a memory map would end the process without a word.
"""

import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sdk.errors import InputError
from sdk.files import make_folder, write_errors
from train.data.embeddings import open_vectors
from train.labelling.journal import Journal


class EmbeddingsWriter:
    """Writes embeddings to `<path>.part` as they come, and renames the file when all are written.

    Args:
        path: `.npy`, float32 (N, D).
        count: Rows (N).
        journal: Journal of the same run, whose rows have their embeddings in the file already.

    Raises:
        InputError: The journal has rows, and the file is gone.
    """

    def __init__(self, path: Path, count: int, journal: Journal) -> None:
        self.path, self._count, self._part = path, count, path.with_name(path.name + ".part")
        self._file: io.FileIO | None = None
        self._start = self._size = 0
        if not journal.has_values:
            return
        if self._part.exists():
            self._open()
        elif not (journal.done.all() and path.exists()):  # else the run was stopped just after the file was renamed
            raise InputError(f"{self._part} is gone, but {journal.path} is there; delete that to start anew")

    def __enter__(self) -> "EmbeddingsWriter":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, rows: Sequence[int], vectors: NDArray[np.float32]) -> None:
        """Write embeddings (M, D) into their rows.

        Raises:
            InputError: A finished file of another shape is there already.
            OutputError: The disk is full; most often at the first call, which reserves the space for all rows.
        """
        with write_errors(self._part):
            if self._file is None:
                self._create(vectors.shape[1])
            assert self._file is not None
            for row, vector in zip(rows, vectors.astype("<f4"), strict=True):
                self._file.seek(self._start + row * self._size)
                write_all(self._file, vector.tobytes())

    def finish(self) -> None:
        """Rename the file to its final name."""
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
        shape = open_vectors(self._part).shape  # raises where the file is shorter than its header says
        if shape[0] != self._count:
            raise InputError(f"{self._part} has {shape[0]} rows, wanted {self._count}; delete it and the journal")
        with write_errors(self._part):
            file = self._part.open("r+b", buffering=0)
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        self._file, self._start, self._size = file, file.tell(), 4 * shape[1]


def write_all(file: io.FileIO, data: bytes) -> None:
    """Write all bytes, for one write to an unbuffered file may take only a part of them."""
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]
