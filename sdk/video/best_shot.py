"""Best shots: the best faces of each track, told of at its end, and of the first accepted one at once."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from sdk.arguments import is_finite
from sdk.errors import InputError
from sdk.text import shortened
from sdk.video.frames import FrameResult, TrackedFace

MARGIN = 0.4
"""Width of the surroundings that a picture shows, in sides of the box."""

SURE = 0.85
"""Confidence from which on a find of the detector is a face, whatever its score. YuNet gives hair up to 0.84."""

DOUBTFUL = 0.35
"""Score below which a find that is not sure is taken for no face, of scores from 0 to 1."""

PICTURE_SIDE = 320
"""Longest side of a picture, pixels. With the crop, at most 350 kB are kept for a face."""


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """One of the best faces of a track.

    Attributes:
        frame: Index of the frame.
        timestamp: Timestamp of the frame, seconds.
        face: The face, with its score and its aligned crop.
        sharpness: Sharpness of the crop; see `sdk.sharpness`.
        picture: uint8 BGR (H, W, 3): the face with its surroundings; no side is longer than 320 pixels.
    """

    frame: int
    timestamp: float
    face: TrackedFace
    sharpness: float
    picture: NDArray[np.uint8] = field(repr=False)

    @property
    def score(self) -> float:
        """Score of the face; a face without one is never kept."""
        assert self.face.score is not None
        return self.face.score


@dataclass(frozen=True, slots=True, eq=False)
class TrackShots:
    """The best faces of a track.

    Attributes:
        track: Number of the track.
        final: True when the track has ended. False for the early call, which tells of the first accepted face.
        shots: The faces, best first; empty where none was good enough.
        first: Timestamp of the first frame of the track, seconds.
        last: Timestamp of the last frame of the track, seconds.
        faces: Number of faces that were scored or refused.
        refused: Number of faces refused by reason: `small`; `unscored` where the model gave no number; `rejected` by
            the scorer's threshold; `doubtful` where it may be no face; `blurred`.
    """

    track: int
    final: bool
    shots: tuple[Shot, ...]
    first: float
    last: float
    faces: int
    refused: Mapping[str, int]


@dataclass(slots=True)
class _Kept:
    first: float
    last: float
    shots: list[Shot] = field(default_factory=list)
    faces: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    early: bool = False


class BestShots:
    """Keep the best faces of every track, and call back when a track ends.

    The best faces are those with the highest scores. Where the scorer gives reasons, faces without one come first.

    A face is kept unless the scorer rejects it (see `TrackedFace.accepted`), or it may be no face: the detector is not
    sure of it (confidence under 0.85), and its score is under `doubtful`.

    Args:
        on_shots: Called with the best faces of a track when it ends, and once before at its first accepted face. It
            runs in the thread that iterates. An error of it passes to the iteration, and it is not called again.
        count: Number of faces that are kept of a track.
        rejected: Keep faces that are rejected or doubtful, too.
        min_sharpness: Least sharpness of a face that is kept; see `sdk.sharpness`.
        doubtful: Choose another one for a model whose scores are not from 0 to 1.

    Raises:
        InputError: `count` is less than 1, or another value is no number.
    """

    def __init__(
        self,
        on_shots: Callable[[TrackShots], object],
        *,
        count: int = 3,
        rejected: bool = False,
        min_sharpness: float = 0.0,
        doubtful: float = DOUBTFUL,
    ) -> None:
        if not isinstance(count, int) or count < 1:
            raise InputError(f"count is {count}, wanted a whole number of at least 1")
        for name, value in (("min_sharpness", min_sharpness), ("doubtful", doubtful)):
            if not is_finite(value):
                raise InputError(f"{name} is {shortened(repr(value))}, wanted a number")
        self._on_shots = on_shots
        self._count = count
        self._rejected = rejected
        self._min_sharpness = min_sharpness
        self._doubtful = doubtful
        self._tracks: dict[int, _Kept] = {}
        self._failed = False

    def update(self, result: FrameResult) -> None:
        """Take in a result; may call back."""
        self._finish(result.ended)
        if result.state != "new":
            return
        for face in result.faces:
            kept = self._tracks.setdefault(face.track, _Kept(result.timestamp, result.timestamp))
            kept.last = result.timestamp
            kept.faces += 1
            shot = self._examine(face, result, kept)
            if shot is not None and not kept.early and face.accepted:
                kept.early = True
                self._call(_track_shots(face.track, kept, (shot,), final=False))

    def flush(self) -> None:
        """End all tracks, and call back for each."""
        self._finish(list(self._tracks))

    def _examine(self, face: TrackedFace, result: FrameResult, kept: _Kept) -> Shot | None:
        """Keep a face that is good enough and among the best of its track; returns its shot, else None."""
        if face.score is None or face.crop is None:
            kept.refused["small" if face.crop is None else "unscored"] += 1
            return None
        if not self._rejected and face.accepted is False:
            kept.refused["rejected"] += 1
            return None
        if not self._rejected and face.confidence < SURE and face.score < self._doubtful:
            kept.refused["doubtful"] += 1
            return None
        value = sharpness(face.crop)
        if value < self._min_sharpness:
            kept.refused["blurred"] += 1
            return None
        if len(kept.shots) == self._count and _rank(face) >= _rank(kept.shots[-1].face):
            return None
        shot = Shot(result.index, result.timestamp, face, value, _picture(result.image, face.box))
        kept.shots = sorted([*kept.shots, shot], key=lambda one: _rank(one.face))[: self._count]
        return shot

    def _finish(self, tracks: Iterable[int]) -> None:
        for track in tracks:
            kept = self._tracks.pop(track, None)
            if kept is not None:
                self._call(_track_shots(track, kept, tuple(kept.shots), final=True))

    def _call(self, found: TrackShots) -> None:
        if self._failed:
            return
        self._failed = True  # unless it returns
        self._on_shots(found)
        self._failed = False


def sharpness(crop: NDArray[np.uint8]) -> float:
    """Return the sharpness of an aligned face: the variance of the Laplacian of its grey values.

    Below 50 it is blurred, above 300 sharp. Noise makes it larger.

    Args:
        crop: uint8 BGR (112, 112, 3).
    """
    return float(cv2.Laplacian(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY), cv2.CV_32F).var())


def _rank(face: TrackedFace) -> tuple[bool, float]:
    """Return what best shots are sorted by, the best first: whether anything is wrong, and the score."""
    assert face.score is not None
    return bool(face.reasons), -face.score


def _track_shots(track: int, kept: _Kept, shots: tuple[Shot, ...], final: bool) -> TrackShots:
    return TrackShots(track, final, shots, kept.first, kept.last, kept.faces, dict(kept.refused))


def _picture(image: NDArray[np.uint8], box: tuple[float, float, float, float]) -> NDArray[np.uint8]:
    x, y, width, height = box
    margin = MARGIN * max(width, height)
    left, top = (max(0, round(start - margin)) for start in (x, y))
    right, bottom = round(x + width + margin), round(y + height + margin)
    part = image[top : max(bottom, top + 1), left : max(right, left + 1)]
    if not part.size:  # a box outside the image
        return np.zeros((1, 1, 3), np.uint8)
    scale = min(1.0, PICTURE_SIDE / max(part.shape[:2]))
    size = max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale))
    return np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), np.uint8)
