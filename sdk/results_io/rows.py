"""Rows of a table of scores as text: CSV and JSON Lines, written and read."""

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sdk.decision.measures import CODES, MEASURE_OF, SCALES, make_measure
from sdk.decision.texts import default_texts
from sdk.results import Measure, Reason
from sdk.results_io.scored_face import ScoredFace
from sdk.text import csv_field, path_text

COLUMNS = (
    "path", "face", "score", "quality", "accepted", "reasons", "x", "y", "width", "height", "confidence", "landmarks",
    "measures", "error",
)  # fmt: skip
"""Columns of every table. `accepted` is true or false; `landmarks` is x1 y1 ... x5 y5, in CSV as text. `reasons` are
objects, in CSV their codes; `measures` are values by name, in CSV `name=value ...`. What is not known is empty; where
nothing is wrong, `reasons` is an empty list, in CSV `none`."""

NO_REASONS = "none"
"""Text of an empty list of reasons in CSV: an empty field says that nobody asked."""

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
        None if face.reasons is None else [_rounded(reason) for reason in face.reasons],
        x,
        y,
        width,
        height,
        None if face.confidence is None else round(face.confidence, 4),
        landmarks,
        None if face.measures is None else {name: round(one.value, 2) for name, one in face.measures.items()},
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
        row["reasons"] = _codes(face.reasons)
        row["landmarks"] = " ".join(map(str, row["landmarks"] or ()))
        row["measures"] = " ".join(f"{name}={value}" for name, value in (row["measures"] or {}).items())
        row["error"] = csv_field(face.error, "error: ")
        writer.writerow(row.values())
    return text.getvalue()


def _rounded(reason: Reason) -> dict[str, Any]:
    return {**asdict(reason), "value": round(reason.value, 2)}


def _codes(reasons: tuple[Reason, ...] | None) -> str:
    return "" if reasons is None else " ".join(reason.code for reason in reasons) or NO_REASONS


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
        values["measures"] = values["measures"] and dict(text.split("=") for text in values["measures"].split())
        values["reasons"] = values["reasons"] and _reasons_of(values["reasons"], values["measures"] or {})
        yield from_row(values)


def _reasons_of(codes: str, measures: dict[str, str]) -> list[dict[str, Any]]:
    """Return the reasons of codes; their texts are English, whatever the run had."""
    reasons = []
    for code in codes.split() if codes != NO_REASONS else ():
        if code not in CODES:
            raise ValueError(f"a reason is {code!r}")
        name = MEASURE_OF[code]
        limit, text = float(SCALES[name].limit), default_texts()[code]
        reasons.append(asdict(Reason(code, text, name, float(measures[name]), limit)))
    return reasons


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
        measures=_measures_of(row["measures"]),
        reasons=None if row["reasons"] is None else tuple(Reason(**each) for each in row["reasons"]),
    )
    if face.score is not None and not math.isfinite(face.score):
        raise ValueError(f"a score is {face.score}")
    return face


def _measures_of(values: dict[str, Any] | None) -> dict[str, Measure] | None:
    if values is None:
        return None
    if unknown := [name for name in values if name not in SCALES]:
        raise ValueError(f"a measure is {unknown[0]!r}")
    return {name: make_measure(name, float(value)) for name, value in values.items() if value is not None}


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
