"""Results of a stream as a table: JSON Lines or Parquet, one row per frame."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from sdk.files import check_suffix
from sdk.results_io.parquet import import_pyarrow
from sdk.video.frames import FrameResult
from sdk.video.writing.growing_files import Draft, json_line, open_lines, refuse_existing, rounded

ROW_GROUP = 1000
"""Frames that wait in memory until they are written as Parquet."""


class Records(Protocol):
    """A table of results."""

    def write(self, result: FrameResult) -> None:
        """Add a frame."""
        ...

    def close(self) -> None:
        """Finish the file."""
        ...


class JsonRecords:
    """Write one line of JSON per frame; can be read meanwhile. A run goes on after the lines of earlier runs."""

    def __init__(self, path: Path) -> None:
        self._lines = open_lines(path, b'{"index": ')

    def write(self, result: FrameResult) -> None:
        """Add a frame."""
        self._lines.write(json_line(frame_row(result)))

    def close(self) -> None:
        """Close the file."""
        self._lines.close()


class ParquetRecords:
    """Write one row of Parquet per frame; the file appears when it is closed, unless writing failed."""

    def __init__(self, path: Path) -> None:
        pa = import_pyarrow()
        import pyarrow.parquet

        check_records(path)
        face = {
            "track": pa.int64(), "score": pa.float32(), "quality": pa.int64(), "accepted": pa.bool_(),
            "reasons": pa.list_(pa.string()),
            "box": pa.list_(pa.float32()),
            "landmarks": pa.list_(pa.float32()), "confidence": pa.float32(),
        }  # fmt: skip
        columns = {
            "index": pa.int64(), "timestamp": pa.float64(), "state": pa.string(),
            "faces": pa.list_(pa.struct(face)), "ended": pa.list_(pa.int64()),
        }  # fmt: skip
        self._table = pa.Table
        self._schema = pa.schema(columns)
        self._draft = Draft(path)
        self._rows: list[dict[str, Any]] = []
        self._writer = pyarrow.parquet.ParquetWriter(self._draft.path, self._schema)

    def write(self, result: FrameResult) -> None:
        """Add a frame."""
        self._rows.append(frame_row(result))
        if len(self._rows) >= ROW_GROUP:
            self._flush()

    def close(self) -> None:
        """Write the rest, and give the file its name."""
        try:
            self._draft.finish(self._finish)
        finally:
            self._writer.is_open = False  # it would try again when it is collected

    def _finish(self) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        rows, self._rows = self._rows, []
        with self._draft.writing():
            self._writer.write_table(self._table.from_pylist(rows, self._schema))


RECORDS: dict[str, Callable[[Path], Records]] = {".jsonl": JsonRecords, ".parquet": ParquetRecords}
"""Tables of results by suffix; what is no regular file, such as `/dev/stdout`, takes lines whatever its name."""


def check_records(path: Path) -> None:
    """Refuse a path for a table of results, before there is work to lose.

    Raises:
        InputError: Its suffix is unknown, or it is a Parquet table that is there and would be lost.
    """
    check_suffix("--out", path, RECORDS)
    if path.suffix.lower() == ".parquet":
        refuse_existing("--out", path)


def open_records(path: Path) -> Records:
    """Open a table of results by its suffix.

    Raises:
        InputError: The suffix is unknown, pyarrow is missing, the place cannot be written, or something else is there.
    """
    check_records(path)
    return RECORDS.get(path.suffix.lower(), JsonRecords)(path)


def frame_row(result: FrameResult) -> dict[str, Any]:
    """Return a result as plain values: pixels with two digits, scores with six."""
    faces = [
        {
            "track": face.track,
            "score": None if face.score is None else round(face.score, 6),
            "quality": face.quality,
            "accepted": face.accepted,
            "reasons": None if face.reasons is None else [reason.code for reason in face.reasons],
            "box": rounded(face.box),
            "landmarks": rounded(face.landmarks.reshape(-1)),
            "confidence": round(face.confidence, 4),
        }
        for face in result.faces
    ]
    return {
        "index": result.index,
        "timestamp": round(result.timestamp, 4),
        "state": result.state,
        "faces": faces,
        "ended": list(result.ended),
    }
