"""Scores as tables that grow while files are scored: CSV, JSON Lines, Parquet.

All rows of a file are written at once, and are with the system then: a run may end in any way and keeps them. `resume`
goes on with such a table. Parquet cannot be read while it grows. Its rows stand in `NAME.parquet.part`, as JSON Lines,
until the run ends or is stopped; after a crash they stay there.
"""

import csv
import io
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from sdk.errors import InputError
from sdk.files import LineFile, check_place, check_suffix, is_stream, replacing, write_errors
from sdk.results_io.scoring import ScoredFace
from sdk.text import csv_field, path_text

COLUMNS = ("path", "face", "score", "x", "y", "width", "height", "confidence", "landmarks", "error")
"""Of every table: `landmarks` is x1 y1 ... x5 y5 (in CSV as text), and what is not known is empty."""

SUFFIXES = (".csv", ".jsonl", ".parquet")

_LONGEST_ROW = 1 << 20
_BLOCK = 4 << 20
"""Bytes of JSON Lines that become one row group of Parquet: some 20,000 rows."""


def to_row(face: ScoredFace) -> dict[str, Any]:
    """Return a face as plain values, one a column: pixels to two digits, scores to six."""
    x, y, width, height = (None,) * 4 if face.box is None else (round(value, 2) for value in face.box)
    landmarks = None if face.landmarks is None else [round(float(value), 2) for value in face.landmarks.reshape(-1)]
    values = (
        path_text(face.path),
        face.face,
        None if face.score is None else round(face.score, 6),
        x,
        y,
        width,
        height,
        None if face.confidence is None else round(face.confidence, 4),
        landmarks,
        face.error or None,
    )
    return dict(zip(COLUMNS, values, strict=True))


def csv_text(faces: Iterable[ScoredFace], header: bool = False, end: str = "\r\n") -> str:
    """Return faces as lines of CSV, one a row whatever their names hold, none of which a spreadsheet would compute."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=end)
    if header:
        writer.writerow(COLUMNS)
    for face in faces:
        row = to_row(face)
        row["path"] = _csv_path(face.path)
        row["landmarks"] = " ".join(map(str, row["landmarks"] or ()))
        row["error"] = csv_field(face.error, "error: ")
        writer.writerow(row.values())
    return text.getvalue()


def _csv_path(path: Path) -> str:
    return csv_field(path_text(path), "./")


def _csv_lines(faces: Iterable[ScoredFace]) -> bytes:
    return csv_text(faces).encode()


def _json_lines(faces: Iterable[ScoredFace]) -> bytes:
    return "".join(json.dumps(to_row(face), allow_nan=False) + "\n" for face in faces).encode()


class _Lines:
    """The whole lines of a file.

    Attributes:
        end: Bytes of those given so far.
        torn: What stands behind the last whole line.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.end = 0
        self.torn = b""

    def __iter__(self) -> Iterator[str]:
        while line := self._file.readline(_LONGEST_ROW):
            if not line.endswith(b"\n"):
                if len(line) == _LONGEST_ROW:
                    raise ValueError("a line is too long")
                self.torn = line
                return
            self.end += len(line)
            yield line.decode()


def _read_csv(lines: Iterable[str]) -> Iterator[ScoredFace]:
    rows = csv.reader(lines, strict=True)
    if (header := next(rows, None)) not in (None, list(COLUMNS)):
        raise ValueError(f"its columns are {header}")
    for row in rows:
        values: dict[str, Any] = {name: value or None for name, value in zip(COLUMNS, row, strict=True)}
        values["landmarks"] = values["landmarks"] and values["landmarks"].split()
        yield _from_row(values)


def _read_json_lines(lines: Iterable[str]) -> Iterator[ScoredFace]:
    for line in lines:
        row = json.loads(line)
        if not isinstance(row, dict) or tuple(row) != COLUMNS:
            raise ValueError("a line has other columns")
        yield _from_row(row)


def _from_row(row: dict[str, Any]) -> ScoredFace:
    x, y, width, height = (row[name] for name in ("x", "y", "width", "height"))
    face = ScoredFace(
        Path(row["path"]),
        None if row["face"] is None else int(row["face"]),
        None if row["score"] is None else float(row["score"]),
        None if x is None else (float(x), float(y), float(width), float(height)),
        None if row["confidence"] is None else float(row["confidence"]),
        None if row["landmarks"] is None else np.array(row["landmarks"], np.float32).reshape(5, 2),
        row["error"] or "",
    )
    if face.score is not None and not math.isfinite(face.score):
        raise ValueError(f"a score is {face.score}")
    return face


@dataclass(frozen=True, slots=True)
class _Kind:
    """How rows stand in a file that grows.

    Attributes:
        header: First line; empty where there is none.
        begin: What every row begins with.
        lines: Writes rows.
        read: Reads them.
        name: A path as it stands in a row.
    """

    header: bytes
    begin: bytes
    lines: Callable[[Iterable[ScoredFace]], bytes]
    read: Callable[[Iterable[str]], Iterator[ScoredFace]]
    name: Callable[[Path], str]


_CSV = _Kind(csv_text((), header=True).encode(), b"", _csv_lines, _read_csv, _csv_path)
_JSON = _Kind(b"", b'{"path": "', _json_lines, _read_json_lines, path_text)


class Table:
    """A table that grows, one run at a time; a context manager.

    A table that is there already is replaced as soon as there is a row to replace it with.

    Args:
        path: .csv, .jsonl or .parquet; a pipe or a device without such a suffix takes CSV.
        resume: Go on with the table that is there, if there is one: exhaust `earlier` first.

    Raises:
        InputError: The place is wrong, another run writes there, or the rows of a Parquet table that was not finished
            are there and `resume` is not given.
        OutputError: The disk is full.

    Attributes:
        written: Whether anything was written to it.
    """

    def __init__(self, path: Path, resume: bool = False) -> None:
        check_table(path)
        self.path = path
        suffix = path.suffix.lower()
        self._parquet = suffix == ".parquet"
        self._kind = _JSON if self._parquet or suffix == ".jsonl" else _CSV
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
        """Whether it goes to a pipe or a device, which nothing can go on with."""
        return is_stream(self.path)

    @property
    def rows_at(self) -> Path:
        """The file that grows."""
        return self._place

    def name(self, path: Path) -> str:
        """Return the text of a path that `earlier` gives for its file."""
        return str(Path(self._kind.name(path)))

    def earlier(self) -> Iterator[list[ScoredFace]]:
        """Read what earlier runs wrote, and cut off what the last one did not write whole.

        Yields:
            All rows of one file, its path as it stands in the table; see `name`.

        Raises:
            InputError: It is no table of scores; it is left as it is.
        """
        if self._parquet and not self._size():
            self._unpack()
        whole, found = 0, list[ScoredFace]()
        try:
            with self._place.open("rb") as file:
                lines = _Lines(file)
                end = 0
                for face in self._kind.read(lines):
                    if found and not face.face:  # a file's first row has face 0, or none
                        yield found
                        whole, found = end, []
                    found.append(face)
                    end = lines.end
                start = self._kind.begin if end or not self._kind.header else self._kind.header
                if not (lines.torn.startswith(start) or start.startswith(lines.torn)):
                    raise ValueError("its last line is no row")
                if found and not lines.torn:
                    yield found
                    whole = end
        except (ValueError, TypeError, csv.Error, RecursionError) as error:
            raise InputError(
                f"{self._place} is no table of scores ({error}), so that --resume cannot go on with it; "
                "give another --out, or leave --resume out to replace it"
            ) from error
        self._file.cut(whole)
        self._begun = whole > 0

    def add(self, faces: Sequence[ScoredFace]) -> None:
        """Add all rows of one file.

        Raises:
            OutputError: The disk is full; the table ends with the file before.
        """
        lines = self._kind.lines(faces)
        if not self._begun:
            self._file.cut()
            lines = self._kind.header + lines
        self._file.write(lines)
        self._begun, self._copied, self.written = True, False, True

    def finish(self, seconds: float | None = None) -> bool:
        """Make the Parquet table of its rows; other tables are finished at any time.

        Args:
            seconds: How long it may take; None for any time.

        Returns:
            Whether it was made; if not, the rows stay in the .part file.

        Raises:
            InputError: The place is wrong.
            OutputError: The disk is full.
        """
        if self._parquet and self._begun and not self._copied:
            until = math.inf if seconds is None else time.monotonic() + seconds
            try:
                with self._place.open("rb") as rows, replacing(self.path) as draft:
                    _write_parquet(draft, rows, until)
            except _TooLate:
                return False
            self._file.cut()
            self.written = True
        return True

    def close(self) -> None:
        """Close the file and let others write. Nothing is left where nothing was added."""
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
        """Write the rows of a finished Parquet table where they can grow."""
        if not self.path.is_file():
            return
        self._copied = True
        pa = import_pyarrow()
        import pyarrow.parquet

        try:
            with pyarrow.parquet.ParquetFile(self.path) as table:
                if tuple(table.schema_arrow.names) != COLUMNS:
                    raise ValueError(f"its columns are {table.schema_arrow.names}")
                for batch in table.iter_batches():
                    self._file.write(_json_lines(map(_from_row, batch.to_pylist())))
        except (ValueError, TypeError, pa.ArrowException) as error:
            raise InputError(
                f"{self.path} is no table of scores ({error}), so that --resume cannot go on with it; "
                "give another --out, or leave --resume out to replace it"
            ) from error


def check_table(path: Path) -> None:
    """Make sure that a table can be written, before there is anything to lose.

    Raises:
        InputError: The suffix is not known, pyarrow is missing, or the place cannot be written.
        OutputError: The disk is full.
    """
    check_suffix("--out", path, SUFFIXES)
    if path.suffix.lower() == ".parquet":
        import_pyarrow()
        check_place(path)


class _TooLate(Exception):  # noqa: N818 - no error
    """There is no more time."""


def _write_parquet(path: Path, rows: BinaryIO, until: float) -> None:
    """Turn JSON Lines into Parquet, a row group for each block.

    Raises:
        _TooLate: It is later than `until`.
    """
    pa = import_pyarrow()
    import pyarrow.json
    import pyarrow.parquet

    kinds = {"path": pa.string(), "face": pa.int32(), "landmarks": pa.list_(pa.float32()), "error": pa.string()}
    schema = pa.schema([(name, kinds.get(name, pa.float32())) for name in COLUMNS])
    columns = pyarrow.json.ParseOptions(explicit_schema=schema)
    with pyarrow.parquet.ParquetWriter(path, schema) as table:
        while block := rows.read(_BLOCK) + rows.readline():
            if time.monotonic() > until:
                raise _TooLate
            whole = pyarrow.json.ReadOptions(block_size=len(block) + 1)
            table.write_table(pyarrow.json.read_json(io.BytesIO(block), whole, columns))


def import_pyarrow() -> Any:
    """Import the package pyarrow.

    Raises:
        InputError: It is not installed.
    """
    try:
        import pyarrow
    except ModuleNotFoundError as error:
        raise InputError(
            "Parquet needs pyarrow, which is not installed; pip install 'fiqa[report]', or write .csv or .jsonl"
        ) from error
    return pyarrow
