"""Best shots as files of a folder."""

import itertools
import os
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sdk.files import make_folder, write_file
from sdk.video.best_shot import Shot, TrackShots
from sdk.video.writing.growing_files import json_line, open_lines, rounded

SHOT_LINES = "shots.jsonl"
"""Name of the file that lists the best shots of a folder."""


class ShotFolder:
    """Write best shots as files: pictures, aligned crops, and one line of JSON per track in `shots.jsonl`.

    The line of a track is written after its pictures. The name of a picture begins with the time and the process of the
    run, so runs do not overwrite one another. A folder takes one run at a time. A context manager.

    Args:
        folder: Made if it is not there.

    Raises:
        InputError: The folder cannot be written, another run writes there, or its `shots.jsonl` is something else.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from sdk import BestShots, ShotFolder
        >>> with tempfile.TemporaryDirectory() as place, ShotFolder(Path(place) / "shots") as folder:
        ...     shots = BestShots(folder.write, count=3)  # for VideoScorer(..., best_shots=shots)
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)
        make_folder(self._folder)
        self._lines = open_lines(self._folder / SHOT_LINES, b'{"run": ')
        self._run = _new_run(self._folder)

    def write(self, found: TrackShots) -> None:
        """Write the shots of a track. Those of its early call and of its final call have names of their own.

        Raises:
            OutputError: The disk is full; nothing of this call is left.
        """
        kind = "best" if found.final else "early"
        names = [f"{self._run}-{found.track:06d}-{kind}{rank}" for rank, _ in enumerate(found.shots, 1)]
        pictures = {}
        for name, shot in zip(names, found.shots, strict=True):
            pictures[self._folder / f"{name}.jpg"] = shot.picture
            pictures[self._folder / f"{name}-crop.png"] = _crop(shot)
        try:
            for path, image in pictures.items():
                write_file(path, cv2.imencode(path.suffix, image)[1].tobytes())
            self._lines.write(json_line(self._row(found, names)))
        except BaseException:
            for path in pictures:  # no line speaks of them
                path.unlink(missing_ok=True)
            raise

    def close(self) -> None:
        """Close `shots.jsonl`, and let another run write there."""
        self._lines.close()

    def __enter__(self) -> "ShotFolder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _row(self, found: TrackShots, names: Sequence[str]) -> dict[str, Any]:
        return {
            "run": self._run,
            "track": found.track,
            "final": found.final,
            "first": round(found.first, 3),
            "last": round(found.last, 3),
            "faces": found.faces,
            "refused": dict(found.refused),
            "shots": [_shot_row(name, shot) for name, shot in zip(names, found.shots, strict=True)],
        }


def _shot_row(name: str, shot: Shot) -> dict[str, Any]:
    return {
        "picture": f"{name}.jpg",
        "crop": f"{name}-crop.png",
        "frame": shot.frame,
        "timestamp": round(shot.timestamp, 3),
        "score": round(shot.score, 6),
        "quality": shot.face.quality,
        "accepted": shot.face.accepted,
        "reasons": None if shot.face.reasons is None else [reason.code for reason in shot.face.reasons],
        "sharpness": round(shot.sharpness, 1),
        "box": rounded(shot.face.box),
        "landmarks": rounded(shot.face.landmarks.reshape(-1)),
        "confidence": round(shot.face.confidence, 4),
    }


def _crop(shot: Shot) -> NDArray[np.uint8]:
    assert shot.face.crop is not None  # a face without a score is never kept
    return shot.face.crop


def _new_run(folder: Path) -> str:
    """Return the name of this run: time and process. A number follows where that is taken: a clock may be set back."""
    first = run = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.getpid()}"
    for number in itertools.count(2):
        if next(folder.glob(f"{run}-*"), None) is None:
            break
        run = f"{first}.{number}"
    return run
