"""Rows of a table of scores as text: CSV and JSON Lines, written and read."""

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sdk.results_io.scored_face import ScoredFace
from sdk.text import csv_field, path_text

COLUMNS = (
    "path", "face", "score", "quality", "accepted", "x", "y", "width", "height", "confidence", "landmarks", "error",
)  # fmt: skip
"""Columns of every table. `accepted` is true or false; `landmarks` is x1 y1 ... x5 y5, in CSV as text. What is not
known is empty."""

_TRUTH = {True: "true", False: "false", None: ""}
_TRUTHS = {text: value for value, text in _TRUTH.items()}

LONGEST_ROW = 1 << 20
"""Most bytes of a row that is read."""


def to_row(face: ScoredFace) -> dict[str, Any]:
    """Return a face as plain values, one per column: pixels with two digits, scores with six."""
    x, y, width, height = (None,) * 4 if face.box is None else (round(value, 2) for value in face.box)
    landmarks = None if face.landmarks is None else [round(float(value), 2) for value in face.landmarks.reshape(-1)]
    values = (
        path_text(face.path),
        face.face,
        None if face.score is None else round(face.score, 6),
        face.quality,
        face.accepted,
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
    """Return faces as CSV: one line per face, whatever the names hold, and nothing that a spreadsheet would compute."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=end)
    if header:
        writer.writerow(COLUMNS)
    for face in faces:
        row = to_row(face)
        row["path"] = _csv_path(face.path)
        row["accepted"] = _TRUTH[face.accepted]
        row["landmarks"] = " ".join(map(str, row["landmarks"] or ()))
        row["error"] = csv_field(face.error, "error: ")
        writer.writerow(row.values())
    return text.getvalue()


def _csv_path(path: Path) -> str:
    return csv_field(path_text(path), "./")


def _csv_lines(faces: Iterable[ScoredFace]) -> bytes:
    return csv_text(faces).encode()


def json_lines(faces: Iterable[ScoredFace]) -> bytes:
    return "".join(json.dumps(to_row(face), allow_nan=False) + "\n" for face in faces).encode()


class WholeLines:
    """Read the whole lines of a file.

    Attributes:
        end: Place in the file after the last line that was given.
        torn: Bytes after the last whole line.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.end = 0
        self.torn = b""

    def __iter__(self) -> Iterator[str]:
        while line := self._file.readline(LONGEST_ROW):
            if not line.endswith(b"\n"):
                if len(line) == LONGEST_ROW:
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
        values["accepted"] = _TRUTHS[values["accepted"] or ""]
        values["landmarks"] = values["landmarks"] and values["landmarks"].split()
        yield from_row(values)


def _read_json_lines(lines: Iterable[str]) -> Iterator[ScoredFace]:
    for line in lines:
        row = json.loads(line)
        if not isinstance(row, dict) or tuple(row) != COLUMNS:
            raise ValueError("a line has other columns")
        yield from_row(row)


def from_row(row: dict[str, Any]) -> ScoredFace:
    x, y, width, height = (row[name] for name in ("x", "y", "width", "height"))
    face = ScoredFace(
        Path(row["path"]),
        None if row["face"] is None else int(row["face"]),
        None if row["score"] is None else float(row["score"]),
        None if x is None else (float(x), float(y), float(width), float(height)),
        None if row["confidence"] is None else float(row["confidence"]),
        None if row["landmarks"] is None else np.array(row["landmarks"], np.float32).reshape(5, 2),
        row["error"] or "",
        quality=None if row["quality"] is None else int(row["quality"]),
        accepted=row["accepted"],
    )
    if face.score is not None and not math.isfinite(face.score):
        raise ValueError(f"a score is {face.score}")
    return face


@dataclass(frozen=True, slots=True)
class RowFormat:
    """Writer and reader of the rows of one format.

    Attributes:
        header: First line; empty where there is none.
        begin: Start of every row.
        lines: Turns faces into bytes.
        read: Turns lines into faces.
        name: Turns a path into its text in a row.
    """

    header: bytes
    begin: bytes
    lines: Callable[[Iterable[ScoredFace]], bytes]
    read: Callable[[Iterable[str]], Iterator[ScoredFace]]
    name: Callable[[Path], str]


CSV = RowFormat(csv_text((), header=True).encode(), b"", _csv_lines, _read_csv, _csv_path)
JSON_LINES = RowFormat(b"", b'{"path": "', json_lines, _read_json_lines, path_text)
