"""What is written while a stream runs: results as lines or Parquet, the video with its overlay, best shots.

A full disk is an `OutputError`, which ends the run; what was written until then is whole: lines are cut back to the
last whole one, other files appear under their name only when they are complete. No run empties a file of another: lines
are added to those that are there, and a table in Parquet or a video that is there is refused.
"""

import itertools
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from sdk.errors import FiqaError, InputError, OutputError
from sdk.files import (
    LineFile,
    check_name,
    check_suffix,
    is_stream,
    make_folder,
    replacing,
    write_errors,
    write_file,
)
from sdk.results_io.tables import import_pyarrow
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


class Records(Protocol):
    """A table of results."""

    def write(self, result: FrameResult) -> None:
        """Add a frame."""
        ...

    def close(self) -> None:
        """Finish the file."""
        ...


class JsonRecords:
    """A line of JSON a frame; can be read while it grows. A run goes on after the lines of the runs before."""

    def __init__(self, path: Path) -> None:
        self._lines = _open_lines(path, b'{"index": ')

    def write(self, result: FrameResult) -> None:
        """Add a frame."""
        self._lines.write(_line(frame_row(result)))

    def close(self) -> None:
        """Close the file."""
        self._lines.close()


class ParquetRecords:
    """A row a frame; the file appears when it is closed, unless writing failed."""

    def __init__(self, path: Path) -> None:
        pa = import_pyarrow()
        import pyarrow.parquet

        check_records(path)
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
        self._draft = _Draft(path)
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
    """Refuse a table of results that is of another kind, or would be lost.

    Raises:
        InputError: So it is.
    """
    check_suffix("--out", path, RECORDS)
    if path.suffix.lower() == ".parquet":
        _refuse_existing("--out", path)


def check_video(path: Path) -> None:
    """Refuse a video of another kind, or one that would be lost.

    Raises:
        InputError: So it is.
    """
    check_suffix("--save", path, VIDEO_CODECS)
    _refuse_existing("--save", path)


def open_records(path: Path) -> Records:
    """Open a table of results by its suffix.

    Raises:
        InputError: The suffix is another, pyarrow is missing, the place cannot be written, or there is something else.
    """
    check_records(path)
    return RECORDS.get(path.suffix.lower(), JsonRecords)(path)


class VideoFile:
    """A video of constant rate out of frames at any time; the file appears when it is closed and can be read.

    Frames of another size than the first are scaled to it.

    Args:
        path: `.mp4`, `.avi` or `.mkv`.
        fps: Frames per second.

    Raises:
        InputError: The suffix is another, the place cannot be written, or there is something.
    """

    def __init__(self, path: Path, fps: float) -> None:
        check_video(path)
        self._path, self._fps = path, fps
        self._code = cv2.VideoWriter.fourcc(*VIDEO_CODECS.get(path.suffix.lower(), "MJPG"))
        self._draft = _Draft(path)
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._start = 0.0
        self._written = 0
        self._found = 0.0

    def write(self, image: NDArray[np.uint8], timestamp: float) -> None:
        """Add a frame, as often as its time wants it.

        Raises:
            InputError: This OpenCV cannot encode such frames.
            OutputError: The disk is nearly full.
        """
        if self._writer is None:
            self._size, self._start = (image.shape[1], image.shape[0]), timestamp
            self._writer = cv2.VideoWriter(str(self._draft.path), self._code, self._fps, self._size)
            if not self._writer.isOpened():
                size = " x ".join(map(str, self._size))
                raise InputError(f"{self._path} cannot be written: this OpenCV cannot encode {size} pixels; try .avi")
        if self._written % 25 == 0 and shutil.disk_usage(self._draft.path.parent).free < LEAST_FREE:
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
        """Finish the file and give it its name. Without a frame there is none.

        Raises:
            OutputError: It is cut short, or cannot be read again and is not kept: OpenCV says nothing when it fails to
                write, for a quota for example.
        """
        writer, self._writer = self._writer, None
        if writer is None or not self._written:
            self._draft.discard()
            return
        writer.release()
        self._draft.finish(self._check)
        if self._found < self._written:
            raise OutputError(f"{self._path} is cut short: not all of {self._written} frames found room; make room")

    def _check(self) -> None:
        capture = cv2.VideoCapture(str(self._draft.path), cv2.CAP_FFMPEG)
        if not capture.read()[0]:
            raise OutputError(f"{self._path} could not be written whole; make room, or try .avi")
        self._found = capture.get(cv2.CAP_PROP_FRAME_COUNT)


class _Draft:
    """A file that grows for as long as a run, and takes its place at the end unless something failed; see `replacing`.

    Attributes:
        path: What to write to.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self._place = ExitStack()
        self._failed = False
        self.path = self._place.enter_context(replacing(target))

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Remember an error, and give it its type."""
        try:
            with write_errors(self._target):
                yield
        except BaseException:
            self._failed = True
            raise

    def finish(self, last: Callable[[], object]) -> None:
        """Do the last of the work and put the file in its place. Of one that failed before, nothing is left."""
        try:
            if not self._failed:
                with self.writing():
                    last()
        finally:
            if self._failed:
                self.discard()
            else:
                self._place.close()

    def discard(self) -> None:
        """Leave nothing behind."""
        self.path.unlink(missing_ok=True)
        with suppress(FiqaError):  # there is no draft to rename any more
            self._place.close()


SHOT_LINES = "shots.jsonl"
"""The file of a folder of best shots that lists them."""


class ShotFolder:
    """Best shots as files: pictures and aligned crops, and a line of JSON a track in `shots.jsonl`.

    The line is written after its pictures, and each picture is whole when it appears. Names begin with the time and
    the process, and with a number where that was there before, so that runs do not overwrite one another. A folder
    takes one run at a time.

    Args:
        folder: Is made.

    Raises:
        InputError: It cannot be written, another run writes there, or its `shots.jsonl` is something else.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        make_folder(folder)
        self._lines = _open_lines(folder / SHOT_LINES, b'{"run": ')
        self._run = _new_run(folder)

    def write(self, word: TrackShots) -> None:
        """Write a track's shots; its early word and its final one are apart.

        Raises:
            OutputError: The disk is full.
        """
        kind = "best" if word.final else "early"
        names = [f"{self._run}-{word.track:06d}-{kind}{rank}" for rank, _ in enumerate(word.shots, 1)]
        pictures = {}
        for name, shot in zip(names, word.shots, strict=True):
            pictures[self._folder / f"{name}.jpg"] = shot.picture
            pictures[self._folder / f"{name}-crop.png"] = _crop(shot)
        try:
            for path, image in pictures.items():
                write_file(path, cv2.imencode(path.suffix, image)[1].tobytes())
            self._lines.write(_line(self._row(word, names)))
        except BaseException:
            for path in pictures:  # no line speaks of them
                path.unlink(missing_ok=True)
            raise

    def close(self) -> None:
        """Close the file of lines."""
        self._lines.close()

    def _row(self, word: TrackShots, names: Sequence[str]) -> dict[str, Any]:
        return {
            "run": self._run,
            "track": word.track,
            "final": word.final,
            "first": round(word.first, 3),
            "last": round(word.last, 3),
            "faces": word.faces,
            "refused": dict(word.refused),
            "shots": [_shot_row(name, shot) for name, shot in zip(names, word.shots, strict=True)],
        }


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


def _line(row: dict[str, Any]) -> bytes:
    return json.dumps(row, allow_nan=False).encode() + b"\n"


def _open_lines(path: Path, start: bytes) -> LineFile:
    """A file of lines that may be there already.

    Args:
        path: The file.
        start: How each of its lines starts; a file that starts otherwise is something else, and stays as it is.
    """
    check_name(path)
    with write_errors(path):
        found = b""
        if path.is_file() and not is_stream(path):
            with path.open("rb") as file:
                found = file.read(len(start))
        if not start.startswith(found):
            raise InputError(f"{path} is there and holds something else; choose another name, or move it away")
    return LineFile(path)


def _refuse_existing(option: str, path: Path) -> None:
    with write_errors(path):
        if path.is_file() and path.stat().st_size:
            raise InputError(f"{option} {path} is there and would be lost; choose another name, or move it away")


def _new_run(folder: Path) -> str:
    """The time and the process; numbered where that was there, for a board's clock may start anew with it."""
    first = run = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.getpid()}"
    for number in itertools.count(2):
        if next(folder.glob(f"{run}-*"), None) is None:
            break
        run = f"{first}.{number}"
    return run
