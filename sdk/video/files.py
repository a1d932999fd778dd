"""What is written while a stream runs: results as lines or Parquet, the video with its overlay, best shots.

A full disk is an `OutputError`, which ends the run; what was written until then is whole: lines are cut back to the
last whole one, other files appear under their name only when they are complete.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from sdk.errors import InputError, OutputError
from sdk.files import check_place, write_errors, write_file
from sdk.tables import import_pyarrow
from sdk.video.best_shot import Shot, TrackShots
from sdk.video.frames import FrameResult

VIDEO_CODECS = {".mp4": "mp4v", ".avi": "MJPG", ".mkv": "mp4v"}
"""By suffix: what every build of OpenCV can write."""

LEAST_FREE = 32 << 20
"""Bytes: OpenCV says nothing when the disk is full, so a video ends when so little is left."""

ROW_GROUP = 1000
"""Frames that wait in memory until they are written as Parquet."""

LONGEST_GAP = 1.0
"""A video shows the last frame for so many seconds at most when none comes."""


class Lines:
    """A file of whole lines, each with the system as soon as it is written.

    Args:
        path: Its folder is made.
        append: Keep what is there.

    Raises:
        InputError: It cannot be written.
    """

    def __init__(self, path: Path, append: bool = False) -> None:
        self._path = path
        with write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab" if append else "wb", buffering=0)

    def write(self, row: dict[str, Any]) -> None:
        """Add a line of JSON.

        Raises:
            OutputError: The disk is full; the file ends with the line before.
        """
        data = json.dumps(row).encode() + b"\n"
        end = self._file.tell()
        with write_errors(self._path):
            try:
                while data:
                    data = data[self._file.write(data) or 0 :]
            except OSError:
                with suppress(OSError):  # a device has no end to go back to
                    self._file.seek(self._file.truncate(end))
                raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Records(Protocol):
    """A table of results."""

    def write(self, result: FrameResult) -> None:
        """Add a frame."""
        ...

    def close(self) -> None:
        """Finish the file."""
        ...


class JsonRecords:
    """A line of JSON a frame; can be read while it grows."""

    def __init__(self, path: Path) -> None:
        self._lines = Lines(path)

    def write(self, result: FrameResult) -> None:
        """Add a frame."""
        self._lines.write(frame_row(result))

    def close(self) -> None:
        """Close the file."""
        self._lines.close()


class ParquetRecords:
    """A row a frame; the file appears when it is closed."""

    def __init__(self, path: Path) -> None:
        pa = import_pyarrow()
        import pyarrow.parquet

        check_place(path)
        face = {
            "track": pa.int64(), "score": pa.float32(), "box": pa.list_(pa.float32()),
            "landmarks": pa.list_(pa.float32()), "confidence": pa.float32(),
        }  # fmt: skip
        columns = {
            "index": pa.int64(), "timestamp": pa.float64(), "state": pa.string(),
            "faces": pa.list_(pa.struct(face)), "ended": pa.list_(pa.int64()),
        }  # fmt: skip
        self._table = pa.Table
        self._schema = pa.schema(columns)
        self._path = path
        self._temporary = _beside(path)
        self._rows: list[dict[str, Any]] = []
        self._writer = pyarrow.parquet.ParquetWriter(self._temporary, self._schema)

    def write(self, result: FrameResult) -> None:
        """Add a frame."""
        self._rows.append(frame_row(result))
        if len(self._rows) >= ROW_GROUP:
            self._flush()

    def close(self) -> None:
        """Write the rest, and give the file its name."""
        with write_errors(self._path):
            try:
                self._flush()
                self._writer.close()
                os.replace(self._temporary, self._path)
            finally:
                self._temporary.unlink(missing_ok=True)

    def _flush(self) -> None:
        rows, self._rows = self._rows, []
        with write_errors(self._path):
            self._writer.write_table(self._table.from_pylist(rows, self._schema))


def open_records(path: Path) -> Records:
    """A table of results by its suffix.

    Raises:
        InputError: The suffix is another, pyarrow is missing, or the place cannot be written.
    """
    kinds: dict[str, Callable[[Path], Records]] = {".jsonl": JsonRecords, ".parquet": ParquetRecords}
    if path.suffix.lower() not in kinds:
        raise InputError(f"{path} ends in {path.suffix or 'nothing'!r}, wanted one of: {', '.join(kinds)}")
    return kinds[path.suffix.lower()](path)


class VideoFile:
    """A video of constant rate out of frames at any time; the file appears when it is closed.

    Frames of another size than the first are scaled to it.

    Args:
        path: `.mp4`, `.avi` or `.mkv`.
        fps: Frames per second.
    """

    def __init__(self, path: Path, fps: float) -> None:
        if path.suffix.lower() not in VIDEO_CODECS:
            raise InputError(f"{path} ends in {path.suffix or 'nothing'!r}, wanted one of: {', '.join(VIDEO_CODECS)}")
        check_place(path)
        self._path, self._fps = path, fps
        self._temporary = _beside(path)
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._start = 0.0
        self._written = 0

    def write(self, image: NDArray[np.uint8], timestamp: float) -> None:
        """Add a frame, as often as its time wants it.

        Raises:
            OutputError: The disk is nearly full.
        """
        if self._writer is None:
            self._size, self._start = (image.shape[1], image.shape[0]), timestamp
            code = cv2.VideoWriter.fourcc(*VIDEO_CODECS[self._path.suffix.lower()])
            self._writer = cv2.VideoWriter(str(self._temporary), code, self._fps, self._size)
            if not self._writer.isOpened():
                raise InputError(f"{self._path} cannot be written: this OpenCV cannot encode it; try .avi")
        if self._written % 25 == 0 and shutil.disk_usage(self._path.parent).free < LEAST_FREE:
            raise OutputError(f"{self._path} ends here: less than {LEAST_FREE >> 20} MiB are free; make room")
        if (image.shape[1], image.shape[0]) != self._size:
            image = np.asarray(cv2.resize(image, self._size), np.uint8)
        due = round((timestamp - self._start) * self._fps) + 1 - self._written
        longest = max(1, round(LONGEST_GAP * self._fps))
        if due > longest:
            self._start += (due - longest) / self._fps
        for _ in range(min(due, longest)):
            self._writer.write(image)
            self._written += 1

    def close(self) -> None:
        """Finish the file and give it its name."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.release()
            with write_errors(self._path):
                os.replace(self._temporary, self._path)


class ShotFolder:
    """Best shots as files: pictures and aligned crops, and a line of JSON a track in `shots.jsonl`.

    The line is written after its pictures, and each picture is whole when it appears. Names begin with the time and
    the process, so runs do not overwrite one another.

    Args:
        folder: Is made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._run = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.getpid()}"
        self._lines = Lines(folder / "shots.jsonl", append=True)

    def write(self, word: TrackShots) -> None:
        """Write a track's shots; its early word and its final one are apart.

        Raises:
            OutputError: The disk is full.
        """
        kind = "best" if word.final else "early"
        names = [f"{self._run}-{word.track:06d}-{kind}{rank}" for rank, _ in enumerate(word.shots, 1)]
        for name, shot in zip(names, word.shots, strict=True):
            _write_picture(self._folder / f"{name}.jpg", shot.picture)
            _write_picture(self._folder / f"{name}-crop.png", _crop(shot))
        self._lines.write(
            {
                "run": self._run,
                "track": word.track,
                "final": word.final,
                "first": round(word.first, 3),
                "last": round(word.last, 3),
                "faces": word.faces,
                "refused": dict(word.refused),
                "shots": [_shot_row(name, shot) for name, shot in zip(names, word.shots, strict=True)],
            }
        )

    def close(self) -> None:
        """Close the file of lines."""
        self._lines.close()


def frame_row(result: FrameResult) -> dict[str, Any]:
    """A result as plain values: pixels to two digits, scores to six."""
    faces = [
        {
            "track": face.track,
            "score": None if face.score is None else round(face.score, 6),
            "box": _rounded(face.box),
            "landmarks": _rounded(face.landmarks.reshape(-1)),
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


def _shot_row(name: str, shot: Shot) -> dict[str, Any]:
    return {
        "picture": f"{name}.jpg",
        "crop": f"{name}-crop.png",
        "frame": shot.frame,
        "timestamp": round(shot.timestamp, 3),
        "score": round(shot.score, 6),
        "sharpness": round(shot.sharpness, 1),
        "box": _rounded(shot.face.box),
        "landmarks": _rounded(shot.face.landmarks.reshape(-1)),
        "confidence": round(shot.face.confidence, 4),
    }


def _rounded(values: Sequence[float] | NDArray[np.float32]) -> list[float]:
    return [round(float(value), 2) for value in values]


def _crop(shot: Shot) -> NDArray[np.uint8]:
    assert shot.face.crop is not None  # a face without a score is never kept
    return shot.face.crop


def _write_picture(path: Path, image: NDArray[np.uint8]) -> None:
    data = cv2.imencode(path.suffix, image)[1].tobytes()
    write_file(path, data)


def _beside(path: Path) -> Path:
    """The file that grows beside another; OpenCV wants the suffix."""
    return path.with_name(f".{path.stem}.tmp{path.suffix}")
