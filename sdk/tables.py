"""Scores as tables: CSV, JSON Lines, Parquet."""

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sdk.batch import ScoredFace
from sdk.errors import InputError
from sdk.files import check_place, replace_file

COLUMNS = ("path", "face", "score", "x", "y", "width", "height", "confidence", "landmarks", "error")
"""Of every table: `landmarks` is x1 y1 ... x5 y5 (in CSV as text), and what is not known is empty."""


def path_text(path: Path) -> str:
    """A path as text that any file can hold, also where the name is not valid UTF-8."""
    return os.fsencode(path).decode("utf-8", "replace")


def to_row(face: ScoredFace) -> dict[str, Any]:
    """A face as plain values, one a column: pixels to two digits, scores to six."""
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


def check_table(path: Path) -> None:
    """Make sure that a table can be written, before there is anything to lose.

    Raises:
        InputError: The suffix is not known, pyarrow is missing, or the place cannot be written.
    """
    if path.suffix.lower() not in WRITERS:
        raise InputError(f"{path} ends in {path.suffix or 'nothing'!r}, wanted one of: {', '.join(WRITERS)}")
    if WRITERS[path.suffix.lower()] is _write_parquet:
        import_pyarrow()
    check_place(path)


def write_table(path: Path, faces: Sequence[ScoredFace]) -> None:
    """Write CSV, JSON Lines or Parquet, beside the target first and then renamed.

    Raises:
        InputError: As `check_table` does.
        OutputError: The disk is full.
    """
    check_table(path)
    replace_file(path, lambda temporary: WRITERS[path.suffix.lower()](temporary, faces))


def csv_rows(faces: Iterable[ScoredFace]) -> Iterator[list[Any]]:
    """Header and rows for `csv.writer`."""
    yield list(COLUMNS)
    for face in faces:
        row = to_row(face)
        row["landmarks"] = " ".join(map(str, row["landmarks"] or ()))
        yield list(row.values())


def _write_csv(path: Path, faces: Sequence[ScoredFace]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(csv_rows(faces))


def _write_json_lines(path: Path, faces: Sequence[ScoredFace]) -> None:
    path.write_text("".join(json.dumps(to_row(face)) + "\n" for face in faces), encoding="utf-8")


def _write_parquet(path: Path, faces: Sequence[ScoredFace]) -> None:
    pa = import_pyarrow()
    import pyarrow.parquet

    kinds = {"path": pa.string(), "face": pa.int32(), "landmarks": pa.list_(pa.float32()), "error": pa.string()}
    schema = pa.schema([(name, kinds.get(name, pa.float32())) for name in COLUMNS])
    pyarrow.parquet.write_table(pa.Table.from_pylist([to_row(face) for face in faces], schema), path)


WRITERS: Mapping[str, Callable[[Path, Sequence[ScoredFace]], None]] = {
    ".csv": _write_csv,
    ".jsonl": _write_json_lines,
    ".parquet": _write_parquet,
}


def import_pyarrow() -> Any:
    """The package pyarrow.

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
