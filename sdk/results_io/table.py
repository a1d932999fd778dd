"""A table of scores that grows while files are scored: CSV, JSON Lines or Parquet.

All rows of a file are written at once and handed to the system, so a run may end in any way and keeps them. A run with
`resume` goes on with such a table. Parquet cannot be read while it grows: its rows are in `NAME.parquet.part`, as JSON
Lines, until the run ends or is stopped. After a crash they stay there.
"""

import csv
import math
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

from sdk.errors import InputError
from sdk.files import LineFile, check_place, check_suffix, is_stream, replacing, write_errors
from sdk.results_io.parquet import TooLate, import_pyarrow, read_parquet, write_parquet
from sdk.results_io.rows import CSV, JSON_LINES, WholeLines
from sdk.results_io.scored_face import ScoredFace

SUFFIXES = (".csv", ".jsonl", ".parquet")


class Table:
    """Write a table that grows; one run at a time. A context manager.

    A table that is there already is replaced when the first row is written.

    Args:
        path: .csv, .jsonl or .parquet; a pipe or a device without such a suffix takes CSV.
        resume: Go on with the table that is there, if any. Then read all of `earlier` first.

    Raises:
        InputError: The path cannot be written, another run writes there, or the rows of an unfinished Parquet table are
            there and `resume` is not given.
        OutputError: The disk is full.

    Attributes:
        written: Whether anything was written to it.
    """

    def __init__(self, path: Path, resume: bool = False) -> None:
        check_table(path)
        self.path = path
        suffix = path.suffix.lower()
        self._parquet = suffix == ".parquet"
        self._format = JSON_LINES if self._parquet or suffix == ".jsonl" else CSV
        self._place = path.with_name(path.name + ".part") if self._parquet else path
        with write_errors(path):
            if resume and is_stream(path):
                raise InputError(f"--resume goes on with a file, which {path} is not; leave it out")
            made = not os.path.lexists(self._place)
        self._file = LineFile(self._place, heal=False)
        self._temporary = made or self._parquet  # goes when it is empty
        self._begun = self._copied = self._closed = self.written = False
        if self._parquet and not resume and self._size():
            self._file.close()
            raise InputError(
                f"{self._place} holds the rows of a run that did not end; go on with it by --resume, or delete it"
            )

    @property
    def stream(self) -> bool:
        """True for a pipe or a device, with which no run can go on."""
        return is_stream(self.path)

    @property
    def rows_at(self) -> Path:
        """Path of the file that grows."""
        return self._place

    def name(self, path: Path) -> str:
        """Return a path as `earlier` gives it."""
        return str(Path(self._format.name(path)))

    def earlier(self) -> Iterator[list[ScoredFace]]:
        """Read what earlier runs wrote, and cut off what the last one did not write whole.

        Yields:
            All rows of one file, its path as in the table; see `name`.

        Raises:
            InputError: It is no table of scores; it stays as it is.
        """
        if self._parquet and not self._size():
            self._unpack()
        whole, found = 0, list[ScoredFace]()
        try:
            with self._place.open("rb") as file:
                lines = WholeLines(file)
                end = 0
                for face in self._format.read(lines):
                    if found and not face.face:  # a file's first row has face 0, or none
                        yield found
                        whole, found = end, []
                    found.append(face)
                    end = lines.end
                start = self._format.begin if end or not self._format.header else self._format.header
                if not (lines.torn.startswith(start) or start.startswith(lines.torn)):
                    raise ValueError("its last line is no row")
                if found and not lines.torn:
                    yield found
                    whole = end
        except (ValueError, TypeError, OverflowError, csv.Error, RecursionError) as error:
            raise _no_table(self._place, error) from error
        self._file.cut(whole)
        self._begun = whole > 0

    def add(self, faces: Sequence[ScoredFace]) -> None:
        """Add all rows of one file.

        Raises:
            OutputError: The disk is full; the table ends with the file before.
        """
        lines = self._format.lines(faces)
        if not self._begun:
            self._file.cut()
            lines = self._format.header + lines
        self._file.write(lines)
        self._begun, self._copied, self.written = True, False, True

    def finish(self, seconds: float | None = None) -> bool:
        """Make the Parquet table from its rows; other tables are finished at any time.

        Args:
            seconds: How long it may take; None for any time.

        Returns:
            Whether the table is finished; if not, the rows stay in the .part file.

        Raises:
            InputError: The path cannot be written.
            OutputError: The disk is full.
        """
        if self._parquet and self._begun and not self._copied:
            until = math.inf if seconds is None else time.monotonic() + seconds
            try:
                with self._place.open("rb") as rows, replacing(self.path) as draft:
                    write_parquet(draft, rows, until)
            except TooLate:
                return False
            self._file.cut()
            self.written = True
        return True

    def close(self) -> None:
        """Close the file and let other runs write it. A table without rows is deleted."""
        if self._closed:
            return
        self._closed = True
        if self._copied:
            self._file.cut()
        if self._temporary and not self._size():
            self._file.remove()
        self._file.close()

    def __enter__(self) -> "Table":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _size(self) -> int:
        return 0 if self._file.stream else self._place.stat().st_size

    def _unpack(self) -> None:
        """Write the rows of a finished Parquet table into the file that grows."""
        if not self.path.is_file():
            return
        self._copied = True
        try:
            for lines in read_parquet(self.path):
                self._file.write(lines)
        except (ValueError, TypeError, OverflowError) as error:
            raise _no_table(self.path, error) from error


def check_table(path: Path) -> None:
    """Make sure that a table can be written, before there is anything to lose.

    Raises:
        InputError: The suffix is unknown, pyarrow is missing, or the path cannot be written.
        OutputError: The disk is full.
    """
    check_suffix("--out", path, SUFFIXES)
    if path.suffix.lower() == ".parquet":
        import_pyarrow()
        check_place(path)


def _no_table(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path} is no table of scores ({error}), so that --resume cannot go on with it; "
        "give another --out, or leave --resume out to replace it"
    )
