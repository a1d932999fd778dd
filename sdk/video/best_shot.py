"""Best shot: of each track the faces worth keeping, and word of them early and at its end."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from sdk.errors import InputError
from sdk.video.frames import FrameResult, TrackedFace

MARGIN = 0.4
"""What a picture shows around the box, in sides of the box."""

PICTURE_SIDE = 320
"""Longest side of a picture, pixels: with the crop, at most 350 kB a face are kept."""


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """A face worth keeping.

    Attributes:
        frame: Index of its frame.
        timestamp: Of its frame, seconds.
        face: The face, with its score and its aligned crop.
        sharpness: See `sharpness`.
        picture: uint8 BGR: the face with its surroundings, at most 320 pixels a side.
    """

    frame: int
    timestamp: float
    face: TrackedFace
    sharpness: float
    picture: NDArray[np.uint8]

    @property
    def score(self) -> float:
        """The face's score; those without one are never kept."""
        assert self.face.score is not None
        return self.face.score


@dataclass(frozen=True, slots=True, eq=False)
class TrackShots:
    """Word of a track.

    Attributes:
        track: Its number.
        final: The track has ended; else this is the early word, of the first face that reached the threshold.
        shots: Best first; empty where no face passed the gates.
        first: Seconds at which the track was first seen.
        last: Seconds at which it was last seen.
        faces: How many faces were scored or refused.
        refused: How many were `small`, `blurred`, `low` in score, or `unscored`: the model gave no number.
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
    """Keeps the best faces of every track, and calls back.

    Args:
        on_shots: Called with word of a track: early, once, when a face reaches the threshold, and when it ends. Runs
            in the thread that iterates. If it raises, the error passes to the iteration, and it is not called again.
        count: So many faces are kept of a track.
        threshold: Score of the early word; None for none.
        floor: Faces of a lower score are not kept; None to keep all.
        min_sharpness: Nor are less sharp ones; see `sharpness`.

    Raises:
        InputError: `count` is not positive, or another value is no number.
    """

    def __init__(
        self,
        on_shots: Callable[[TrackShots], object],
        *,
        count: int = 3,
        threshold: float | None = None,
        floor: float | None = None,
        min_sharpness: float = 0.0,
    ) -> None:
        if not isinstance(count, int) or count < 1:
            raise InputError(f"count is {count}, wanted a whole number of at least 1 face a track")
        for name, value in (("threshold", threshold), ("floor", floor), ("min_sharpness", min_sharpness)):
            if value is not None and not math.isfinite(value):
                raise InputError(f"{name} is {value}, wanted a number")
        self._on_shots = on_shots
        self._count = count
        self._threshold = threshold
        self._floor = floor
        self._min_sharpness = min_sharpness
        self._tracks: dict[int, _Kept] = {}
        self._broken = False

    def update(self, result: FrameResult) -> None:
        """Take in a frame; may call back."""
        self._finish(result.ended)
        if result.state != "new":
            return
        for face in result.faces:
            kept = self._tracks.setdefault(face.track, _Kept(result.timestamp, result.timestamp))
            kept.last = result.timestamp
            kept.faces += 1
            shot = self._examine(face, result, kept)
            if shot is not None and not kept.early and self._threshold is not None and shot.score >= self._threshold:
                kept.early = True
                self._tell(_word(face.track, kept, (shot,), final=False))

    def flush(self) -> None:
        """End all tracks; calls back."""
        self._finish(list(self._tracks))

    def _examine(self, face: TrackedFace, result: FrameResult, kept: _Kept) -> Shot | None:
        """Keep a face if it is good enough; returns the shot if the face passed the gates and is among the best."""
        if face.score is None or face.crop is None:
            kept.refused["small" if face.crop is None else "unscored"] += 1
            return None
        if self._floor is not None and face.score < self._floor:
            kept.refused["low"] += 1
            return None
        value = sharpness(face.crop)
        if value < self._min_sharpness:
            kept.refused["blurred"] += 1
            return None
        if len(kept.shots) == self._count and face.score <= kept.shots[-1].score:
            return None
        shot = Shot(result.index, result.timestamp, face, value, _picture(result.image, face.box))
        kept.shots = sorted([*kept.shots, shot], key=lambda one: -one.score)[: self._count]
        return shot

    def _finish(self, tracks: Iterable[int]) -> None:
        for track in tracks:
            kept = self._tracks.pop(track, None)
            if kept is not None:
                self._tell(_word(track, kept, tuple(kept.shots), final=True))

    def _tell(self, word: TrackShots) -> None:
        if self._broken:
            return
        self._broken = True  # until it has returned
        self._on_shots(word)
        self._broken = False


def sharpness(crop: NDArray[np.uint8]) -> float:
    """Variance of the Laplacian of an aligned face in grey: below 50 blurred, above 300 sharp, more with noise.

    Args:
        crop: uint8 BGR (112, 112, 3).
    """
    return float(cv2.Laplacian(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY), cv2.CV_32F).var())


def _word(track: int, kept: _Kept, shots: tuple[Shot, ...], final: bool) -> TrackShots:
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
